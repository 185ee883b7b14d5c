-- finish, for jobs that others wait for. Parents, then their children are locked, nobody is waited for; a parent one of
-- whose children is locked elsewhere is left, whole, and sent again.
CREATE FUNCTION uno_jobs.finish_parents(p_worker uuid, p_ids uuid[], p_leases bigint[], p_results text[]) RETURNS uuid[]
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
    v_results text[];
    v_free uuid[];
    v_done uuid[];
BEGIN
    SELECT array_agg(k.id), array_agg(k.result) INTO v_ours, v_results
    FROM (SELECT l.id, g.result
          FROM unnest(p_ids, p_leases, p_results) AS g (id, lease, result) JOIN uno_jobs.live_jobs l ON l.id = g.id
          WHERE l.lease = g.lease AND l.worker_id IS NOT DISTINCT FROM p_worker AND l.has_children
          ORDER BY l.id FOR UPDATE OF l SKIP LOCKED) k;
    IF v_ours IS NULL THEN
        RETURN NULL;
    END IF;
    v_free := uno_jobs.lock_families(v_ours);
    IF cardinality(v_free) < cardinality(v_ours) THEN
        SELECT array_agg(g.id), array_agg(g.result) INTO v_ours, v_results
        FROM unnest(v_ours, v_results) AS g (id, result) JOIN unnest(v_free) AS f (id) ON f.id = g.id;
    END IF;
    WITH ended AS (
        DELETE FROM uno_jobs.live_jobs l USING unnest(v_ours, v_results) AS g (id, result) WHERE l.id = g.id
        RETURNING l.id, l.lease, l.started_at, l.attempt, l.failures, l.lost, g.result
    ), tried AS (
        INSERT INTO uno_jobs.attempts (job_id, lease, started_at, finished_at, worker_id, attempt, outcome)
        SELECT e.id, e.lease, e.started_at, v_now, p_worker, e.attempt, 'succeeded' FROM ended e
    ), recorded AS (
        INSERT INTO uno_jobs.outcomes AS o (id, finished_at, started_at, state, attempt, failures, lost, result, flow)
        SELECT e.id, v_now, e.started_at, 'succeeded', e.attempt, e.failures, e.lost, e.result::jsonb,
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
    PERFORM uno_jobs.propagate(v_done);
    RETURN v_done;
END $$;
COMMENT ON FUNCTION uno_jobs.finish_parents(uuid, uuid[], bigint[], text[]) IS
    'Record successes of jobs that others wait for, and release those; returns the jobs that were recorded.';
