CREATE FUNCTION uno_jobs.first_id(p_time timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog
AS $$
    SELECT rpad(lpad(to_hex((greatest(extract(epoch FROM p_time), 0) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;
COMMENT ON FUNCTION uno_jobs.first_id(timestamptz) IS 'The least UUID of version 7 that could have been made at this time or later.';
