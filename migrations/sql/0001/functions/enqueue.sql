-- For triggers, psql and other languages: the same rules as the Python client's, from what workers recorded of the task.
CREATE FUNCTION uno_jobs.enqueue(
    task text, args jsonb DEFAULT '[]', kwargs jsonb DEFAULT '{}', version text DEFAULT NULL, queue text DEFAULT NULL,
    priority text DEFAULT NULL, delay interval DEFAULT NULL, run_at timestamptz DEFAULT NULL, expires interval DEFAULT NULL,
    unique_key text DEFAULT NULL, on_duplicate text DEFAULT NULL, metadata jsonb DEFAULT NULL, id uuid DEFAULT NULL,
    notify boolean DEFAULT true
) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_version text := enqueue.version;
    v_task uno_jobs.task_versions;
    v_queue text;
    v_priority smallint;
    v_named jsonb;
    v_key text := enqueue.unique_key;
    v_on_duplicate text;
    v_run_at timestamptz := coalesce(enqueue.run_at, v_now + enqueue.delay);
    v_expires interval := enqueue.expires;
    v_job record;
BEGIN
    IF enqueue.delay IS NOT NULL AND enqueue.run_at IS NOT NULL THEN
        RAISE EXCEPTION 'give delay or run_at, not both' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF enqueue.delay < interval '0' OR enqueue.expires < interval '0' THEN
        RAISE EXCEPTION 'delay and expires must not be negative' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF jsonb_typeof(enqueue.args) IS DISTINCT FROM 'array' OR jsonb_typeof(enqueue.kwargs) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'args must be a JSON array and kwargs a JSON object' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF jsonb_typeof(enqueue.metadata) <> 'object' THEN
        RAISE EXCEPTION 'metadata must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF v_version IS NULL THEN
        v_version := uno_jobs.latest_version(enqueue.task);
        IF v_version IS NULL THEN
            RAISE EXCEPTION 'no living worker knows a task named "%"', enqueue.task
                USING ERRCODE = 'undefined_object',
                      HINT = 'Start a worker that has it, or name a version that was registered before.';
        END IF;
    END IF;
    SELECT v.* INTO v_task FROM uno_jobs.task_versions v WHERE v.task = enqueue.task AND v.version = v_version;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no worker has ever registered version % of a task named "%"', v_version, enqueue.task
            USING ERRCODE = 'undefined_object', HINT = 'See SELECT task, version FROM task_versions.';
    END IF;
    v_named := uno_jobs.bind_arguments(enqueue.task, v_task.parameters, enqueue.args, enqueue.kwargs);
    v_queue := coalesce(enqueue.queue, v_task.options ->> 'queue');
    IF length(v_queue) NOT BETWEEN 1 AND 128 THEN
        RAISE EXCEPTION 'a queue''s name has 1 to 128 characters, this one has %', length(v_queue)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    v_priority := uno_jobs.priority_number(coalesce(enqueue.priority, v_task.options ->> 'priority'));
    v_on_duplicate := coalesce(enqueue.on_duplicate, v_task.options ->> 'on_duplicate', 'return');
    IF v_on_duplicate NOT IN ('return', 'raise', 'replace') THEN
        RAISE EXCEPTION 'on_duplicate must be return, raise or replace, not "%"', v_on_duplicate
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF v_key IS NULL AND (v_task.options ->> 'unique')::boolean THEN
        IF (v_task.options -> 'unique_key' ->> 'callable')::boolean THEN
            RAISE EXCEPTION 'the unique key of task "%" is computed by its Python code', enqueue.task
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Pass unique_key => ''…''.';
        END IF;
        v_key := coalesce(v_task.options ->> 'unique_key', uno_jobs.unique_hash(v_named));
    END IF;
    v_expires := coalesce(v_expires, (v_task.options ->> 'expires')::double precision * interval '1 second');

    SELECT e.id, e.is_duplicate INTO v_job FROM uno_jobs.enqueue_one(
        coalesce(enqueue.id, uno_jobs.uuid_v7()), enqueue.id IS NOT NULL, enqueue.task, v_version, v_queue, v_priority,
        enqueue.args, enqueue.kwargs, enqueue.metadata, v_run_at, v_now + v_expires,
        v_key, coalesce(v_task.options ->> 'unique_until' = 'started', false), v_on_duplicate) e;
    IF v_job.is_duplicate AND v_on_duplicate = 'raise' THEN
        RAISE EXCEPTION 'job % of task "%" is unfinished and holds this key', v_job.id, enqueue.task
            USING ERRCODE = 'unique_violation';
    END IF;
    IF enqueue.notify THEN
        PERFORM uno_jobs.wake(ARRAY[v_queue]);
    END IF;
    RETURN v_job.id;
END $$;
COMMENT ON FUNCTION uno_jobs.enqueue(text, jsonb, jsonb, text, text, text, interval, timestamptz, interval, text, text, jsonb, uuid, boolean) IS
    'Enqueue one job in the present transaction and return its id (or that of the unfinished job that holds its unique key).';
