-- For those who watch other workers. Whether the supervisor's lock is there is looked up only for the ids asked about, since
-- pg_locks is dear.
CREATE FUNCTION uno_jobs.observe(p_suspects uuid[]) RETURNS TABLE (id uuid, beat bigint, holds_lock boolean, locked boolean)
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
    SELECT w.id, w.beat, w.lock_key IS NOT NULL,
           CASE WHEN w.id = ANY (p_suspects) THEN EXISTS (
               SELECT FROM pg_catalog.pg_locks k
               WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
                 AND k.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
                 AND (k.classid::bigint << 32) | k.objid::bigint = w.lock_key)
           END
    FROM uno_jobs.workers w
    WHERE w.state IN ('running', 'draining')
$$;
COMMENT ON FUNCTION uno_jobs.observe(uuid[]) IS
    'The living workers with their beats; of those named also whether their supervisor''s advisory lock is still held.';
