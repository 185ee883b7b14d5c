CREATE FUNCTION uno_jobs.paused_queues(p_queues text[]) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
    SELECT q.name FROM uno_jobs.queues q WHERE q.name = ANY (p_queues) AND q.paused_at IS NOT NULL
      AND EXISTS (SELECT FROM uno_jobs.live_jobs l WHERE l.state = 'ready' AND l.queue = q.name)
    ORDER BY q.name
$$;
COMMENT ON FUNCTION uno_jobs.paused_queues(text[]) IS 'Those of these queues that are paused while jobs in them are ready.';
