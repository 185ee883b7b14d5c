-- Only a job that never started is replaced. Its live row is locked first, so that no claim can come between; a claim
-- that reads jobs afterwards sees the new arguments, since it does so in a statement of its own.
CREATE FUNCTION uno_jobs.replace_job(p_id uuid, p_args jsonb, p_kwargs jsonb, p_metadata jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
AS $$
BEGIN
    PERFORM FROM uno_jobs.live_jobs l
    WHERE l.id = p_id AND l.state IN ('waiting', 'scheduled', 'ready') AND l.attempt = 0
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE uno_jobs.jobs j SET args = p_args, kwargs = p_kwargs, metadata = p_metadata WHERE j.id = p_id;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION uno_jobs.replace_job(uuid, jsonb, jsonb, jsonb) IS
    'Put new arguments on a job that has never started; false when it has.';
