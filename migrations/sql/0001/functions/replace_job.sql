-- Only a job that never started is replaced. Its live row is locked first, so that no claim can come between; a claim
-- that reads jobs afterwards sees the new arguments, since it does so in a statement of its own.
CREATE FUNCTION uno_jobs.replace_job(p_id uuid, p_args jsonb, p_kwargs jsonb, p_metadata jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_found uuid;
BEGIN
    -- A lock that waited for a claim is taken on the row as the claim left it, and only then seen to be on what runs. The
    -- block's rollback gives it back; without it the job's outcome would have to wait for this transaction.
    BEGIN
        SELECT l.id INTO STRICT v_found FROM uno_jobs.live_jobs l
        WHERE l.id = p_id AND l.state IN ('waiting', 'scheduled', 'ready') AND l.attempt = 0
        FOR NO KEY UPDATE;
    EXCEPTION WHEN no_data_found THEN
        RETURN false;
    END;
    UPDATE uno_jobs.jobs j SET args = p_args, kwargs = p_kwargs, metadata = p_metadata WHERE j.id = p_id;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION uno_jobs.replace_job(uuid, jsonb, jsonb, jsonb) IS
    'Put new arguments on a job that has never started; false when it has.';
