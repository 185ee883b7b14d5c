CREATE FUNCTION uno_jobs.take_chore(p_chore text, p_holder uuid, p_seconds double precision) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_now timestamptz := uno_jobs.clock();
BEGIN
    INSERT INTO uno_jobs.chore_leases AS c (chore, holder, term, until)
    VALUES (p_chore, p_holder, 1, v_now + p_seconds * interval '1 second')
    ON CONFLICT (chore) DO UPDATE
    SET holder = p_holder, until = excluded.until, term = c.term + (c.holder <> p_holder)::integer
    WHERE c.holder = p_holder OR c.until <= v_now;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION uno_jobs.take_chore(text, uuid, double precision) IS
    'Take or renew the lease of a chore; false while another holds it. Two holders for a moment are harmless.';
