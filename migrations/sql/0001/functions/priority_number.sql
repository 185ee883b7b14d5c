CREATE FUNCTION uno_jobs.priority_number(p_priority text) RETURNS smallint
LANGUAGE plpgsql IMMUTABLE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_number smallint := CASE
        WHEN p_priority = 'critical' THEN 1
        WHEN p_priority = 'high' THEN 3
        WHEN p_priority = 'normal' THEN 5
        WHEN p_priority = 'low' THEN 7
        WHEN p_priority ~ '^[0-9]$' THEN p_priority::smallint
    END;
BEGIN
    IF v_number IS NULL THEN
        RAISE EXCEPTION 'a priority is critical, high, normal, low or a number from 0 to 9, not "%"', p_priority
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN v_number;
END $$;
COMMENT ON FUNCTION uno_jobs.priority_number(text) IS 'The number of a priority; lower runs first.';
