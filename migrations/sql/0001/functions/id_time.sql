CREATE FUNCTION uno_jobs.id_time(p_id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog
AS $$
    SELECT to_timestamp(('x' || lpad(replace(left(p_id::text, 13), '-', ''), 16, '0'))::bit(64)::bigint / 1000.0)
$$;
COMMENT ON FUNCTION uno_jobs.id_time(uuid) IS 'The time that a UUID of version 7 says; of another version, a time without a meaning.';
