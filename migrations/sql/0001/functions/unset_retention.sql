CREATE FUNCTION uno_jobs.unset_retention(queue text DEFAULT NULL, task text DEFAULT NULL, state text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_removed integer;
BEGIN
    IF (queue IS NULL) = (task IS NULL) THEN
        RAISE EXCEPTION 'name a queue or a task: the default can be set, not removed' USING ERRCODE = 'invalid_parameter_value';
    ELSIF unset_retention.state NOT IN ('succeeded', 'failed', 'cancelled') THEN
        RAISE EXCEPTION 'state is succeeded, failed or cancelled, not %', quote_literal(unset_retention.state)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    DELETE FROM uno_jobs.retention r
    WHERE r.scope = CASE WHEN queue IS NULL THEN 'task' ELSE 'queue' END AND r.name = coalesce(queue, task)
      AND (unset_retention.state IS NULL OR r.state::text = unset_retention.state);
    GET DIAGNOSTICS v_removed = ROW_COUNT;
    RETURN v_removed;
END $$;
COMMENT ON FUNCTION uno_jobs.unset_retention(text, text, text) IS
    'Remove the rules of a queue or a task, or the one for jobs that ended so; returns how many there were.';
