CREATE FUNCTION uno_jobs.await_no_more(p_id uuid, p_waiter uuid) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$ DELETE FROM uno_jobs.result_waiters w WHERE w.job_id = p_id AND w.waiter_id = p_waiter $$;
COMMENT ON FUNCTION uno_jobs.await_no_more(uuid, uuid) IS 'Take back what await_end asked for.';
