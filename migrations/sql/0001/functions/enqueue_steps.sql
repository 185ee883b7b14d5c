-- The jobs of a workflow, whose edges are there already. A null task makes a join. A step's unique key that another job
-- holds refuses the workflow: it is enqueued whole or not at all.
CREATE FUNCTION uno_jobs.enqueue_steps(
    p_workflow uuid, p_ids uuid[], p_tasks text[], p_versions text[], p_queues text[], p_priorities smallint[],
    p_args text[], p_kwargs text[], p_metadata text[], p_delays double precision[], p_run_at timestamptz[],
    p_expires double precision[], p_unique_keys text[], p_unique_args text[], p_keys_until_start boolean[],
    p_steps text[], p_run_anyway boolean[]
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_key record;
    v_holder uuid;
BEGIN
    INSERT INTO uno_jobs.jobs (id, created_at, run_at, expires_at, workflow_id, priority, task, version, queue, unique_key,
                               args, kwargs, metadata, step)
    SELECT n.id, v_now, coalesce(v_now + n.delay * interval '1 second', n.run_at), v_now + n.expires * interval '1 second',
           p_workflow, n.priority, n.task, n.version, n.queue, coalesce(n.key, uno_jobs.unique_hash(n.unique_args::jsonb)),
           n.args::jsonb, n.kwargs::jsonb, n.metadata::jsonb,
           -- For a retry, when the live row is gone.
           CASE WHEN n.run_anyway THEN coalesce(n.step::jsonb, '{"takes": false}') || '{"anyway": true}' ELSE n.step::jsonb END
    FROM unnest(p_ids, p_tasks, p_versions, p_queues, p_priorities, p_args, p_kwargs, p_metadata, p_delays, p_run_at,
                p_expires, p_unique_keys, p_unique_args, p_steps, p_run_anyway)
        AS n (id, task, version, queue, priority, args, kwargs, metadata, delay, run_at, expires, key, unique_args, step, run_anyway);

    -- Results of other workflows are none of it: whoever may enqueue may call this.
    IF EXISTS (
        SELECT FROM unnest(p_steps) AS n (step)
        WHERE n.step::jsonb ? 'then'
           OR n.step::jsonb ->> 'flow' IS NOT NULL
              AND (SELECT j.workflow_id FROM uno_jobs.jobs j WHERE j.id = (n.step::jsonb ->> 'flow')::uuid)
                  IS DISTINCT FROM p_workflow)
    THEN
        RAISE EXCEPTION 'a step of workflow % takes what comes from outside of it', p_workflow
            USING ERRCODE = 'insufficient_privilege';
    END IF;

    WITH new AS MATERIALIZED (
        SELECT j.id, j.run_at, j.expires_at, j.priority, j.task, j.version, j.queue, j.unique_key, n.key_until_start, n.run_anyway,
               (SELECT count(*)::integer FROM uno_jobs.job_edges e WHERE e.child_id = j.id) AS parents,
               EXISTS (SELECT FROM uno_jobs.job_edges e WHERE e.parent_id = j.id) AS has_children
        FROM unnest(p_ids, p_keys_until_start, p_run_anyway) WITH ORDINALITY AS n (id, key_until_start, run_anyway, place)
        JOIN uno_jobs.jobs j ON j.id = n.id
        ORDER BY n.place
    ), placed AS MATERIALIZED (
        SELECT n.*, CASE WHEN n.parents > 0 OR n.task IS NULL THEN 'waiting' WHEN n.run_at > v_now THEN 'scheduled'
                         ELSE 'ready' END::uno_jobs.job_state AS state
        FROM new n
    ), added AS (
        INSERT INTO uno_jobs.live_jobs (id, seq, run_at, expires_at, state, pending_parents, priority, key_until_start, has_children,
                                        run_anyway, task, version, queue, unique_key)
        SELECT p.id, CASE WHEN p.state = 'ready' THEN nextval('uno_jobs.ready_seq') END,
               CASE WHEN p.state <> 'ready' THEN p.run_at END, p.expires_at, p.state, p.parents, p.priority,
               coalesce(p.key_until_start, false), p.has_children, coalesce(p.run_anyway, false), p.task, p.version, p.queue,
               p.unique_key
        FROM placed p
        ON CONFLICT (task, unique_key) WHERE unique_key IS NOT NULL DO NOTHING
        RETURNING id
    )
    SELECT p.task, p.unique_key INTO v_key
    FROM placed p WHERE p.unique_key IS NOT NULL AND p.id NOT IN (SELECT a.id FROM added a) LIMIT 1;
    IF FOUND THEN
        SELECT l.id INTO v_holder FROM uno_jobs.live_jobs l WHERE l.task = v_key.task AND l.unique_key = v_key.unique_key;
        RAISE EXCEPTION 'a step of the workflow, task %, needs a unique key that job % holds', v_key.task, coalesce(v_holder::text, '?')
            USING ERRCODE = 'UJ003';
    END IF;
END $$;
COMMENT ON FUNCTION uno_jobs.enqueue_steps(uuid, uuid[], text[], text[], text[], smallint[], text[], text[], text[], double precision[], timestamptz[], double precision[], text[], text[], boolean[], text[], boolean[]) IS
    'Insert jobs of a workflow whose edges are there; the last call of its enqueue is start_workflow.';
