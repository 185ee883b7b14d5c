CREATE FUNCTION uno_jobs.recorded_task(
    p_task text, p_version text DEFAULT NULL, OUT version text, OUT options jsonb, OUT parameters jsonb, OUT schema jsonb
) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
    SELECT v.version, v.options, v.parameters, v.schema FROM uno_jobs.task_versions v
    WHERE v.task = p_task AND v.version = coalesce(p_version, uno_jobs.latest_version(p_task))
$$;
COMMENT ON FUNCTION uno_jobs.recorded_task(text, text) IS
    'What a worker has recorded of a task, for those who enqueue it by name; without a version, of the highest that a living worker knows. No row: none does.';
