CREATE FUNCTION uno_jobs.explain(id uuid) RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
BEGIN
    RETURN uno_jobs.explain_facts(explain.id) ->> 'sentence';
END $$;
COMMENT ON FUNCTION uno_jobs.explain(uuid) IS 'One sentence: why this job is where it is.';
