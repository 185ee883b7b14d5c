-- The highest version that a living worker knows now: what a canary knew before it was rolled back is nobody's to run.
CREATE FUNCTION uno_jobs.latest_version(p_task text) RETURNS text
LANGUAGE sql STABLE
SET search_path = uno_jobs, pg_temp
AS $$
    SELECT v.version FROM uno_jobs.task_versions v
    WHERE v.task = p_task
      AND EXISTS (SELECT FROM uno_jobs.workers w
                  WHERE w.state IN ('running', 'draining') AND w.beat_at > uno_jobs.clock() - interval '20 seconds'
                    AND v.task || '@' || v.version = ANY (w.known))
    ORDER BY v.sort_key COLLATE "C" DESC LIMIT 1
$$;
COMMENT ON FUNCTION uno_jobs.latest_version(text) IS 'The highest version of a task that a living worker knows; null: none.';
