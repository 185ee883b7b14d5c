-- Scheduled jobs that are due become ready, in the order in which they were due. A floor of the caller's keeps dead rows at
-- the head of the index from being walked every time, as in claim.
CREATE FUNCTION uno_jobs.promote(
    p_limit integer, p_floor timestamptz,
    OUT promoted integer, OUT reached timestamptz, OUT scan_us bigint, OUT next_due timestamptz
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_started timestamptz := clock_timestamp();
    v_ids uuid[];
    v_queues text[];
BEGIN
    -- No DISTINCT here: for it PostgreSQL 16 sorts by queue, and the order in which jobs were due would be lost.
    SELECT array_agg(s.id), array_agg(s.queue), count(*), max(s.run_at)
    INTO v_ids, v_queues, promoted, reached
    FROM (SELECT l.id, l.queue, l.run_at FROM uno_jobs.live_jobs l
          WHERE l.state = 'scheduled' AND l.run_at <= uno_jobs.clock() AND l.run_at >= p_floor
          ORDER BY l.run_at LIMIT p_limit FOR UPDATE SKIP LOCKED) s;
    scan_us := extract(epoch FROM clock_timestamp() - v_started) * 1e6;
    IF promoted > 0 THEN
        UPDATE uno_jobs.live_jobs l SET state = 'ready', run_at = NULL, seq = d.seq
        FROM (SELECT u.id, nextval('uno_jobs.ready_seq') AS seq FROM unnest(v_ids) AS u (id)) d
        WHERE l.id = d.id;
        PERFORM uno_jobs.wake(v_queues);
    END IF;
    SELECT l.run_at INTO next_due FROM uno_jobs.live_jobs l
    WHERE l.state = 'scheduled' AND l.run_at > uno_jobs.clock() ORDER BY l.run_at LIMIT 1;
END $$;
COMMENT ON FUNCTION uno_jobs.promote(integer, timestamptz) IS
    'Make due jobs ready, at most p_limit; says how many, up to which time and in how many microseconds it scanned, and when the next is due.';
