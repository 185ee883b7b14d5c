CREATE FUNCTION uno_jobs.say_worker(p_hostname text, p_pid integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = uno_jobs, pg_temp
AS $$
BEGIN
    RETURN format('%s pid %s', p_hostname, p_pid);
END $$;
COMMENT ON FUNCTION uno_jobs.say_worker(text, integer) IS 'A worker process as a sentence names it.';
