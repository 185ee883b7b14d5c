CREATE FUNCTION uno_jobs.register_worker(
    p_id uuid, p_supervisor uuid, p_lock_key bigint, p_pid integer, p_hostname text, p_revision integer,
    p_concurrency integer, p_queues text[], p_tasks jsonb
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_now timestamptz := uno_jobs.clock();
BEGIN
    -- In order of the key, and only where something changed: many workers register at once.
    INSERT INTO uno_jobs.task_versions AS v
        (task, version, sort_key, description, options, parameters, schema, first_seen, last_seen)
    SELECT t.task, t.version, t.sort_key, t.description, t.options, t.parameters, t.schema, v_now, v_now
    FROM jsonb_to_recordset(p_tasks) AS t (
        task text, version text, sort_key text, description text, options jsonb, parameters jsonb, schema jsonb)
    WHERE t.options IS NOT NULL
    ORDER BY t.task, t.version
    ON CONFLICT (task, version) DO UPDATE
    SET sort_key = excluded.sort_key, description = excluded.description, options = excluded.options,
        parameters = excluded.parameters, schema = excluded.schema, last_seen = v_now
    WHERE (v.sort_key, v.options, v.parameters, v.schema) IS DISTINCT FROM
          (excluded.sort_key, excluded.options, excluded.parameters, excluded.schema)
       OR v.description IS DISTINCT FROM excluded.description OR v.last_seen < v_now - interval '1 hour';

    INSERT INTO uno_jobs.workers
        (id, supervisor_id, lock_key, started_at, beat_at, pid, concurrency, revision, hostname, state, queues, known)
    SELECT p_id, p_supervisor, p_lock_key, v_now, v_now, p_pid, p_concurrency, p_revision, p_hostname, 'running', p_queues,
           ARRAY(SELECT (t.task || '@') || t.version
                 FROM jsonb_to_recordset(p_tasks) AS t (task text, version text) ORDER BY 1)
    -- Sent again, since the reply was lost.
    ON CONFLICT (id) DO NOTHING;
END $$;
COMMENT ON FUNCTION uno_jobs.register_worker(uuid, uuid, bigint, integer, text, integer, integer, text[], jsonb) IS
    'Make a worker known, with what it can run.';
