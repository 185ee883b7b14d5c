-- Each row is read by its id in a query of its own, as in step_input: in a join the history might be read.
CREATE FUNCTION uno_jobs.job_end(
    p_id uuid, OUT state text, OUT result text, OUT error_type text, OUT error text, OUT traceback text, OUT failed_step uuid
) RETURNS SETOF record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v uno_jobs.outcomes;
    f uno_jobs.outcomes;
BEGIN
    SELECT l.state INTO state FROM uno_jobs.live_jobs l WHERE l.id = p_id;
    IF FOUND THEN
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT o.* INTO v FROM uno_jobs.outcomes o WHERE o.id = p_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    state := v.state;
    result := v.result;
    error_type := v.error_type;
    error := v.error;
    IF v.state = 'failed' THEN
        f := v;
    ELSIF v.cancelled_because IS NOT NULL THEN
        SELECT o.* INTO f FROM uno_jobs.outcomes o WHERE o.id = v.cancelled_because AND o.state = 'failed';
        IF FOUND THEN
            failed_step := f.id;
            error_type := coalesce(f.error_type, error_type);
            error := coalesce(f.error, error);
        END IF;
    END IF;
    IF f.id IS NOT NULL THEN
        traceback := (SELECT a.traceback FROM uno_jobs.attempts a WHERE a.job_id = f.id ORDER BY a.finished_at DESC LIMIT 1);
    END IF;
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION uno_jobs.job_end(uuid) IS
    'How a job stands, and once it has ended how it did; where a failed step before it ended it, that one''s error. No row: there is no such job.';
