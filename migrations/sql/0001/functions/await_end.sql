CREATE FUNCTION uno_jobs.await_end(p_id uuid, p_waiter uuid, p_seconds double precision) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
    INSERT INTO uno_jobs.result_waiters AS w (job_id, waiter_id, until)
    VALUES (p_id, p_waiter, uno_jobs.clock() + p_seconds * interval '1 second')
    ON CONFLICT (job_id, waiter_id) DO UPDATE SET until = greatest(w.until, excluded.until)
$$;
COMMENT ON FUNCTION uno_jobs.await_end(uuid, uuid, double precision) IS
    'Ask for a notification of a job''s end, for so many seconds.';
