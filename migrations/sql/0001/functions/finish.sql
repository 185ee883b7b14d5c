-- Record how attempts ended: p_ids, p_leases and p_results (JSON texts) those that succeeded, p_others the rest (see settle).
-- p_peaks are the peak memories of those that succeeded, in bytes. It may end before the others do, and so may p_results, where
-- all that follow are null: most tasks return nothing.
--
-- Each names its lease. What this worker no longer holds is left alone and returned as 'stale'. A row that somebody else
-- has locked holds up the rest for no longer than 10 ms: then they are recorded without it, and it is returned as 'locked', to
-- be sent again. Sending twice what was recorded is harmless and returns nothing.
--
-- To lock each row with SKIP LOCKED before it is deleted would be simpler, and was a quarter of the work (decision 12).
--
-- Generic plans: a custom plan for 1,000 ids joined them to all running rows (23 µs a job instead of 5). IS NOT DISTINCT
-- FROM keeps the planner from the index on worker_id, whose dead entries grow with every job since the last vacuum.
CREATE FUNCTION uno_jobs.finish(
    p_worker uuid, p_ids uuid[], p_leases bigint[], p_results text[], p_others jsonb, p_peaks bigint[] DEFAULT '{}'
) RETURNS TABLE (id uuid, lease bigint, fate text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
SET lock_timeout = 0
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_recorded integer := 0;
    v_settled integer := 0;
    v_done uuid[];
    v_final uuid[];
BEGIN
    IF cardinality(p_ids) = 1 THEN
        -- One alone holds up nobody, and a job's own transaction (see finish_in_transaction) gets no subtransaction.
        v_done := uno_jobs.finish_unlocked(p_worker, p_ids, p_leases, p_results, p_peaks);
        v_recorded := coalesce(cardinality(v_done), 0);
    ELSIF cardinality(p_ids) > 1 THEN
        BEGIN
            PERFORM set_config('lock_timeout', '10ms', true);
            WITH ended AS (
                DELETE FROM uno_jobs.live_jobs l
                USING unnest(p_ids, p_leases, p_results, p_peaks) AS g (id, lease, result, peak)
                WHERE l.id = g.id AND l.lease = g.lease AND l.worker_id IS NOT DISTINCT FROM p_worker AND NOT l.has_children
                RETURNING l.id, l.lease, l.started_at, l.attempt, l.failures, l.lost, g.result, g.peak
            ), tried AS (
                INSERT INTO uno_jobs.attempts (job_id, lease, started_at, finished_at, worker_id, attempt, outcome, peak_memory)
                SELECT e.id, e.lease, e.started_at, v_now, p_worker, e.attempt, 'succeeded', e.peak FROM ended e
            ), recorded AS (
                INSERT INTO uno_jobs.outcomes AS o (id, finished_at, started_at, state, attempt, failures, lost, result)
                SELECT e.id, v_now, e.started_at, 'succeeded', e.attempt, e.failures, e.lost, coalesce(e.result::jsonb, 'null') FROM ended e
                RETURNING o.id
            )
            SELECT count(*), array_agg(r.id) INTO v_recorded, v_done FROM recorded r;
            PERFORM set_config('lock_timeout', '0', true);
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            v_done := uno_jobs.finish_unlocked(p_worker, p_ids, p_leases, p_results, p_peaks);
            v_recorded := coalesce(cardinality(v_done), 0);
        END;
    END IF;
    IF v_recorded < cardinality(p_ids) THEN
        v_final := uno_jobs.finish_parents(p_worker, p_ids, p_leases, p_results, p_peaks);
        v_recorded := v_recorded + coalesce(cardinality(v_final), 0);
        v_done := v_done || v_final;
    END IF;
    IF jsonb_array_length(p_others) > 0 THEN
        SELECT count(*), array_agg(s.id) FILTER (WHERE s.state IN ('failed', 'cancelled')) INTO v_settled, v_final
        FROM uno_jobs.settle(p_worker, p_others) s;
    END IF;
    -- Only what was recorded: a job that is in other hands keeps its waiters and its cancellation.
    PERFORM uno_jobs.tidy_finished(v_done || v_final);

    IF v_recorded + v_settled < coalesce(cardinality(p_ids), 0) + coalesce(jsonb_array_length(p_others), 0) THEN
        RETURN QUERY
        SELECT g.id, g.lease, CASE WHEN l.id IS NOT NULL THEN 'locked' ELSE 'stale' END
        FROM (SELECT u.id, u.lease, 'succeeded'::uno_jobs.attempt_outcome AS outcome FROM unnest(p_ids, p_leases) AS u (id, lease)
              UNION ALL
              SELECT o.id, o.lease, o.outcome
              FROM jsonb_to_recordset(p_others) AS o (id uuid, lease bigint, outcome uno_jobs.attempt_outcome)) g
        LEFT JOIN uno_jobs.live_jobs l ON l.id = g.id AND l.lease = g.lease AND l.worker_id IS NOT DISTINCT FROM p_worker
        LEFT JOIN uno_jobs.attempts a ON a.job_id = g.id AND a.lease = g.lease
        -- What was recorded is what was sent; only a retry that met a cancellation is kept as failed.
        WHERE l.id IS NOT NULL OR a.job_id IS NULL
           OR (a.outcome <> g.outcome AND NOT (g.outcome = 'retried' AND a.outcome = 'failed'));
    END IF;
END $$;
COMMENT ON FUNCTION uno_jobs.finish(uuid, uuid[], bigint[], text[], jsonb, bigint[]) IS
    'Record ended attempts of a worker; returns those that were not recorded: stale (the lease is over) or locked (send again).';
