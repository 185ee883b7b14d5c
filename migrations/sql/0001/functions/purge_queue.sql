-- As a cancellation by hand, in bulk: nobody is waited for, and a job that runs is left alone. What arrives after the purge
-- began is not of it, so that whoever repeats it comes to an end.
CREATE FUNCTION uno_jobs.purge_queue(
    queue text, reason text DEFAULT NULL, at_most integer DEFAULT NULL, before timestamptz DEFAULT NULL, notify boolean DEFAULT true
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_missing text;
    v_before timestamptz := coalesce(before, uno_jobs.clock());
    v_ids uuid[];
    v_parents uuid[];
BEGIN
    -- Once emptied a queue may be named by nothing any more, which is no news to who goes on with a purge.
    IF before IS NULL THEN
        v_missing := uno_jobs.missing_queue(queue);
        IF v_missing IS NOT NULL THEN
            RAISE EXCEPTION '%', v_missing USING ERRCODE = 'no_data_found';
        END IF;
    END IF;
    IF length(reason) > 4000 THEN
        RAISE EXCEPTION 'a reason has at most 4000 characters, this one has %', length(reason)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    WITH picked AS MATERIALIZED (
        (SELECT l.id FROM uno_jobs.live_jobs l JOIN uno_jobs.jobs j ON j.id = l.id
         WHERE l.state IN ('waiting', 'scheduled') AND l.queue = purge_queue.queue AND j.created_at <= v_before
         LIMIT at_most FOR UPDATE OF l SKIP LOCKED)
    ), ready AS MATERIALIZED (
        (SELECT l.id FROM uno_jobs.live_jobs l JOIN uno_jobs.jobs j ON j.id = l.id
         WHERE l.state = 'ready' AND l.queue = purge_queue.queue AND j.created_at <= v_before
         LIMIT at_most - (SELECT count(*) FROM picked) FOR UPDATE OF l SKIP LOCKED)
    ), gone AS (
        DELETE FROM uno_jobs.live_jobs l USING (SELECT p.id FROM picked p UNION ALL SELECT r.id FROM ready r) p WHERE l.id = p.id
        RETURNING l.id, l.attempt, l.failures, l.lost, l.has_children
    ), ended AS (
        INSERT INTO uno_jobs.outcomes (id, finished_at, started_at, state, attempt, failures, lost, error)
        SELECT g.id, uno_jobs.clock(),
               CASE WHEN g.attempt > 0 THEN (SELECT max(a.started_at) FROM uno_jobs.attempts a WHERE a.job_id = g.id) END,
               'cancelled', g.attempt, g.failures, g.lost,
               'its queue was purged' || coalesce(': ' || purge_queue.reason, '')
        FROM gone g
    )
    SELECT array_agg(g.id), array_agg(g.id) FILTER (WHERE g.has_children) INTO v_ids, v_parents FROM gone g;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM uno_jobs.cancel_requests c WHERE c.job_id = ANY (v_ids);
    DELETE FROM uno_jobs.progress p WHERE p.job_id = ANY (v_ids);
    -- Who waits is told, and tidies up: rows of theirs are not locked in a transaction that may stay open.
    IF notify THEN
        PERFORM pg_notify((SELECT channel FROM uno_jobs.schema_info), 'done ' || w.job_id)
        FROM (SELECT DISTINCT r.job_id FROM uno_jobs.result_waiters r WHERE r.job_id = ANY (v_ids)) w;
    END IF;
    PERFORM uno_jobs.tell_children(v_parents);
    RETURN cardinality(v_ids);
END $$;
COMMENT ON FUNCTION uno_jobs.purge_queue(text, text, integer, timestamptz, boolean) IS
    'Cancel what is in this queue and does not run, at most at_most, enqueued no later than before (null: all, and now); returns how many. They stay to be seen, as cancelled; those that wait for them follow the rules of cancellation.';
