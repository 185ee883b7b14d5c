-- finish, for succeeded jobs among which somebody else has locked some: records the others, and returns them.
CREATE FUNCTION uno_jobs.finish_unlocked(p_worker uuid, p_ids uuid[], p_leases bigint[], p_results text[], p_peaks bigint[]) RETURNS uuid[]
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
    v_done uuid[];
BEGIN
    WITH picked AS MATERIALIZED (
        SELECT l.ctid, g.result, g.peak
        FROM unnest(p_ids, p_leases, p_results, p_peaks) AS g (id, lease, result, peak)
        JOIN uno_jobs.live_jobs l ON l.id = g.id
        WHERE l.lease = g.lease AND l.worker_id IS NOT DISTINCT FROM p_worker AND NOT l.has_children
        FOR UPDATE OF l SKIP LOCKED
    ), ended AS (
        DELETE FROM uno_jobs.live_jobs l USING picked p WHERE l.ctid = p.ctid
        RETURNING l.id, l.lease, l.started_at, l.attempt, l.failures, l.lost, p.result, p.peak
    ), tried AS (
        INSERT INTO uno_jobs.attempts (job_id, lease, started_at, finished_at, worker_id, attempt, outcome, peak_memory)
        SELECT e.id, e.lease, e.started_at, v_now, p_worker, e.attempt, 'succeeded', e.peak FROM ended e
    ), recorded AS (
        INSERT INTO uno_jobs.outcomes AS o (id, finished_at, started_at, state, attempt, failures, lost, result)
        SELECT e.id, v_now, e.started_at, 'succeeded', e.attempt, e.failures, e.lost, coalesce(e.result::jsonb, 'null') FROM ended e
        RETURNING o.id
    )
    SELECT array_agg(r.id) INTO v_done FROM recorded r;
    RETURN v_done;
END $$;
COMMENT ON FUNCTION uno_jobs.finish_unlocked(uuid, uuid[], bigint[], text[], bigint[]) IS
    'Record succeeded attempts of jobs whose rows nobody else has locked, and for which no other waits; returns the jobs.';
