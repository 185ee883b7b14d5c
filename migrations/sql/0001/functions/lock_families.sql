-- Lock the waiting children of jobs that end, which the caller has locked, and say for which jobs that worked. A child that
-- somebody else holds is not waited for: its parent is left, whole, for another time. LATERAL and OFFSET 0: see release.
CREATE FUNCTION uno_jobs.lock_families(p_parents uuid[]) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_told integer;
    v_locked uuid[];
BEGIN
    WITH told AS MATERIALIZED (
        SELECT DISTINCT e.child_id AS id
        FROM unnest(p_parents) AS p (id)
        CROSS JOIN LATERAL (SELECT x.child_id FROM uno_jobs.job_edges x WHERE x.parent_id = p.id OFFSET 0) e
    ), locked AS MATERIALIZED (
        SELECT c.id FROM told t
        CROSS JOIN LATERAL (SELECT x.id FROM uno_jobs.live_jobs x WHERE x.id = t.id AND x.state = 'waiting'
                            FOR UPDATE SKIP LOCKED) c
    )
    SELECT (SELECT count(*) FROM told), (SELECT array_agg(l.id) FROM locked l) INTO v_told, v_locked;
    IF v_told = coalesce(cardinality(v_locked), 0) THEN
        RETURN p_parents;
    END IF;
    -- Others wait no longer, or somebody holds them.
    RETURN ARRAY(
        SELECT p.id FROM unnest(p_parents) AS p (id)
        WHERE NOT EXISTS (
            SELECT FROM (SELECT x.child_id FROM uno_jobs.job_edges x WHERE x.parent_id = p.id OFFSET 0) e
            CROSS JOIN LATERAL (SELECT x.id FROM uno_jobs.live_jobs x WHERE x.id = e.child_id AND x.state = 'waiting' OFFSET 0) c
            WHERE c.id NOT IN (SELECT unnest(v_locked))));
END $$;
COMMENT ON FUNCTION uno_jobs.lock_families(uuid[]) IS
    'Lock the waiting children of these jobs without waiting for anybody; returns those of the jobs whose children are all locked.';
