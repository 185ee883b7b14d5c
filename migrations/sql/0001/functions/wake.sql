-- NOTIFY takes a cluster-wide lock at commit, so nobody is notified unless a worker says that it sleeps.
CREATE FUNCTION uno_jobs.wake(p_queues text[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
AS $$
BEGIN
    PERFORM pg_notify((SELECT channel FROM uno_jobs.schema_info), 'ready ' || q.queue)
    FROM (SELECT DISTINCT h.queue FROM uno_jobs.hungry h
          WHERE h.queue = ANY (p_queues) AND h.until > uno_jobs.clock()) q;
END $$;
COMMENT ON FUNCTION uno_jobs.wake(text[]) IS 'Notify workers that sleep on these queues, if any, at commit.';
