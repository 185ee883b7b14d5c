-- A rescue may miss a row that is locked at that moment, or be cut off; a worker that was declared dead may claim once more.
-- Whoever looks here finds what they left behind.
CREATE FUNCTION uno_jobs.strays() RETURNS TABLE (worker_id uuid, state text, cause text)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
    SELECT r.worker_id, coalesce(w.state, 'unknown'), w.cause
    FROM (SELECT DISTINCT l.worker_id FROM uno_jobs.live_jobs l WHERE l.state = 'running') r
    LEFT JOIN uno_jobs.workers w ON w.id = r.worker_id
    WHERE w.id IS NULL OR w.state IN ('dead', 'stopped')
$$;
COMMENT ON FUNCTION uno_jobs.strays() IS 'Workers that are over, or unknown, under whose name jobs are still running.';
