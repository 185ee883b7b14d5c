-- Planner switches as in claim: a plan made while the table was empty read all of it every second.
CREATE FUNCTION uno_jobs.expire(p_limit integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_ids uuid[];
    v_parents uuid[];
BEGIN
    WITH picked AS MATERIALIZED (
        SELECT l.id FROM uno_jobs.live_jobs l
        WHERE l.expires_at IS NOT NULL AND l.expires_at <= uno_jobs.clock() AND l.state <> 'running'
        ORDER BY l.expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM uno_jobs.live_jobs l USING picked p WHERE l.id = p.id
        RETURNING l.id, l.attempt, l.failures, l.lost, l.has_children
    ), ended AS (
        INSERT INTO uno_jobs.outcomes (id, finished_at, state, attempt, failures, lost, error)
        SELECT g.id, uno_jobs.clock(), 'cancelled', g.attempt, g.failures, g.lost, 'expired before it started' FROM gone g
    )
    SELECT array_agg(g.id), array_agg(g.id) FILTER (WHERE g.has_children) INTO v_ids, v_parents FROM gone g;
    PERFORM uno_jobs.tell_children(v_parents);
    PERFORM uno_jobs.tidy_finished(v_ids);
    RETURN coalesce(cardinality(v_ids), 0);
END $$;
COMMENT ON FUNCTION uno_jobs.expire(integer) IS 'Cancel jobs that expired before they started, at most p_limit; returns how many.';
