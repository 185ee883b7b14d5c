-- A table of its own: a running row belongs to its worker's outcome and is locked by nothing else.
CREATE FUNCTION uno_jobs.set_progress(p_id uuid, p_lease bigint, p_fraction real, p_message text) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
    INSERT INTO uno_jobs.progress AS p (job_id, updated_at, fraction, message)
    SELECT l.id, uno_jobs.clock(), p_fraction, p_message FROM uno_jobs.live_jobs l WHERE l.id = p_id AND l.lease = p_lease
    ON CONFLICT (job_id) DO UPDATE SET updated_at = excluded.updated_at, fraction = excluded.fraction, message = excluded.message
    RETURNING true
$$;
COMMENT ON FUNCTION uno_jobs.set_progress(uuid, bigint, real, text) IS 'Say how far a running attempt is; null when its lease is over.';
