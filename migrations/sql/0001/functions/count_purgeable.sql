CREATE FUNCTION uno_jobs.count_purgeable(p_queue text) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$ SELECT count(*) FROM uno_jobs.live_jobs l WHERE l.queue = p_queue AND l.state <> 'running' $$;
COMMENT ON FUNCTION uno_jobs.count_purgeable(text) IS 'How many jobs purge_queue would cancel now.';
