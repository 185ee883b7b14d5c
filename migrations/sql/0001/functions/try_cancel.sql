-- What cancel, queues and the command share. Called in callers' transactions, which may stay open for long, so nothing here
-- holds up a worker: a running row is never locked, a request is an insert, and waiters' rows are left to the sweep.
CREATE FUNCTION uno_jobs.try_cancel(p_id uuid, p_reason text, p_notify boolean) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_state uno_jobs.job_state;
    v_job record;
BEGIN
    IF length(p_reason) > 4000 THEN
        RAISE EXCEPTION 'a reason has at most 4000 characters, this one has %', length(p_reason)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Again only when a claim, an outcome or another cancel came between the look and the deletion.
    FOR v_try IN 1..5 LOOP
        SELECT coalesce(l.state, o.state) INTO v_state
        FROM uno_jobs.jobs j
        LEFT JOIN uno_jobs.live_jobs l ON l.id = j.id
        LEFT JOIN uno_jobs.outcomes o ON o.id = j.id
        WHERE j.id = p_id;
        IF NOT FOUND THEN
            RETURN 'unknown';
        END IF;
        IF v_state IN ('succeeded', 'failed', 'cancelled') THEN
            RETURN 'finished';
        END IF;
        EXIT WHEN v_state = 'running';
        -- A deletion that waited for a claim locks the row as the claim left it, and only then sees that it runs. The
        -- block's rollback gives that lock back; without it the job's outcome would have to wait for this transaction.
        BEGIN
            DELETE FROM uno_jobs.live_jobs l WHERE l.id = p_id AND l.state <> 'running'
            RETURNING l.attempt, l.failures, l.lost, l.has_children INTO STRICT v_job;
        EXCEPTION WHEN no_data_found THEN
            CONTINUE;
        END;
        INSERT INTO uno_jobs.outcomes (id, finished_at, started_at, state, attempt, failures, lost, error)
        VALUES (p_id, uno_jobs.clock(), (SELECT max(a.started_at) FROM uno_jobs.attempts a WHERE a.job_id = p_id),
                'cancelled', v_job.attempt, v_job.failures, v_job.lost, coalesce(p_reason, 'cancelled on request'));
        DELETE FROM uno_jobs.cancel_requests c WHERE c.job_id = p_id;
        DELETE FROM uno_jobs.progress p WHERE p.job_id = p_id;
        IF p_notify AND EXISTS (SELECT FROM uno_jobs.result_waiters w WHERE w.job_id = p_id) THEN
            PERFORM pg_notify((SELECT channel FROM uno_jobs.schema_info), 'done ' || p_id);
        END IF;
        IF v_job.has_children THEN
            PERFORM uno_jobs.tell_children(ARRAY[p_id]);
        END IF;
        RETURN 'cancelled';
    END LOOP;
    -- The first reason stands: to change it would be to lock a row that the job's end deletes.
    INSERT INTO uno_jobs.cancel_requests (job_id, requested_at, reason) VALUES (p_id, uno_jobs.clock(), p_reason)
    ON CONFLICT (job_id) DO NOTHING;
    IF p_notify THEN
        PERFORM pg_notify((SELECT channel FROM uno_jobs.schema_info), 'cancel ' || p_id);
    END IF;
    RETURN 'requested';
END $$;
COMMENT ON FUNCTION uno_jobs.try_cancel(uuid, text, boolean) IS
    'Cancel a job as cancel does, but answer unknown where there is none, so that the caller''s transaction goes on.';
