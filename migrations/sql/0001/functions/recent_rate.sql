-- The window shrinks until no more than 2,000 ends are in it, so that a busy system is looked at as briefly as an idle one.
CREATE FUNCTION uno_jobs.recent_rate(p_queue text) RETURNS double precision
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_seconds double precision;
    v_all bigint;
    v_mine bigint;
BEGIN
    FOREACH v_seconds IN ARRAY ARRAY[60, 10, 2, 0.4, 0.1] LOOP
        SELECT count(*), count(*) FILTER (WHERE j.queue = p_queue) INTO v_all, v_mine
        FROM (SELECT o.id FROM uno_jobs.outcomes o
              WHERE o.finished_at > v_now - v_seconds * interval '1 second' AND o.finished_at <= v_now AND o.started_at IS NOT NULL
              LIMIT 2001) o
        JOIN uno_jobs.jobs j ON j.id = o.id;
        EXIT WHEN v_all <= 2000;
    END LOOP;
    RETURN v_mine / v_seconds;
END $$;
COMMENT ON FUNCTION uno_jobs.recent_rate(text) IS
    'How many jobs of a queue have ended a second, over the last minute or, where there are many, less.';
