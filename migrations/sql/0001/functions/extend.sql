-- job.then: a running job puts a part of a workflow between itself and those that wait for it. Its children become children
-- of the addition's last step, so their counts stay: one unfinished parent has taken the place of another. Their rows are not
-- touched, and nobody who holds them is waited for. Then come enqueue_edges, enqueue_steps and, last in this transaction,
-- finish_in_transaction: the addition stands or falls with the attempt's success. What has locked the job's row (the fence:
-- its lease) keeps whoever counts the children's parents (recount) away until then.
--
-- p_flow is the addition's step whose flow is the flow behind it; null: the job's own still is. It is noted in the job's step, and
-- then in its outcome's flow, where those look who come after (flow_after, step_input).
--
-- SQLSTATE UJ001: the lease is over. UJ002: this is not the transaction that was begun for the job.
CREATE FUNCTION uno_jobs.extend(p_id uuid, p_lease bigint, p_workflow uuid, p_last uuid, p_flow uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    IF current_setting('unojobs.lease', true) IS DISTINCT FROM p_lease::text THEN
        RAISE EXCEPTION 'the transaction of job % was ended inside its block', p_id USING ERRCODE = 'UJ002';
    END IF;
    UPDATE uno_jobs.live_jobs l SET has_children = true
    WHERE l.id = p_id AND l.lease = p_lease AND l.state = 'running';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the lease of job % is over', p_id USING ERRCODE = 'UJ001';
    END IF;
    UPDATE uno_jobs.job_edges e SET parent_id = p_last WHERE e.parent_id = p_id;
    UPDATE uno_jobs.jobs j
    SET workflow_id = coalesce(j.workflow_id, p_workflow),
        step = coalesce(j.step, '{"takes": false}') || jsonb_build_object('then', p_flow)
    WHERE j.id = p_id;
END $$;
COMMENT ON FUNCTION uno_jobs.extend(uuid, bigint, uuid, uuid, uuid) IS
    'Let those that wait for a running job wait for p_last instead, which is about to be added behind it.';
