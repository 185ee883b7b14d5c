CREATE FUNCTION uno_jobs.uuid_v7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
SET search_path = pg_catalog
AS $$
    -- 48 bits of milliseconds over a random version 4 UUID, then the version's bits.
    SELECT encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                placing substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                FROM 1 FOR 6),
            52, 1), 53, 1), 'hex')::uuid
$$;
COMMENT ON FUNCTION uno_jobs.uuid_v7() IS 'A new UUID, version 7 (RFC 9562): ids of one time lie together.';
