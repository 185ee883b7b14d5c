-- Each index is left from queue to queue, so the cost follows the number of queues and not that of their jobs.
CREATE FUNCTION uno_jobs.known_queues() RETURNS TABLE (queue text)
LANGUAGE sql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
    WITH RECURSIVE ready (queue) AS (
        (SELECT l.queue FROM uno_jobs.live_jobs l WHERE l.state = 'ready' ORDER BY l.queue LIMIT 1)
        UNION ALL
        SELECT (SELECT l.queue FROM uno_jobs.live_jobs l WHERE l.state = 'ready' AND l.queue > r.queue ORDER BY l.queue LIMIT 1)
        FROM ready r WHERE r.queue IS NOT NULL
    ), pending (queue) AS (
        (SELECT l.queue FROM uno_jobs.live_jobs l WHERE l.state IN ('waiting', 'scheduled') ORDER BY l.queue LIMIT 1)
        UNION ALL
        SELECT (SELECT l.queue FROM uno_jobs.live_jobs l
                WHERE l.state IN ('waiting', 'scheduled') AND l.queue > p.queue ORDER BY l.queue LIMIT 1)
        FROM pending p WHERE p.queue IS NOT NULL
    )
    SELECT r.queue FROM ready r WHERE r.queue IS NOT NULL
    UNION
    SELECT p.queue FROM pending p WHERE p.queue IS NOT NULL
    UNION
    SELECT l.queue FROM uno_jobs.live_jobs l WHERE l.state = 'running'
    UNION
    SELECT q.name FROM uno_jobs.queues q
    UNION
    SELECT u.queue FROM uno_jobs.living_workers() w CROSS JOIN unnest(w.queues) AS u (queue)
$$;
COMMENT ON FUNCTION uno_jobs.known_queues() IS
    'The queues that exist: a setting, a living worker or an unfinished job names them.';
