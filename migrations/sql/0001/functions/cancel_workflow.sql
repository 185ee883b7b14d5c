-- All that has not finished, whatever it says of its parents' failures. As in try_cancel a running row is never locked; what
-- somebody else holds at this moment is asked to end, and does within a second. What that adds meanwhile (job.then) belongs
-- to the workflow too, and cannot be seen from here: workflow_cancellations remembers all that was unfinished when the jobs
-- were listed, in the same moment, also what has ended since: what that added is not in the list.
CREATE FUNCTION uno_jobs.cancel_workflow(workflow_id uuid, reason text DEFAULT NULL, notify boolean DEFAULT true) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_ids uuid[];
    v_unfinished uuid[];
    v_ended uuid[];
    v_asked uuid[];
BEGIN
    IF length(reason) > 4000 THEN
        RAISE EXCEPTION 'a reason has at most 4000 characters, this one has %', length(reason)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT array_agg(j.id ORDER BY j.id), array_agg(l.id) INTO v_ids, v_unfinished
    FROM uno_jobs.jobs j LEFT JOIN uno_jobs.live_jobs l ON l.id = j.id WHERE j.workflow_id = cancel_workflow.workflow_id;
    IF v_ids IS NULL THEN
        RETURN 'unknown';
    END IF;
    WITH picked AS MATERIALIZED (
        SELECT l.id FROM uno_jobs.live_jobs l WHERE l.id = ANY (v_ids) AND l.state <> 'running' ORDER BY l.id FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM uno_jobs.live_jobs l USING picked p WHERE l.id = p.id RETURNING l.id, l.attempt, l.failures, l.lost
    ), ended AS (
        INSERT INTO uno_jobs.outcomes (id, finished_at, started_at, state, attempt, failures, lost, error)
        SELECT g.id, v_now, (SELECT max(a.started_at) FROM uno_jobs.attempts a WHERE a.job_id = g.id), 'cancelled',
               g.attempt, g.failures, g.lost, coalesce(cancel_workflow.reason, 'its workflow was cancelled')
        FROM gone g
    )
    SELECT array_agg(g.id) INTO v_ended FROM gone g;
    INSERT INTO uno_jobs.cancel_requests (job_id, requested_at, reason)
    SELECT l.id, v_now, coalesce(cancel_workflow.reason, 'its workflow was cancelled')
    FROM uno_jobs.live_jobs l WHERE l.id = ANY (v_ids) ORDER BY l.id
    ON CONFLICT (job_id) DO NOTHING;
    INSERT INTO uno_jobs.workflow_cancellations (job_id, reason)
    SELECT u.id, cancel_workflow.reason
    FROM (SELECT unnest(v_unfinished) AS id EXCEPT SELECT unnest(v_ended)) u WHERE u.id IS NOT NULL ORDER BY u.id
    ON CONFLICT (job_id) DO NOTHING;
    v_asked := ARRAY(SELECT l.id FROM uno_jobs.live_jobs l WHERE l.id = ANY (v_ids));
    IF cardinality(v_asked) > 0 AND notify THEN
        PERFORM pg_notify((SELECT channel FROM uno_jobs.schema_info), 'cancel ' || v_asked[1]);
    END IF;
    IF v_ended IS NOT NULL THEN
        DELETE FROM uno_jobs.cancel_requests c WHERE c.job_id = ANY (v_ended);
        IF notify THEN
            PERFORM pg_notify((SELECT channel FROM uno_jobs.schema_info), 'done ' || w.job_id)
            FROM (SELECT DISTINCT r.job_id FROM uno_jobs.result_waiters r WHERE r.job_id = ANY (v_ended)) w;
        END IF;
    END IF;
    RETURN CASE WHEN cardinality(v_asked) > 0 THEN 'requested' WHEN v_ended IS NOT NULL THEN 'cancelled' ELSE 'finished' END;
END $$;
COMMENT ON FUNCTION uno_jobs.cancel_workflow(uuid, text, boolean) IS
    'Cancel all that has not finished of a workflow, in the present transaction: cancelled, requested (something runs; its worker is told at commit), finished (nothing changed) or unknown.';
