-- The caller has locked the outcomes. The rows of an id are in every table that bears it, so nothing of a job stays behind
-- for another that is given the same id.
CREATE FUNCTION uno_jobs.remove_jobs(p_ids uuid[], OUT succeeded integer, OUT failed integer, OUT cancelled integer)
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    WITH gone AS (DELETE FROM uno_jobs.outcomes o WHERE o.id = ANY (p_ids) RETURNING o.state)
    SELECT count(*) FILTER (WHERE g.state = 'succeeded'), count(*) FILTER (WHERE g.state = 'failed'),
           count(*) FILTER (WHERE g.state = 'cancelled')
    INTO succeeded, failed, cancelled FROM gone g;
    DELETE FROM uno_jobs.attempts a WHERE a.job_id = ANY (p_ids);
    DELETE FROM uno_jobs.jobs j WHERE j.id = ANY (p_ids);
    IF EXISTS (SELECT FROM uno_jobs.job_edges) THEN
        DELETE FROM uno_jobs.job_edges e WHERE e.parent_id = ANY (p_ids);
        DELETE FROM uno_jobs.job_edges e WHERE e.child_id = ANY (p_ids);
    END IF;
    PERFORM uno_jobs.tidy_finished(p_ids);
END $$;
COMMENT ON FUNCTION uno_jobs.remove_jobs(uuid[]) IS 'Remove finished jobs, whose outcomes the caller has locked, from all tables; returns how many had ended how.';
