-- A workflow comes in three calls of one transaction: its edges, its jobs (enqueue_steps, a thousand at a time), its start.
--
-- Who may enqueue may not for that reach into what others have enqueued: edges are between jobs that are still to come. Only
-- job.then begins one at a job that is there, its own, whose lease nobody else knows.
CREATE FUNCTION uno_jobs.enqueue_edges(p_parents uuid[], p_children uuid[], p_kinds text[], p_positions integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_there uuid;
BEGIN
    SELECT j.id INTO v_there FROM uno_jobs.jobs j
    WHERE j.id = ANY (p_parents || p_children)
      AND (j.id = ANY (p_children)
           OR NOT EXISTS (SELECT FROM uno_jobs.live_jobs l WHERE l.id = j.id AND l.state = 'running'
                          AND l.lease::text = current_setting('unojobs.lease', true)))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'job % is there already, and cannot become a part of a workflow that is being enqueued', v_there
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO uno_jobs.job_edges (parent_id, child_id, kind, position)
    SELECT e.parent_id, e.child_id, e.kind, e.position
    FROM unnest(p_parents, p_children, p_kinds, p_positions) AS e (parent_id, child_id, kind, position);
END $$;
COMMENT ON FUNCTION uno_jobs.enqueue_edges(uuid[], uuid[], text[], integer[]) IS 'Say who waits for whom in a workflow that is being enqueued.';
