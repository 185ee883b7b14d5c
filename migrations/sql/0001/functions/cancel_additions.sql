-- A job ran when its workflow was cancelled, and has ended. Its end and what it has added became visible together, so that
-- nothing more can come of it: the reminder goes. Its workflow is gone through again only where something was added.
CREATE FUNCTION uno_jobs.cancel_additions(p_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_reason text;
    v_workflow uuid;
BEGIN
    DELETE FROM uno_jobs.workflow_cancellations c WHERE c.job_id = p_id RETURNING c.reason INTO v_reason;
    SELECT j.workflow_id INTO v_workflow FROM uno_jobs.jobs j WHERE j.id = p_id AND j.step ? 'then';
    IF FOUND THEN
        PERFORM uno_jobs.cancel_workflow(v_workflow, v_reason);
    END IF;
END $$;
COMMENT ON FUNCTION uno_jobs.cancel_additions(uuid) IS
    'Cancel what a job has added to its workflow, which was cancelled while it ran.';
