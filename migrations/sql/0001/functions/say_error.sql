CREATE FUNCTION uno_jobs.say_error(p_type text, p_message text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    -- One line, and not all of a long one.
    v_said text := regexp_replace(nullif(concat_ws(': ', p_type, nullif(p_message, '')), ''), '\s+', ' ', 'g');
BEGIN
    RETURN CASE WHEN length(v_said) > 200 THEN left(v_said, 199) || '…' ELSE v_said END;
END $$;
COMMENT ON FUNCTION uno_jobs.say_error(text, text) IS 'An error in short, on one line; null where there is nothing to say.';
