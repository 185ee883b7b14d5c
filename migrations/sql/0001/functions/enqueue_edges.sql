-- A workflow comes in three calls of one transaction: its edges, its jobs (enqueue_steps, a thousand at a time), its start.
CREATE FUNCTION uno_jobs.enqueue_edges(p_parents uuid[], p_children uuid[], p_kinds text[], p_positions integer[]) RETURNS void
LANGUAGE sql VOLATILE
SET search_path = uno_jobs, pg_temp
AS $$
    INSERT INTO uno_jobs.job_edges (parent_id, child_id, kind, position)
    SELECT e.parent_id, e.child_id, e.kind, e.position
    FROM unnest(p_parents, p_children, p_kinds, p_positions) AS e (parent_id, child_id, kind, position)
$$;
COMMENT ON FUNCTION uno_jobs.enqueue_edges(uuid[], uuid[], text[], integer[]) IS 'Say who waits for whom in a workflow that is being enqueued.';
