-- After a reconnect that followed a restart or failover of the server a worker goes on under a new id, so that no lease
-- which the server may have forgotten can match. What it still runs moves with it.
CREATE FUNCTION uno_jobs.adopt(p_old uuid, p_new uuid, p_ids uuid[], p_leases bigint[]) RETURNS SETOF uuid
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
    UPDATE uno_jobs.live_jobs l SET worker_id = p_new
    FROM (SELECT x.id FROM unnest(p_ids, p_leases) AS g (id, lease)
          JOIN uno_jobs.live_jobs x ON x.id = g.id AND x.lease = g.lease
          WHERE x.worker_id = p_old FOR UPDATE OF x SKIP LOCKED) k
    WHERE l.id = k.id
    RETURNING l.id
$$;
COMMENT ON FUNCTION uno_jobs.adopt(uuid, uuid, uuid[], bigint[]) IS 'Move running jobs from one incarnation of a worker to the next; returns those moved.';
