-- Bounded, whatever the backlog: each count stops at 10,001 rows of an index, and where one got there, a sample of 400
-- pages of the table estimates it. Statistics of the planner would be older: a million jobs can come and go between two looks
-- of autovacuum's. What runs is bounded by the workers' slots.
CREATE FUNCTION uno_jobs.queue_counts(p_queue text DEFAULT NULL) RETURNS TABLE (
    queue text, ready bigint, running bigint, scheduled bigint, waiting bigint, due bigint,
    oldest_ready timestamptz, next_due timestamptz
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_running jsonb;
    v_sample jsonb;
    v_part real;
    -- Not literals, for which a plan would take the index of all that is scheduled, whatever its queue.
    v_scheduled uno_jobs.job_state := 'scheduled';
    v_waiting uno_jobs.job_state := 'waiting';
BEGIN
    v_running := coalesce((
        SELECT jsonb_object_agg(r.queue, r.jobs)
        FROM (SELECT l.queue, count(*) AS jobs FROM uno_jobs.live_jobs l WHERE l.state = 'running' GROUP BY l.queue) r), '{}');
    FOR queue IN
        SELECT k.queue FROM uno_jobs.known_queues() k WHERE p_queue IS NULL
        UNION ALL SELECT p_queue WHERE p_queue IS NOT NULL
    LOOP
        SELECT count(*) INTO ready
        FROM (SELECT FROM uno_jobs.live_jobs l WHERE l.state = 'ready' AND l.queue = queue_counts.queue LIMIT 10001) c;
        SELECT count(*) INTO scheduled
        FROM (SELECT FROM uno_jobs.live_jobs l
              WHERE l.state IN ('waiting', 'scheduled') AND l.state = v_scheduled AND l.queue = queue_counts.queue LIMIT 10001) c;
        SELECT count(*) INTO waiting
        FROM (SELECT FROM uno_jobs.live_jobs l
              WHERE l.state IN ('waiting', 'scheduled') AND l.state = v_waiting AND l.queue = queue_counts.queue LIMIT 10001) c;
        SELECT count(*) INTO due
        FROM (SELECT FROM uno_jobs.live_jobs l
              WHERE l.state IN ('waiting', 'scheduled') AND l.state = v_scheduled AND l.queue = queue_counts.queue
                AND l.run_at <= uno_jobs.clock() LIMIT 10001) c;
        running := coalesce((v_running ->> queue)::bigint, 0);
        SELECT min(j.created_at) INTO oldest_ready
        FROM generate_series(0, 9) AS p (priority)
        CROSS JOIN LATERAL (
            SELECT l.id FROM uno_jobs.live_jobs l
            WHERE l.state = 'ready' AND l.queue = queue_counts.queue AND l.priority = p.priority ORDER BY l.seq LIMIT 1) first
        JOIN uno_jobs.jobs j ON j.id = first.id;
        next_due := (SELECT l.run_at FROM uno_jobs.live_jobs l
                     WHERE l.state IN ('waiting', 'scheduled') AND l.state = v_scheduled AND l.queue = queue_counts.queue
                     ORDER BY l.run_at LIMIT 1);
        IF greatest(ready, scheduled, waiting) > 10000 THEN
            IF v_sample IS NULL THEN
                v_part := least(100, 100.0 * 400 * current_setting('block_size')::integer
                                     / greatest(1, pg_relation_size('uno_jobs.live_jobs')));
                v_sample := coalesce((
                    SELECT jsonb_object_agg(s.state || ' ' || s.queue, s.jobs)
                    FROM (SELECT l.queue, l.state, count(*) AS jobs FROM uno_jobs.live_jobs l TABLESAMPLE SYSTEM (v_part)
                          GROUP BY l.queue, l.state) s), '{}');
            END IF;
            ready := uno_jobs.estimate(ready, (v_sample ->> ('ready ' || queue))::bigint, v_part);
            scheduled := uno_jobs.estimate(scheduled, (v_sample ->> ('scheduled ' || queue))::bigint, v_part);
            waiting := uno_jobs.estimate(waiting, (v_sample ->> ('waiting ' || queue))::bigint, v_part);
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION uno_jobs.queue_counts(text) IS
    'How many jobs of each queue (or of one) are in which state: exact up to 10,000, above an estimate of two digits; due: the scheduled whose time has come.';
