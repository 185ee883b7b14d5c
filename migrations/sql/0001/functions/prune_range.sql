-- Look at finished jobs in the order of their ids, from p_after up to p_until, at most p_limit, and remove those whose time
-- is over.
--
-- A workflow goes whole: when all its jobs have ended and the time of each is over, so that whatever is left of a workflow
-- can be retried with all that it needs. A job outside of a workflow is kept while one that waits for it is unfinished.
--
-- Nobody is waited for: what somebody has locked, or has retried since the look, is passed by.
--
-- p_skip: a workflow that the last call found to be kept, and whose rows may go on here.
CREATE FUNCTION uno_jobs.prune_range(
    p_after uuid, p_until uuid, p_limit integer, p_skip uuid DEFAULT NULL, p_older_than interval DEFAULT NULL,
    p_states text[] DEFAULT NULL, p_queue text DEFAULT NULL, p_task text DEFAULT NULL,
    p_dry boolean DEFAULT false,
    OUT walked integer, OUT succeeded integer, OUT failed integer, OUT cancelled integer, OUT kept integer,
    OUT reached uuid, OUT kept_workflow uuid
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_seen uuid[];
    v_over uuid[];
    v_ends timestamptz[];
    v_workflows uuid[];
    v_whole uuid[];
    v_gone uuid[];
BEGIN
    succeeded := 0;
    failed := 0;
    cancelled := 0;
    reached := p_after;
    kept := 0;
    v_seen := ARRAY(SELECT o.id FROM uno_jobs.outcomes o WHERE o.id > p_after AND o.id < p_until ORDER BY o.id LIMIT p_limit);
    walked := cardinality(v_seen);
    IF walked = 0 THEN
        RETURN;
    END IF;
    reached := v_seen[walked];

    SELECT array_agg(k.id) FILTER (WHERE k.ends_at <= v_now AND k.workflow_id IS NULL),
           array_agg(k.finished_at) FILTER (WHERE k.ends_at <= v_now AND k.workflow_id IS NULL),
           array_agg(DISTINCT k.workflow_id) FILTER (WHERE k.workflow_id IS NOT NULL AND k.workflow_id IS DISTINCT FROM p_skip),
           count(*) FILTER (WHERE k.ends_at <= v_now)
    INTO v_over, v_ends, v_workflows, kept
    FROM uno_jobs.kept_until(v_seen, p_older_than, p_states, p_queue, p_task) k;

    IF v_workflows IS NOT NULL THEN
        v_whole := ARRAY(SELECT w.workflow_id FROM uno_jobs.workflows_kept_until(
            v_workflows, ARRAY(SELECT j.id FROM uno_jobs.jobs j WHERE j.workflow_id = ANY (v_workflows)),
            p_older_than, p_states, p_queue, p_task) w WHERE w.ends_at <= v_now);
        SELECT j.workflow_id INTO kept_workflow FROM uno_jobs.jobs j WHERE j.id = reached AND NOT j.workflow_id = ANY (v_whole);
    ELSIF p_skip IS NOT NULL THEN
        SELECT j.workflow_id INTO kept_workflow FROM uno_jobs.jobs j WHERE j.id = reached;
    END IF;

    IF p_dry THEN
        SELECT count(*) FILTER (WHERE k.state = 'succeeded'), count(*) FILTER (WHERE k.state = 'failed'),
               count(*) FILTER (WHERE k.state = 'cancelled')
        INTO succeeded, failed, cancelled
        FROM uno_jobs.kept_until(v_seen, p_older_than, p_states, p_queue, p_task) k
        WHERE k.ends_at <= v_now
          AND CASE WHEN k.workflow_id IS NOT NULL THEN k.workflow_id = ANY (v_whole) ELSE NOT EXISTS (
                  SELECT FROM uno_jobs.job_edges e JOIN uno_jobs.live_jobs c ON c.id = e.child_id WHERE e.parent_id = k.id) END;
        kept := kept - succeeded - failed - cancelled;
        RETURN;
    END IF;

    IF v_over IS NOT NULL THEN
        SELECT array_agg(p.id) INTO v_gone
        FROM (SELECT o.id FROM unnest(v_over, v_ends) AS g (id, finished_at)
              JOIN uno_jobs.outcomes o ON o.id = g.id AND o.finished_at = g.finished_at
              WHERE NOT EXISTS (SELECT FROM uno_jobs.job_edges e JOIN uno_jobs.live_jobs c ON c.id = e.child_id
                                WHERE e.parent_id = g.id)
              FOR UPDATE OF o SKIP LOCKED) p;
    END IF;
    IF cardinality(v_whole) > 0 THEN
        -- What could not be locked is a job that is not looked at, and keeps its workflow.
        v_over := ARRAY(SELECT o.id FROM uno_jobs.jobs j JOIN uno_jobs.outcomes o ON o.id = j.id
                        WHERE j.workflow_id = ANY (v_whole) FOR UPDATE OF o SKIP LOCKED);
        v_whole := ARRAY(SELECT w.workflow_id FROM uno_jobs.workflows_kept_until(
                             v_whole, v_over, p_older_than, p_states, p_queue, p_task) w WHERE w.ends_at <= v_now);
        v_gone := coalesce(v_gone, '{}') || ARRAY(SELECT j.id FROM uno_jobs.jobs j WHERE j.workflow_id = ANY (v_whole));
    END IF;
    IF cardinality(v_gone) > 0 THEN
        SELECT r.succeeded, r.failed, r.cancelled INTO succeeded, failed, cancelled FROM uno_jobs.remove_jobs(v_gone) r;
    END IF;
    kept := greatest(kept - succeeded - failed - cancelled, 0);
END $$;
COMMENT ON FUNCTION uno_jobs.prune_range(uuid, uuid, integer, uuid, interval, text[], text, text, boolean) IS
    'Remove finished jobs of a range of ids whose time is over; says how many were looked at, removed by state, and kept for others'' sake, and how far it came.';
