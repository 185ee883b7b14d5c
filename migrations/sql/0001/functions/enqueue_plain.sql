-- The fast way in: jobs without a unique key and without an id of the caller's cannot meet others, so nothing is read.
-- A null array stands for 'null in every row'. Exactly one of p_delays and p_run_at may be set in a row.
CREATE FUNCTION uno_jobs.enqueue_plain(
    p_ids uuid[], p_tasks text[], p_versions text[], p_queues text[], p_priorities smallint[],
    p_args text[], p_kwargs text[], p_metadata text[],
    p_delays double precision[], p_run_at timestamptz[], p_expires double precision[], p_notify boolean
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_now timestamptz := uno_jobs.clock();
BEGIN
    IF p_delays IS NULL AND p_run_at IS NULL AND p_expires IS NULL THEN
        INSERT INTO uno_jobs.jobs (id, created_at, priority, task, version, queue, args, kwargs, metadata)
        SELECT n.id, v_now, n.priority, n.task, n.version, n.queue, n.args::jsonb, n.kwargs::jsonb, n.metadata::jsonb
        FROM unnest(p_ids, p_tasks, p_versions, p_queues, p_priorities, p_args, p_kwargs, p_metadata)
            AS n (id, task, version, queue, priority, args, kwargs, metadata);
        INSERT INTO uno_jobs.live_jobs (id, seq, state, priority, task, version, queue)
        SELECT n.id, nextval('uno_jobs.ready_seq'), 'ready', n.priority, n.task, n.version, n.queue
        FROM unnest(p_ids, p_tasks, p_versions, p_queues, p_priorities) AS n (id, task, version, queue, priority);
    ELSE
        WITH new AS (
            SELECT n.*, coalesce(v_now + n.delay * interval '1 second', n.run_at) AS due,
                   v_now + n.expires * interval '1 second' AS expires_at
            FROM unnest(p_ids, p_tasks, p_versions, p_queues, p_priorities, p_args, p_kwargs, p_metadata,
                        p_delays, p_run_at, p_expires)
                AS n (id, task, version, queue, priority, args, kwargs, metadata, delay, run_at, expires)
        ), asked AS (
            INSERT INTO uno_jobs.jobs (id, created_at, run_at, expires_at, priority, task, version, queue, args, kwargs, metadata)
            SELECT id, v_now, due, expires_at, priority, task, version, queue, args::jsonb, kwargs::jsonb, metadata::jsonb
            FROM new
        )
        INSERT INTO uno_jobs.live_jobs (id, seq, run_at, expires_at, state, priority, task, version, queue)
        SELECT id,
               CASE WHEN due > v_now THEN NULL ELSE nextval('uno_jobs.ready_seq') END,
               CASE WHEN due > v_now THEN due END,
               expires_at,
               CASE WHEN due > v_now THEN 'scheduled' ELSE 'ready' END::uno_jobs.job_state,
               priority, task, version, queue
        FROM new;
    END IF;
    IF p_notify THEN
        PERFORM uno_jobs.wake(p_queues);
    END IF;
END $$;
COMMENT ON FUNCTION uno_jobs.enqueue_plain(uuid[], text[], text[], text[], smallint[], text[], text[], text[], double precision[], timestamptz[], double precision[], boolean) IS
    'Insert jobs that have neither a unique key nor an id of the caller''s. Delays and expiries in seconds.';
