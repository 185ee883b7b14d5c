CREATE FUNCTION uno_jobs.mark_hungry(p_worker uuid, p_queues text[], p_seconds double precision) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
    INSERT INTO uno_jobs.hungry AS h (queue, worker_id, until)
    SELECT q.queue, p_worker, uno_jobs.clock() + p_seconds * interval '1 second' FROM unnest(p_queues) AS q (queue)
    ON CONFLICT (queue, worker_id) DO UPDATE SET until = excluded.until
$$;
COMMENT ON FUNCTION uno_jobs.mark_hungry(uuid, text[], double precision) IS
    'A worker is about to sleep: from the next commit on, whoever makes a job ready in these queues notifies.';
