-- What processes that died leave behind in the side tables. Rows are few; whoever is at them is left alone.
CREATE FUNCTION uno_jobs.sweep() RETURNS void
LANGUAGE sql VOLATILE
SET search_path = uno_jobs, pg_temp
AS $$
    DELETE FROM uno_jobs.result_waiters w USING (
        SELECT r.job_id, r.waiter_id FROM uno_jobs.result_waiters r WHERE r.until < uno_jobs.clock() - interval '1 minute'
        FOR UPDATE SKIP LOCKED) old
    WHERE w.job_id = old.job_id AND w.waiter_id = old.waiter_id;
    DELETE FROM uno_jobs.hungry h USING (
        SELECT r.queue, r.worker_id FROM uno_jobs.hungry r WHERE r.until < uno_jobs.clock() - interval '1 minute'
        FOR UPDATE SKIP LOCKED) old
    WHERE h.queue = old.queue AND h.worker_id = old.worker_id;
$$;
COMMENT ON FUNCTION uno_jobs.sweep() IS 'Remove marks of waiters and sleepers that are long over.';
