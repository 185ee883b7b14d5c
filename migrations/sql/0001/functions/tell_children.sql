-- For ends that are recorded whether or not those who wait for them can be told at once.
CREATE FUNCTION uno_jobs.tell_children(p_ended uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_free uuid[];
BEGIN
    IF cardinality(p_ended) > 0 THEN
        v_free := uno_jobs.lock_families(p_ended);
        INSERT INTO uno_jobs.pending_releases (job_id)
        SELECT e.id FROM unnest(p_ended) AS e (id) WHERE NOT e.id = ANY (v_free)
        ON CONFLICT DO NOTHING;
        PERFORM uno_jobs.propagate(v_free);
    END IF;
END $$;
COMMENT ON FUNCTION uno_jobs.tell_children(uuid[]) IS
    'Let these ends reach those that wait for them, now or, where somebody holds a row, by release_pending.';
