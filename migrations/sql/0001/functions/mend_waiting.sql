-- Nothing but damage (rows changed by hand, a bug) makes a job wait for another number of parents than are unfinished; then
-- it might wait for ever. One look at live_jobs, at most p_limit rows behind p_after in the order of ids: one statement sees
-- one moment, and between any two transactions each count is right. Those that are about to be put right by others are left
-- alone: pending_counts, an end that has yet to be told, a cancellation that was asked for. What is wrong is put into
-- pending_counts, so that recount, which locks all it must, counts anew.
CREATE FUNCTION uno_jobs.mend_waiting(p_after uuid, p_limit integer, OUT reached uuid, OUT mended uuid[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    WITH passed AS MATERIALIZED (
        SELECT l.id, l.state, l.pending_parents FROM uno_jobs.live_jobs l
        WHERE l.id > p_after ORDER BY l.id LIMIT p_limit
    ), wrong AS (
        SELECT p.id FROM passed p
        CROSS JOIN LATERAL (
            SELECT count(*) AS parents FROM uno_jobs.job_edges e
            WHERE e.child_id = p.id
              AND (EXISTS (SELECT FROM uno_jobs.live_jobs l WHERE l.id = e.parent_id)
                   OR EXISTS (SELECT FROM uno_jobs.pending_releases r WHERE r.job_id = e.parent_id))) e
        WHERE p.state = 'waiting' AND (e.parents = 0 OR e.parents <> p.pending_parents)
          AND NOT EXISTS (SELECT FROM uno_jobs.pending_counts m WHERE m.job_id = p.id)
          AND NOT EXISTS (SELECT FROM uno_jobs.cancel_requests c WHERE c.job_id = p.id)
    ), marked AS (
        INSERT INTO uno_jobs.pending_counts (job_id) SELECT w.id FROM wrong w ORDER BY w.id ON CONFLICT DO NOTHING
        RETURNING job_id
    )
    SELECT CASE WHEN (SELECT count(*) FROM passed) = p_limit THEN (SELECT p.id FROM passed p ORDER BY p.id DESC LIMIT 1) END,
           coalesce((SELECT array_agg(m.job_id) FROM marked m), '{}')
    INTO reached, mended;
END $$;
COMMENT ON FUNCTION uno_jobs.mend_waiting(uuid, integer) IS
    'Find waiting jobs whose count of unfinished parents is wrong, among p_limit unfinished jobs behind p_after, and have it counted anew; returns how far it looked (null: to the end) and those jobs.';
