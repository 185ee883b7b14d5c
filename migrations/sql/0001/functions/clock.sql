-- The only clock. STABLE, so that it can bound an index scan; the statement's time, so that a delay in a long
-- transaction counts from the call. Without SET and in SQL, so that it is inlined.
CREATE FUNCTION uno_jobs.clock() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT pg_catalog.statement_timestamp() $$;
COMMENT ON FUNCTION uno_jobs.clock() IS 'The database''s time of the present statement.';
