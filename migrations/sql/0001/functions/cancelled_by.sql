CREATE FUNCTION uno_jobs.cancelled_by(p_root uuid) RETURNS uuid[]
LANGUAGE sql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
    WITH RECURSIVE below (id) AS (
        SELECT e.child_id FROM uno_jobs.job_edges e JOIN uno_jobs.outcomes o ON o.id = e.child_id
        WHERE e.parent_id = p_root AND o.state = 'cancelled' AND o.cancelled_because = p_root
        UNION
        SELECT e.child_id FROM below b JOIN uno_jobs.job_edges e ON e.parent_id = b.id
        JOIN uno_jobs.outcomes o ON o.id = e.child_id
        WHERE o.state = 'cancelled' AND o.cancelled_because = p_root
    )
    SELECT ARRAY(SELECT b.id FROM below b)
$$;
COMMENT ON FUNCTION uno_jobs.cancelled_by(uuid) IS 'The jobs that were cancelled because this one failed or was cancelled.';
