-- Plain jobs (see enqueue_plain) that differ in nothing but their arguments: what they share travels, and is unnested, once.
CREATE FUNCTION uno_jobs.enqueue_alike(
    p_ids uuid[], p_task text, p_version text, p_queue text, p_priority smallint, p_args text[], p_kwargs text[],
    p_metadata text, p_notify boolean
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_metadata jsonb := p_metadata::jsonb;
BEGIN
    INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, args, kwargs, metadata)
    SELECT n.id, v_now, p_priority, p_task, p_version, p_queue, n.args::jsonb, coalesce(n.kwargs::jsonb, '{}'), v_metadata
    FROM unnest(p_ids, p_args, p_kwargs) AS n (id, args, kwargs);
    INSERT INTO uno_jobs.live_jobs (id, seq, state, priority, task, version, queue)
    SELECT n.id, nextval('uno_jobs.ready_seq'), 'ready', p_priority, p_task, p_version, p_queue
    FROM unnest(p_ids) AS n (id);
    IF p_notify THEN
        PERFORM uno_jobs.wake(ARRAY[p_queue]);
    END IF;
END $$;
COMMENT ON FUNCTION uno_jobs.enqueue_alike(uuid[], text, text, text, smallint, text[], text[], text, boolean) IS
    'Insert jobs of one task with the same options that start at once, as enqueue_plain does. A null p_kwargs: none has keyword arguments.';
