-- A worker whose beat is older has been, or is about to be, found dead by the others.
CREATE FUNCTION uno_jobs.living_workers() RETURNS SETOF uno_jobs.workers
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
    SELECT w.* FROM uno_jobs.workers w
    WHERE w.state IN ('running', 'draining') AND w.beat_at > uno_jobs.clock() - interval '20 seconds'
$$;
COMMENT ON FUNCTION uno_jobs.living_workers() IS 'The workers that have beaten within 20 seconds and have not stopped.';
