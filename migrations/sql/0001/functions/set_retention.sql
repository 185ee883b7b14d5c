CREATE FUNCTION uno_jobs.set_retention(state text, keep interval, queue text DEFAULT NULL, task text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
BEGIN
    IF queue IS NOT NULL AND task IS NOT NULL THEN
        RAISE EXCEPTION 'a rule is for a queue or for a task, not for both' USING ERRCODE = 'invalid_parameter_value';
    ELSIF state IS NULL OR state NOT IN ('succeeded', 'failed', 'cancelled') THEN
        RAISE EXCEPTION 'state is succeeded, failed or cancelled, not %', quote_nullable(state) USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT keep BETWEEN interval '0' AND interval '1000 years' THEN
        RAISE EXCEPTION 'a time to keep jobs is from nothing to 1000 years, not %', keep USING ERRCODE = 'invalid_parameter_value';
    ELSIF coalesce(queue, task) = '' THEN
        RAISE EXCEPTION 'a queue''s or a task''s name cannot be empty' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO uno_jobs.retention AS r (scope, name, state, keep)
    VALUES (CASE WHEN task IS NOT NULL THEN 'task' WHEN queue IS NOT NULL THEN 'queue' ELSE 'default' END,
            coalesce(task, queue, ''), set_retention.state::uno_jobs.job_state, set_retention.keep)
    ON CONFLICT ON CONSTRAINT retention_pkey DO UPDATE SET keep = excluded.keep;
END $$;
COMMENT ON FUNCTION uno_jobs.set_retention(text, interval, text, text) IS
    'Set for how long jobs that ended so are kept (null: for ever): a task''s, a queue''s, or by default all.';
