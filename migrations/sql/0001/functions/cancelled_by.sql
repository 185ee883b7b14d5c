-- OFFSET 0 keeps the planner from beginning with all that was ever cancelled, or with all that is below for each that is.
CREATE FUNCTION uno_jobs.cancelled_by(p_root uuid) RETURNS uuid[]
LANGUAGE sql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
    WITH RECURSIVE below (id) AS (
        SELECT e.child_id FROM uno_jobs.job_edges e
        CROSS JOIN LATERAL (SELECT FROM uno_jobs.outcomes o
                            WHERE o.id = e.child_id AND o.state = 'cancelled' AND o.cancelled_because = p_root OFFSET 0) c
        WHERE e.parent_id = p_root
        UNION
        SELECT e.child_id FROM below b
        CROSS JOIN LATERAL (SELECT x.child_id FROM uno_jobs.job_edges x WHERE x.parent_id = b.id OFFSET 0) e
        CROSS JOIN LATERAL (SELECT FROM uno_jobs.outcomes o
                            WHERE o.id = e.child_id AND o.state = 'cancelled' AND o.cancelled_because = p_root OFFSET 0) c
    )
    SELECT ARRAY(SELECT b.id FROM below b)
$$;
COMMENT ON FUNCTION uno_jobs.cancelled_by(uuid) IS 'The jobs that were cancelled because this one failed or was cancelled.';
