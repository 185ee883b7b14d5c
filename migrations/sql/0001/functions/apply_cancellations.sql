-- A request may be committed just after the end of the attempt that it was meant for, when the job already waits for its
-- next one. It is not to wait for that. What runs is left to its worker. Where the whole workflow was cancelled, and one of
-- its jobs that ran then has ended, what that has added is cancelled as well.
CREATE FUNCTION uno_jobs.apply_cancellations(p_limit integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_ids uuid[];
    v_parents uuid[];
    v_over record;
BEGIN
    FOR v_over IN
        SELECT c.job_id AS id FROM uno_jobs.workflow_cancellations c
        WHERE NOT EXISTS (SELECT FROM uno_jobs.live_jobs l WHERE l.id = c.job_id)
        LIMIT p_limit FOR UPDATE SKIP LOCKED
    LOOP
        PERFORM uno_jobs.cancel_additions(v_over.id);
    END LOOP;
    IF NOT EXISTS (SELECT FROM uno_jobs.cancel_requests) THEN
        RETURN 0;
    END IF;
    WITH picked AS MATERIALIZED (
        SELECT l.id, c.reason
        FROM uno_jobs.cancel_requests c JOIN uno_jobs.live_jobs l ON l.id = c.job_id
        WHERE l.state <> 'running'
        LIMIT p_limit FOR UPDATE OF l SKIP LOCKED
    ), gone AS (
        DELETE FROM uno_jobs.live_jobs l USING picked p WHERE l.id = p.id
        RETURNING l.id, l.attempt, l.failures, l.lost, l.has_children, p.reason
    ), ended AS (
        INSERT INTO uno_jobs.outcomes (id, finished_at, started_at, state, attempt, failures, lost, error)
        SELECT g.id, uno_jobs.clock(), (SELECT max(a.started_at) FROM uno_jobs.attempts a WHERE a.job_id = g.id),
               'cancelled', g.attempt, g.failures, g.lost, coalesce(g.reason, 'cancelled on request')
        FROM gone g
    )
    SELECT array_agg(g.id), array_agg(g.id) FILTER (WHERE g.has_children) INTO v_ids, v_parents FROM gone g;
    PERFORM uno_jobs.tell_children(v_parents);
    PERFORM uno_jobs.tidy_finished(v_ids);
    RETURN coalesce(cardinality(v_ids), 0);
END $$;
COMMENT ON FUNCTION uno_jobs.apply_cancellations(integer) IS
    'Cancel jobs that a request found no longer running and not yet finished, at most p_limit; returns how many.';
