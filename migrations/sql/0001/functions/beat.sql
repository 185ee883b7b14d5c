-- Returns the ids that somebody has declared dead: those workers are to stop and start anew.
CREATE FUNCTION uno_jobs.beat(p_ids uuid[]) RETURNS SETOF uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
BEGIN
    UPDATE uno_jobs.workers w SET beat = w.beat + 1, beat_at = uno_jobs.clock()
    WHERE w.id = ANY (p_ids) AND w.state IN ('running', 'draining');
    RETURN QUERY SELECT w.id FROM uno_jobs.workers w WHERE w.id = ANY (p_ids) AND w.state = 'dead';
END $$;
COMMENT ON FUNCTION uno_jobs.beat(uuid[]) IS 'Say that these workers live; returns those that were declared dead meanwhile.';
