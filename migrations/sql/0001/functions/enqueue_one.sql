-- One job that may meet another: by its unique key, or by an id that the caller chose.
-- VOLATILE plpgsql, since each statement must see what was committed while the one before it waited.
CREATE FUNCTION uno_jobs.enqueue_one(
    p_id uuid, p_id_given boolean, p_task text, p_version text, p_queue text, p_priority smallint,
    p_args jsonb, p_kwargs jsonb, p_metadata jsonb,
    p_run_at timestamptz, p_expires_at timestamptz,
    p_unique_key text, p_key_until_start boolean, p_on_duplicate text,
    OUT id uuid, OUT is_duplicate boolean, OUT replaced boolean
)
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_due boolean := coalesce(p_run_at <= v_now, true);
    v_done boolean;
    v_holder uuid;
BEGIN
    is_duplicate := false;
    replaced := false;
    IF p_id_given THEN
        -- Waits for a transaction that inserts the same id, as any unique index does.
        INSERT INTO uno_jobs.jobs (id, created_at, run_at, expires_at, priority, task, version, queue, unique_key, args, kwargs, metadata)
        VALUES (p_id, v_now, p_run_at, p_expires_at, p_priority, p_task, p_version, p_queue, p_unique_key, p_args, p_kwargs, p_metadata)
        ON CONFLICT (id) DO NOTHING;
        IF NOT FOUND THEN
            id := p_id;
            is_duplicate := true;
            RETURN;
        END IF;
    END IF;

    FOR v_try IN 1..5 LOOP
        -- The index is named: an unqualified DO NOTHING would also swallow a clash of ids, and with it a job.
        INSERT INTO uno_jobs.live_jobs (id, seq, run_at, expires_at, state, priority, key_until_start, task, version, queue, unique_key)
        VALUES (p_id, CASE WHEN v_due THEN nextval('uno_jobs.ready_seq') END, CASE WHEN NOT v_due THEN p_run_at END, p_expires_at,
                CASE WHEN v_due THEN 'ready' ELSE 'scheduled' END::uno_jobs.job_state,
                p_priority, p_key_until_start, p_task, p_version, p_queue, p_unique_key)
        ON CONFLICT (task, unique_key) WHERE unique_key IS NOT NULL DO NOTHING;
        v_done := FOUND;
        IF v_done THEN
            IF NOT p_id_given THEN
                INSERT INTO uno_jobs.jobs (id, created_at, run_at, expires_at, priority, task, version, queue, unique_key, args, kwargs, metadata)
                VALUES (p_id, v_now, p_run_at, p_expires_at, p_priority, p_task, p_version, p_queue, p_unique_key, p_args, p_kwargs, p_metadata);
            END IF;
            id := p_id;
            RETURN;
        END IF;

        -- A statement of its own: its snapshot sees the holder that the insert waited for.
        SELECT l.id INTO v_holder FROM uno_jobs.live_jobs l
        WHERE l.task = p_task AND l.unique_key = p_unique_key;
        IF FOUND THEN
            IF p_on_duplicate = 'replace' THEN
                replaced := uno_jobs.replace_job(v_holder, p_args, p_kwargs, p_metadata);
                -- Not replaced, and gone meanwhile: the key is free again.
                CONTINUE WHEN NOT replaced AND NOT EXISTS (
                    SELECT FROM uno_jobs.live_jobs l WHERE l.task = p_task AND l.unique_key = p_unique_key);
            END IF;
            IF p_id_given THEN
                DELETE FROM uno_jobs.jobs j WHERE j.id = p_id;
            END IF;
            id := v_holder;
            is_duplicate := true;
            RETURN;
        END IF;
        -- The holder finished between the two statements: try again.
    END LOOP;
    RAISE EXCEPTION 'the unique key % of task % changed hands five times while it was asked for', p_unique_key, p_task
        USING ERRCODE = 'serialization_failure', HINT = 'Retry the transaction.';
END $$;
COMMENT ON FUNCTION uno_jobs.enqueue_one(uuid, boolean, text, text, text, smallint, jsonb, jsonb, jsonb, timestamptz, timestamptz, text, boolean, text) IS
    'Insert one job, or find the unfinished job that holds its unique key (or the job that has its id).';
