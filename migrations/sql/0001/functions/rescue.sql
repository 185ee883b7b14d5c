-- Give back what a dead worker was running. A job that was alone in its process when that died is blamed for it (lost); among
-- others it only becomes suspect. How many ran is kept with the worker: a second call, for rows that were locked during
-- the first, must not take one of many for the only one.
CREATE FUNCTION uno_jobs.rescue(p_worker uuid, p_cause text, p_max_lost integer) RETURNS SETOF uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_running integer;
    v_ends jsonb;
    v_settled uuid[];
    v_final uuid[];
BEGIN
    SELECT count(*) INTO v_running FROM uno_jobs.live_jobs l WHERE l.state = 'running' AND l.worker_id = p_worker;
    IF v_running = 0 THEN
        RETURN;
    END IF;
    UPDATE uno_jobs.workers w SET lost_jobs = greatest(w.lost_jobs, v_running) WHERE w.id = p_worker
    RETURNING w.lost_jobs INTO v_running;
    SELECT jsonb_agg(jsonb_build_object(
        'id', s.id, 'lease', s.lease, 'outcome', 'lost', 'error_type', 'WorkerLost', 'error', p_cause,
        'alone', coalesce(v_running = 1, false), 'max_lost', p_max_lost)) INTO v_ends
    FROM (SELECT l.id, l.lease FROM uno_jobs.live_jobs l
          WHERE l.state = 'running' AND l.worker_id = p_worker
          ORDER BY l.id FOR UPDATE SKIP LOCKED) s;
    IF v_ends IS NULL THEN
        RETURN;
    END IF;
    SELECT array_agg(s.id), array_agg(s.id) FILTER (WHERE s.state IN ('failed', 'cancelled')) INTO v_settled, v_final
    FROM uno_jobs.settle(p_worker, v_ends) s;
    PERFORM uno_jobs.tidy_finished(v_final);
    RETURN QUERY SELECT unnest(v_settled);
END $$;
COMMENT ON FUNCTION uno_jobs.rescue(uuid, text, integer) IS
    'Return the jobs of a dead worker to ready, fenced by their leases; gives their ids.';
