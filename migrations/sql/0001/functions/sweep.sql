-- What processes that died leave behind in the side tables. Rows are few; whoever is at them is left alone.
CREATE FUNCTION uno_jobs.sweep() RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
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
    -- Said of a job while its end was being recorded.
    DELETE FROM uno_jobs.progress p USING (
        SELECT r.job_id FROM uno_jobs.progress r
        WHERE r.updated_at < uno_jobs.clock() - interval '1 minute'
          AND NOT EXISTS (SELECT FROM uno_jobs.live_jobs l WHERE l.id = r.job_id)
        FOR UPDATE SKIP LOCKED) old
    WHERE p.job_id = old.job_id;
    DELETE FROM uno_jobs.cancel_requests c USING (
        SELECT r.job_id FROM uno_jobs.cancel_requests r
        WHERE r.requested_at < uno_jobs.clock() - interval '1 minute'
          AND NOT EXISTS (SELECT FROM uno_jobs.live_jobs l WHERE l.id = r.job_id)
        FOR UPDATE SKIP LOCKED) old
    WHERE c.job_id = old.job_id;
    DELETE FROM uno_jobs.workers w USING (
        SELECT r.id FROM uno_jobs.workers r
        WHERE r.state IN ('stopped', 'dead') AND r.stopped_at < uno_jobs.clock() - interval '30 days'
          AND NOT EXISTS (SELECT FROM uno_jobs.live_jobs l WHERE l.state = 'running' AND l.worker_id = r.id)
        FOR UPDATE SKIP LOCKED) old
    WHERE w.id = old.id;
$$;
COMMENT ON FUNCTION uno_jobs.sweep() IS 'Remove what is left of waiters, sleepers and finished jobs in the side tables, and workers that have been over for 30 days.';
