-- The window shrinks until no more than 2,000 ends are in it, so that a busy system is looked at as briefly as an idle one. With
-- few in it after one with many, work pauses, and the wider one, of which at least so many are known, tells more.
CREATE FUNCTION uno_jobs.recent_rate(p_queue text) RETURNS double precision
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = on
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_window double precision;
    v_seconds double precision := 60;
    v_found bigint;
BEGIN
    FOREACH v_window IN ARRAY ARRAY[60, 20, 7, 2, 0.7, 0.2] LOOP
        SELECT count(*) INTO v_found
        FROM (SELECT FROM uno_jobs.outcomes o
              WHERE o.finished_at > v_now - v_window * interval '1 second' AND o.finished_at <= v_now LIMIT 2001) c;
        EXIT WHEN v_found < 100;
        v_seconds := v_window;
        EXIT WHEN v_found <= 2000;
    END LOOP;
    RETURN (SELECT count(*) FILTER (WHERE j.queue = p_queue) / v_seconds
            FROM (SELECT o.id FROM uno_jobs.outcomes o
                  WHERE o.finished_at > v_now - v_seconds * interval '1 second' AND o.finished_at <= v_now
                    AND o.started_at IS NOT NULL
                  LIMIT 2001) o
            JOIN uno_jobs.jobs j ON j.id = o.id);
END $$;
COMMENT ON FUNCTION uno_jobs.recent_rate(text) IS
    'How many jobs of a queue have ended a second, over the last minute or, where there are many, less.';
