-- Lock the waiting children of jobs that end, which the caller has locked, and say for which jobs that worked. A child that
-- somebody else holds is not waited for: its parent is left, whole, for another time.
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
    v_seen integer;
    v_locked uuid[];
BEGIN
    WITH seen AS MATERIALIZED (
        SELECT c.id FROM (SELECT DISTINCT e.child_id FROM uno_jobs.job_edges e WHERE e.parent_id = ANY (p_parents)) d
        JOIN uno_jobs.live_jobs c ON c.id = d.child_id WHERE c.state = 'waiting'
    ), locked AS MATERIALIZED (
        SELECT c.id FROM seen s JOIN uno_jobs.live_jobs c ON c.id = s.id WHERE c.state = 'waiting'
        ORDER BY c.id FOR UPDATE OF c SKIP LOCKED
    )
    SELECT (SELECT count(*) FROM seen), (SELECT array_agg(l.id) FROM locked l) INTO v_seen, v_locked;
    IF v_seen = coalesce(cardinality(v_locked), 0) THEN
        RETURN p_parents;
    END IF;
    RETURN ARRAY(
        SELECT p.id FROM unnest(p_parents) AS p (id)
        WHERE NOT EXISTS (
            SELECT FROM uno_jobs.job_edges e JOIN uno_jobs.live_jobs c ON c.id = e.child_id
            WHERE e.parent_id = p.id AND c.state = 'waiting' AND c.id NOT IN (SELECT unnest(v_locked))));
END $$;
COMMENT ON FUNCTION uno_jobs.lock_families(uuid[]) IS
    'Lock the waiting children of these jobs without waiting for anybody; returns those of the jobs whose children are all locked.';
