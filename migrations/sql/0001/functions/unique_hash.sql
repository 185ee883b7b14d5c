CREATE FUNCTION uno_jobs.unique_hash(p_arguments jsonb) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog
AS $$ SELECT 'args:' || encode(sha256(convert_to(p_arguments::text, 'UTF8')), 'hex') $$;
COMMENT ON FUNCTION uno_jobs.unique_hash(jsonb) IS
    'The unique key of a call: a hash over name to value, defaults filled in. Computed here only, so that all clients agree.';
