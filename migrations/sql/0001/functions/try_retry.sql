-- What retry, queues and the command share. As in try_cancel, a running row is never locked.
--
-- The live row comes first and the outcome goes last: where another job holds the key, nothing has been changed. What asks
-- to cancel the job was about its past. Under unique_until=started a key that the job gave up at its first start stays free.
CREATE FUNCTION uno_jobs.try_retry(p_id uuid, p_notify boolean, OUT answer text, OUT holder uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_attempt integer;
    v_until_start boolean;
    v_queue text;
    v_anyway boolean;
    v_join boolean;
    v_waits_for integer;
BEGIN
    FOR v_try IN 1..5 LOOP
        SELECT coalesce(l.state, o.state), coalesce(t.options ->> 'unique_until' = 'started', false)
        INTO answer, v_until_start
        FROM uno_jobs.jobs j
        LEFT JOIN uno_jobs.live_jobs l ON l.id = j.id
        LEFT JOIN uno_jobs.outcomes o ON o.id = j.id
        LEFT JOIN uno_jobs.task_versions t ON t.task = j.task AND t.version = j.version
        WHERE j.id = p_id;
        IF NOT FOUND THEN
            answer := 'unknown';
            RETURN;
        END IF;
        IF answer = 'scheduled' THEN
            BEGIN
                UPDATE uno_jobs.live_jobs l SET state = 'ready', run_at = NULL, seq = nextval('uno_jobs.ready_seq')
                WHERE l.id = p_id AND l.state = 'scheduled'
                RETURNING l.queue INTO STRICT v_queue;
            EXCEPTION WHEN no_data_found THEN
                CONTINUE;
            END;
        ELSIF answer IN ('failed', 'cancelled') THEN
            SELECT o.attempt INTO v_attempt FROM uno_jobs.outcomes o WHERE o.id = p_id FOR UPDATE;
            CONTINUE WHEN NOT FOUND;
            SELECT coalesce((j.step ->> 'anyway')::boolean, false), j.task IS NULL INTO v_anyway, v_join
            FROM uno_jobs.jobs j WHERE j.id = p_id;
            -- A step whose parent did not succeed has nothing to start from; the parent's retry brings it back as well. Parents
            -- are looked at in one statement: one that fails between two would count neither as failed nor as live.
            SELECT count(*) FILTER (
                       WHERE EXISTS (SELECT FROM uno_jobs.live_jobs l WHERE l.id = e.parent_id)
                          OR EXISTS (SELECT FROM uno_jobs.pending_releases r WHERE r.job_id = e.parent_id)),
                   (array_agg(coalesce(o.cancelled_because, o.id) ORDER BY e.position)
                    FILTER (WHERE o.state <> 'succeeded' AND NOT v_anyway))[1]
            INTO v_waits_for, holder
            FROM uno_jobs.job_edges e LEFT JOIN uno_jobs.outcomes o ON o.id = e.parent_id WHERE e.child_id = p_id;
            IF holder IS NOT NULL THEN
                answer := 'parent';
                RETURN;
            END IF;
            SELECT l.id INTO holder
            FROM unnest(uno_jobs.cancelled_by(p_id)) AS c (id)
            JOIN uno_jobs.jobs j ON j.id = c.id JOIN uno_jobs.live_jobs l ON l.task = j.task AND l.unique_key = j.unique_key
            LIMIT 1;
            IF FOUND THEN
                answer := 'held';
                RETURN;
            END IF;
            INSERT INTO uno_jobs.live_jobs AS l
                (id, seq, state, attempt, pending_parents, priority, key_until_start, has_children, run_anyway, task, version, queue,
                 unique_key)
            SELECT j.id, CASE WHEN v_waits_for = 0 AND NOT v_join THEN nextval('uno_jobs.ready_seq') END,
                   CASE WHEN v_waits_for = 0 AND NOT v_join THEN 'ready' ELSE 'waiting' END::uno_jobs.job_state, v_attempt,
                   CASE WHEN v_waits_for = 0 AND NOT v_join THEN 0 ELSE v_waits_for + 1 END, j.priority, v_until_start,
                   EXISTS (SELECT FROM uno_jobs.job_edges e WHERE e.parent_id = j.id), v_anyway,
                   j.task, j.version, j.queue, CASE WHEN v_until_start AND v_attempt > 0 THEN NULL ELSE j.unique_key END
            FROM uno_jobs.jobs j WHERE j.id = p_id
            ON CONFLICT (task, unique_key) WHERE unique_key IS NOT NULL DO NOTHING
            RETURNING l.queue INTO v_queue;
            IF NOT FOUND THEN
                -- A statement of its own: its snapshot sees the holder that the insert waited for.
                SELECT l.id INTO holder
                FROM uno_jobs.jobs j JOIN uno_jobs.live_jobs l ON l.task = j.task AND l.unique_key = j.unique_key
                WHERE j.id = p_id;
                CONTINUE WHEN NOT FOUND;
                answer := 'held';
                RETURN;
            END IF;
            DELETE FROM uno_jobs.outcomes o WHERE o.id = p_id;
            DELETE FROM uno_jobs.cancel_requests c WHERE c.job_id = p_id;
            DELETE FROM uno_jobs.workflow_cancellations c WHERE c.job_id = p_id;
            IF v_waits_for > 0 OR v_join THEN
                INSERT INTO uno_jobs.pending_counts (job_id) VALUES (p_id)
                ON CONFLICT (job_id) DO UPDATE SET job_id = excluded.job_id;
            END IF;
            PERFORM uno_jobs.revive(p_id);
        ELSE
            RETURN;
        END IF;
        IF p_notify THEN
            PERFORM uno_jobs.wake(ARRAY[v_queue]);
        END IF;
        answer := 'retried';
        RETURN;
    END LOOP;
    RAISE EXCEPTION 'job % changed its state five times while it was to be retried', p_id
        USING ERRCODE = 'serialization_failure', HINT = 'Retry the transaction.';
END $$;
COMMENT ON FUNCTION uno_jobs.try_retry(uuid, boolean) IS
    'Retry a job as retry does; where that cannot be, change nothing and answer why: unknown, held (its unique key or that of a job revived with it, by holder), parent (holder did not succeed), or the state it is in.';
