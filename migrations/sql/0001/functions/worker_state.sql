CREATE FUNCTION uno_jobs.worker_state(p_id uuid, p_state text, p_cause text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
BEGIN
    UPDATE uno_jobs.workers w
    SET state = p_state, cause = coalesce(p_cause, w.cause),
        stopped_at = CASE WHEN p_state IN ('stopped', 'dead') THEN uno_jobs.clock() END
    WHERE w.id = p_id AND w.state IN ('running', 'draining');
    IF FOUND AND p_state IN ('stopped', 'dead') THEN
        DELETE FROM uno_jobs.hungry h WHERE h.worker_id = p_id;
        RETURN true;
    END IF;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION uno_jobs.worker_state(uuid, text, text) IS 'Move a living worker to draining, stopped or dead; false when it was over already.';
