-- Empty groups are over before they begin. Their children, of this very transaction, are nobody else's to lock. No other job is
-- ended here, whatever ids are given: whoever may enqueue may call this.
CREATE FUNCTION uno_jobs.start_workflow(p_workflow uuid, p_empty uuid[], p_queues text[], p_notify boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    IF cardinality(p_empty) > 0 THEN
        PERFORM uno_jobs.propagate(uno_jobs.lock_families(uno_jobs.finish_joins(ARRAY(
            SELECT l.id FROM uno_jobs.live_jobs l
            WHERE l.id = ANY (p_empty) AND l.task IS NULL AND l.pending_parents = 0
              AND (SELECT j.workflow_id FROM uno_jobs.jobs j WHERE j.id = l.id) = p_workflow))));
    END IF;
    IF p_notify THEN
        PERFORM uno_jobs.wake(p_queues);
    END IF;
END $$;
COMMENT ON FUNCTION uno_jobs.start_workflow(uuid, uuid[], text[], boolean) IS
    'End the empty groups of a workflow that has just been inserted, and wake workers for its first steps.';
