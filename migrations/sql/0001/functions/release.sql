-- Ends have been recorded, and the children are locked (lock_families): each has as many fewer to wait for. Returns the joins
-- that wait for nobody any more, which finish_joins is to end.
--
-- LATERAL and OFFSET 0 say in which order the tables are read, from the ends outwards: left to the planner, a kept plan that
-- was made while few jobs waited read all of a group's edges for each of its members that ended.
CREATE FUNCTION uno_jobs.release(p_ended uuid[]) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_joined uuid[];
    v_queues text[];
BEGIN
    -- Nobody else's count moves meanwhile. In the order of their ids, which is that of the group.
    WITH told AS MATERIALIZED (
        SELECT e.child_id, count(*)::integer AS ends
        FROM unnest(p_ended) AS p (id)
        CROSS JOIN LATERAL (SELECT x.child_id FROM uno_jobs.job_edges x WHERE x.parent_id = p.id OFFSET 0) e
        GROUP BY e.child_id ORDER BY e.child_id
    ), next AS MATERIALIZED (
        SELECT c.place, c.pending_parents - t.ends AS pending,
               CASE WHEN c.pending_parents > t.ends OR c.task IS NULL THEN 'waiting'
                    WHEN c.run_at > v_now THEN 'scheduled' ELSE 'ready' END::uno_jobs.job_state AS state
        FROM told t
        CROSS JOIN LATERAL (SELECT x.ctid AS place, x.pending_parents, x.task, x.run_at
                            FROM uno_jobs.live_jobs x WHERE x.id = t.child_id AND x.state = 'waiting' OFFSET 0) c
    ), lowered AS (
        UPDATE uno_jobs.live_jobs c
        SET pending_parents = n.pending, state = n.state,
            seq = CASE WHEN n.state = 'ready' THEN nextval('uno_jobs.ready_seq') END,
            run_at = CASE WHEN n.state <> 'ready' THEN c.run_at END
        FROM next n WHERE c.ctid = n.place
        RETURNING c.id, c.queue, c.state, c.task IS NULL AND c.pending_parents = 0 AS joined
    )
    SELECT array_agg(l.id) FILTER (WHERE l.joined), array_agg(DISTINCT l.queue) FILTER (WHERE l.state = 'ready')
    INTO v_joined, v_queues FROM lowered l;
    IF cardinality(v_queues) > 0 THEN
        PERFORM uno_jobs.wake(v_queues);
    END IF;
    RETURN v_joined;
END $$;
COMMENT ON FUNCTION uno_jobs.release(uuid[]) IS
    'Let those that waited for these jobs, which have ended, wait for as many fewer, or begin; returns the joins whose parents have all ended.';
