-- The last statement of a job's own transaction: the attempt has succeeded if, and only if, that transaction commits.
--
-- The one statement in user code's transaction that locks a running row, and so it comes last. It waits for whoever else
-- holds the row, or those of the jobs that wait for it, since a commit cannot be tried again later. The fence is the lease
-- alone: it is random, and the worker may go on under a new id while the job runs. What the transaction was marked with at its
-- beginning must still be there: a COMMIT in the middle would have let effects out without the success.
--
-- SQLSTATE UJ001: the lease is over. UJ002: this is not the transaction that was begun for the job.
CREATE FUNCTION uno_jobs.finish_in_transaction(p_id uuid, p_lease bigint, p_result text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_worker uuid;
    v_has_children boolean;
    v_fate text;
BEGIN
    IF current_setting('unojobs.lease', true) IS DISTINCT FROM p_lease::text THEN
        RAISE EXCEPTION 'the transaction of job % was ended inside its block', p_id USING ERRCODE = 'UJ002';
    END IF;
    SELECT l.worker_id, l.has_children INTO v_worker, v_has_children FROM uno_jobs.live_jobs l
    WHERE l.id = p_id AND l.lease = p_lease AND l.state = 'running'
    FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the lease of job % is over', p_id USING ERRCODE = 'UJ001';
    END IF;
    IF v_has_children THEN
        PERFORM FROM uno_jobs.live_jobs c
        WHERE c.id IN (SELECT e.child_id FROM uno_jobs.job_edges e WHERE e.parent_id = p_id) AND c.state = 'waiting'
        ORDER BY c.id FOR UPDATE OF c;
    END IF;
    -- What it locks is locked by ourselves, so nothing is skipped.
    SELECT f.fate INTO v_fate
    FROM uno_jobs.finish(v_worker, ARRAY[p_id], ARRAY[p_lease], ARRAY[p_result], '[]') f;
    IF FOUND THEN
        -- A child that was revived a moment ago is in the hands of who counts its parents.
        RAISE EXCEPTION 'the success of job % could not be recorded: %', p_id, v_fate
            USING ERRCODE = 'serialization_failure', HINT = 'Retry the transaction.';
    END IF;
    IF v_has_children THEN
        UPDATE uno_jobs.outcomes o
        SET flow = coalesce(o.flow, jsonb_build_object('next', j.step -> 'flow')) || jsonb_build_object('then', j.step -> 'then')
        FROM uno_jobs.jobs j WHERE o.id = p_id AND j.id = p_id AND j.step ->> 'then' IS NOT NULL;
    END IF;
    IF EXISTS (SELECT FROM uno_jobs.workflow_cancellations c WHERE c.job_id = p_id) THEN
        PERFORM uno_jobs.cancel_additions(p_id);
    END IF;
END $$;
COMMENT ON FUNCTION uno_jobs.finish_in_transaction(uuid, bigint, text) IS
    'Record the success of a running attempt in the transaction that did its work; the last statement before COMMIT.';
