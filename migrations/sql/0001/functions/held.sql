CREATE FUNCTION uno_jobs.held(p_worker uuid) RETURNS TABLE (id uuid, lease bigint, cancel_asked boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
    SELECT l.id, l.lease, EXISTS (SELECT FROM uno_jobs.cancel_requests c WHERE c.job_id = l.id)
    FROM uno_jobs.live_jobs l WHERE l.state = 'running' AND l.worker_id = p_worker
$$;
COMMENT ON FUNCTION uno_jobs.held(uuid) IS 'What the database believes that a worker runs; the worker compares.';
