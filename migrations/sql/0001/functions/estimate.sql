CREATE FUNCTION uno_jobs.estimate(p_counted bigint, p_sampled bigint, p_percent real) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_number numeric := coalesce(p_sampled, 0) * 100 / p_percent::numeric;
BEGIN
    IF p_counted <= 10000 THEN
        RETURN p_counted;
    END IF;
    RETURN greatest(10001, round(v_number, 2 - length(trunc(v_number)::text)));
END $$;
COMMENT ON FUNCTION uno_jobs.estimate(bigint, bigint, real) IS
    'A count that stopped at 10,001 rows, replaced by what a sample of so many percent says, in two digits; a smaller one as it is.';
