CREATE FUNCTION uno_jobs.say_job(p_id uuid) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
AS $$
BEGIN
    RETURN coalesce((SELECT format('%s %s', coalesce(j.task, 'join'), j.id) FROM uno_jobs.jobs j WHERE j.id = p_id),
                    format('job %s', p_id));
END $$;
COMMENT ON FUNCTION uno_jobs.say_job(uuid) IS 'A job as a sentence names it: its task and its id.';
