-- A join is a place in a workflow where a group's results come together; nothing runs there. One of its parents may have
-- failed where something after it runs all the same: then it ends as cancelled, and yet with its list. An empty group waits
-- for the step before it, by an edge of kind chain, and does not list it.
CREATE FUNCTION uno_jobs.finish_joins(p_joins uuid[]) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_parents uuid[];
BEGIN
    WITH gone AS (
        DELETE FROM uno_jobs.live_jobs l WHERE l.id = ANY (p_joins) RETURNING l.id, l.has_children
    ), listed AS MATERIALIZED (
        SELECT g.id, g.has_children, coalesce(r.results, '[]') AS results, r.because
        FROM gone g
        LEFT JOIN LATERAL (
            SELECT jsonb_agg(CASE WHEN o.state = 'succeeded' THEN o.result END ORDER BY e.position)
                   FILTER (WHERE e.kind = 'member') AS results,
                   (array_agg(coalesce(o.cancelled_because, o.id) ORDER BY e.position)
                    FILTER (WHERE o.state <> 'succeeded'))[1] AS because
            FROM uno_jobs.job_edges e JOIN uno_jobs.outcomes o ON o.id = e.parent_id
            WHERE e.child_id = g.id) r ON true
    ), ended AS (
        INSERT INTO uno_jobs.outcomes (id, finished_at, state, attempt, failures, lost, result, error, cancelled_because)
        SELECT l.id, uno_jobs.clock(),
               CASE WHEN l.because IS NULL THEN 'succeeded' ELSE 'cancelled' END::uno_jobs.job_state, 0, 0, 0, l.results,
               CASE WHEN l.because IS NOT NULL THEN format('job %s, which it waited for, did not succeed', l.because) END,
               l.because
        FROM listed l
    )
    SELECT array_agg(l.id) FILTER (WHERE l.has_children) INTO v_parents FROM listed l;
    RETURN v_parents;
END $$;
COMMENT ON FUNCTION uno_jobs.finish_joins(uuid[]) IS 'End joins whose parents have all ended; returns those of them that others wait for.';
