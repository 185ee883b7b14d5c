-- Ends that could not reach all who wait for them, because somebody held a row at that moment; and jobs that were revived
-- beside live parents.
CREATE FUNCTION uno_jobs.release_pending(p_limit integer) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_ids uuid[];
BEGIN
    IF EXISTS (SELECT FROM uno_jobs.pending_counts) THEN
        PERFORM uno_jobs.recount(p_limit);
    END IF;
    SELECT array_agg(k.job_id) INTO v_ids
    FROM (SELECT r.job_id FROM uno_jobs.pending_releases r LIMIT p_limit FOR UPDATE SKIP LOCKED) k;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    v_ids := uno_jobs.lock_families(v_ids);
    DELETE FROM uno_jobs.pending_releases r WHERE r.job_id = ANY (v_ids);
    PERFORM uno_jobs.propagate(v_ids);
    RETURN cardinality(v_ids);
END $$;
COMMENT ON FUNCTION uno_jobs.release_pending(integer) IS
    'Let ends reach those that wait for them which could not be locked before; returns how many ends did.';
