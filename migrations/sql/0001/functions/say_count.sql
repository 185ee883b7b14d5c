CREATE FUNCTION uno_jobs.say_count(p_number bigint, p_one text, p_many text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = uno_jobs, pg_temp
AS $$
BEGIN
    RETURN CASE WHEN p_number > 10000 THEN 'more than 10,000' ELSE trim(to_char(p_number, 'FM999,999')) END
        || ' ' || CASE WHEN p_number = 1 THEN p_one ELSE p_many END;
END $$;
COMMENT ON FUNCTION uno_jobs.say_count(bigint, text, text) IS 'A count that stopped at 10,001, with its noun.';
