-- Attempts that ended otherwise than by success. p_ends is a JSON array of
--   {id, lease, outcome, delay, error_type, error, traceback, peak_memory, alone, max_lost}
-- with outcome failed, retried, snoozed, cancelled, handed_back or lost. A cancellation that was asked for meanwhile
-- turns any of them into the job's end. Leaving 'running' clears worker and lease, so the fence is down at once.
CREATE FUNCTION uno_jobs.settle(p_worker uuid, p_ends jsonb) RETURNS TABLE (id uuid, state uno_jobs.job_state)
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := uno_jobs.clock();
    r record;
    v_queues text[] := '{}';
    v_parents uuid[];
    v_free uuid[];
    v_ended uuid[];
BEGIN
    -- Jobs that others wait for end only when those can be told.
    SELECT array_agg(l.id) INTO v_parents
    FROM jsonb_to_recordset(p_ends) AS e (id uuid, lease bigint)
    CROSS JOIN LATERAL (SELECT x.id FROM uno_jobs.live_jobs x
                        WHERE x.id = e.id AND x.lease = e.lease AND x.worker_id IS NOT DISTINCT FROM p_worker AND x.has_children
                        FOR UPDATE SKIP LOCKED) l;
    IF v_parents IS NOT NULL THEN
        v_free := uno_jobs.lock_families(v_parents);
    END IF;
    FOR r IN
        WITH given AS MATERIALIZED (
            SELECT e.*, c.job_id IS NOT NULL AS cancel_asked, c.reason AS cancel_reason
            FROM jsonb_to_recordset(p_ends) AS e (
                id uuid, lease bigint, outcome uno_jobs.attempt_outcome, delay double precision, error_type text, error text,
                traceback text, peak_memory bigint, alone boolean, max_lost integer)
            LEFT JOIN uno_jobs.cancel_requests c ON c.job_id = e.id
        ), picked AS MATERIALIZED (
            SELECT g.*, l.queue, l.seq, l.started_at, l.attempt, l.failures, l.lost, l.suspect, l.has_children,
                   (g.outcome = 'lost' AND g.alone)::integer AS counts
            FROM given g
            CROSS JOIN LATERAL (SELECT x.* FROM uno_jobs.live_jobs x
                                WHERE x.id = g.id AND x.lease = g.lease AND x.worker_id IS NOT DISTINCT FROM p_worker
                                FOR UPDATE SKIP LOCKED) l
        ), judged AS MATERIALIZED (
            SELECT n.* FROM (SELECT p.*,
                CASE
                    WHEN p.outcome = 'cancelled' OR p.cancel_asked THEN 'cancelled'
                    WHEN p.outcome = 'failed' THEN 'failed'
                    WHEN p.counts = 1 AND p.lost + 1 >= p.max_lost THEN 'failed'
                    WHEN p.outcome IN ('retried', 'snoozed') AND p.delay > 0 THEN 'scheduled'
                    ELSE 'ready'
                END::uno_jobs.job_state AS next
            FROM picked p) n
            WHERE n.next NOT IN ('failed', 'cancelled') OR NOT n.has_children OR n.id = ANY (v_free)
        ), gone AS (
            DELETE FROM uno_jobs.live_jobs l USING judged j
            WHERE l.id = j.id AND j.next IN ('failed', 'cancelled')
        ), back AS (
            UPDATE uno_jobs.live_jobs l
            SET state = j.next, worker_id = NULL, lease = NULL, started_at = NULL,
                run_at = CASE WHEN j.next = 'scheduled' THEN v_now + j.delay * interval '1 second' END,
                -- A retry or a snooze goes to the end of its queue; what was handed back or lost keeps its place.
                seq = CASE WHEN j.next = 'scheduled' THEN NULL
                           WHEN j.outcome IN ('handed_back', 'lost') THEN j.seq
                           ELSE nextval('uno_jobs.ready_seq') END,
                failures = j.failures + (j.outcome = 'retried')::integer,
                lost = j.lost + j.counts,
                suspect = j.suspect OR (j.outcome = 'lost' AND j.counts = 0)
            FROM judged j
            WHERE l.id = j.id AND j.next IN ('ready', 'scheduled')
        ), tried AS (
            INSERT INTO uno_jobs.attempts
                (job_id, lease, started_at, finished_at, worker_id, attempt, outcome, error_type, error, traceback, peak_memory)
            SELECT j.id, j.lease, j.started_at, v_now, p_worker, j.attempt,
                   CASE WHEN j.outcome = 'retried' AND j.next = 'cancelled' THEN 'failed' ELSE j.outcome END,
                   j.error_type,
                   CASE WHEN j.outcome = 'cancelled' AND j.cancel_reason IS NOT NULL THEN j.cancel_reason ELSE j.error END,
                   j.traceback, j.peak_memory
            FROM judged j
        ), ended AS (
            INSERT INTO uno_jobs.outcomes (id, finished_at, started_at, state, attempt, failures, lost, error_type, error)
            SELECT j.id, v_now, j.started_at, j.next, j.attempt,
                   j.failures + (j.outcome IN ('failed', 'retried'))::integer, j.lost + j.counts,
                   CASE WHEN j.cancel_asked THEN NULL ELSE j.error_type END,
                   CASE WHEN j.cancel_asked THEN coalesce(j.cancel_reason, 'cancelled on request') ELSE j.error END
            FROM judged j WHERE j.next IN ('failed', 'cancelled')
        )
        SELECT j.id, j.next, j.queue, j.has_children FROM judged j
    LOOP
        id := r.id;
        state := r.next;
        IF r.next = 'ready' THEN
            v_queues := v_queues || r.queue::text;
        ELSIF r.has_children AND r.next IN ('failed', 'cancelled') THEN
            v_ended := v_ended || r.id;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF v_ended IS NOT NULL THEN
        PERFORM uno_jobs.propagate(v_ended);
    END IF;
    IF cardinality(v_queues) > 0 THEN
        PERFORM uno_jobs.wake(v_queues);
    END IF;
END $$;
COMMENT ON FUNCTION uno_jobs.settle(uuid, jsonb) IS
    'Record attempts of one worker that ended otherwise than by success; returns what was recorded and the state that each job is in now.';
