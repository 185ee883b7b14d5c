-- finish, for jobs that others wait for. Parents, then their children are locked, nobody is waited for; a parent one of
-- whose children is locked elsewhere is left, whole, and sent again.
CREATE FUNCTION uno_jobs.finish_parents(p_worker uuid, p_ids uuid[], p_leases bigint[], p_results text[], p_peaks bigint[]) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_ours uuid[];
    v_places tid[];
    v_results text[];
    v_peaks bigint[];
    v_free uuid[];
    v_done uuid[];
    v_joined uuid[];
BEGIN
    SELECT array_agg(l.id), array_agg(l.place), array_agg(g.result), array_agg(g.peak) INTO v_ours, v_places, v_results, v_peaks
    FROM unnest(p_ids, p_leases, p_results, p_peaks) AS g (id, lease, result, peak)
    CROSS JOIN LATERAL (SELECT x.id, x.ctid AS place FROM uno_jobs.live_jobs x
                        WHERE x.id = g.id AND x.lease = g.lease AND x.worker_id IS NOT DISTINCT FROM p_worker AND x.has_children
                        FOR UPDATE SKIP LOCKED) l;
    IF v_ours IS NULL THEN
        RETURN NULL;
    END IF;
    v_free := uno_jobs.lock_families(v_ours);
    IF cardinality(v_free) < cardinality(v_ours) THEN
        SELECT array_agg(g.place), array_agg(g.result), array_agg(g.peak) INTO v_places, v_results, v_peaks
        FROM unnest(v_ours, v_places, v_results, v_peaks) AS g (id, place, result, peak) WHERE g.id IN (SELECT unnest(v_free));
    END IF;
    WITH ended AS (
        DELETE FROM uno_jobs.live_jobs l USING unnest(v_places, v_results, v_peaks) AS g (place, result, peak) WHERE l.ctid = g.place
        RETURNING l.id, l.lease, l.started_at, l.attempt, l.failures, l.lost, g.result, g.peak
    ), tried AS (
        INSERT INTO uno_jobs.attempts (job_id, lease, started_at, finished_at, worker_id, attempt, outcome, peak_memory)
        SELECT e.id, e.lease, e.started_at, v_now, p_worker, e.attempt, 'succeeded', e.peak FROM ended e
    ), recorded AS (
        INSERT INTO uno_jobs.outcomes AS o (id, finished_at, started_at, state, attempt, failures, lost, result, flow)
        SELECT e.id, v_now, e.started_at, 'succeeded', e.attempt, e.failures, e.lost, coalesce(e.result::jsonb, 'null'),
               CASE WHEN j.step ->> 'flow' IS NULL THEN '{}'
                    ELSE (SELECT CASE WHEN p.flow ? 'then' AND NOT j.step ? 'inner' THEN uno_jobs.flow_behind(p.id)
                                      -- Behind a number or a list it is as before it: spared the call.
                                      WHEN jsonb_typeof(p.result) = 'object' OR p.flow IS NULL
                                      THEN uno_jobs.flow_after(p.id, p.result, p.flow)
                                      ELSE p.flow - 'then' END
                          FROM uno_jobs.outcomes p
                          WHERE p.id = (j.step ->> 'flow')::uuid) END
        FROM ended e LEFT JOIN uno_jobs.jobs j ON j.id = e.id
        RETURNING o.id
    )
    SELECT array_agg(r.id) INTO v_done FROM recorded r;
    v_joined := uno_jobs.release(v_done);
    IF v_joined IS NOT NULL THEN
        PERFORM uno_jobs.tell_children(uno_jobs.finish_joins(v_joined));
        PERFORM uno_jobs.tidy_finished(v_joined);
    END IF;
    RETURN v_done;
END $$;
COMMENT ON FUNCTION uno_jobs.finish_parents(uuid, uuid[], bigint[], text[], bigint[]) IS
    'Record successes of jobs that others wait for, and release those; returns the jobs that were recorded.';
