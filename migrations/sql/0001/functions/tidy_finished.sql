-- Side tables of jobs that are over. Each is nearly always empty, so the look costs a page.
CREATE FUNCTION uno_jobs.tidy_finished(p_ids uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM uno_jobs.result_waiters) THEN
        PERFORM pg_notify((SELECT channel FROM uno_jobs.schema_info), 'done ' || w.job_id)
        FROM (SELECT DISTINCT r.job_id FROM uno_jobs.result_waiters r WHERE r.job_id = ANY (p_ids)) w;
        DELETE FROM uno_jobs.result_waiters r WHERE r.job_id = ANY (p_ids);
    END IF;
    IF EXISTS (SELECT FROM uno_jobs.cancel_requests) THEN
        DELETE FROM uno_jobs.cancel_requests c WHERE c.job_id = ANY (p_ids);
    END IF;
    IF EXISTS (SELECT FROM uno_jobs.progress) THEN
        DELETE FROM uno_jobs.progress p WHERE p.job_id = ANY (p_ids);
    END IF;
END $$;
COMMENT ON FUNCTION uno_jobs.tidy_finished(uuid[]) IS 'Notify those who wait for these jobs, and drop what only a live job needs.';
