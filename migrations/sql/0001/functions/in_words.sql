CREATE FUNCTION uno_jobs.in_words(p_duration interval) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_seconds numeric := abs(extract(epoch FROM p_duration));
BEGIN
    RETURN CASE
        WHEN v_seconds < 10 THEN trim_scale(round(v_seconds, 1)) || ' s'
        WHEN v_seconds < 120 THEN round(v_seconds) || ' s'
        WHEN v_seconds < 7200 THEN round(v_seconds / 60) || ' min'
        WHEN v_seconds < 172800 THEN round(v_seconds / 3600) || ' h'
        ELSE round(v_seconds / 86400) || ' d' END;
END $$;
COMMENT ON FUNCTION uno_jobs.in_words(interval) IS 'A duration in one unit, such as 0.4 s, 12 s, 3 min, 5 h or 9 d.';
