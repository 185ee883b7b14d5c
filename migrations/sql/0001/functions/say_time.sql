CREATE FUNCTION uno_jobs.say_time(p_time timestamptz) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = uno_jobs, pg_temp
AS $$
BEGIN
    RETURN to_char(p_time AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC';
END $$;
COMMENT ON FUNCTION uno_jobs.say_time(timestamptz) IS 'A time as a sentence names it.';
