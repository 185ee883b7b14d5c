-- Asked when the reply to the COMMIT of a job's own transaction was lost. The lock waits for a commit that is still under
-- way; the next statement sees what came of it.
CREATE FUNCTION uno_jobs.attempt_fate(p_id uuid, p_lease bigint) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
BEGIN
    PERFORM FROM uno_jobs.live_jobs l WHERE l.id = p_id AND l.lease = p_lease AND l.state = 'running' FOR UPDATE;
    IF FOUND THEN
        RETURN 'running';
    END IF;
    RETURN (SELECT a.outcome::text FROM uno_jobs.attempts a WHERE a.job_id = p_id AND a.lease = p_lease);
END $$;
COMMENT ON FUNCTION uno_jobs.attempt_fate(uuid, bigint) IS
    'What became of an attempt: running, how it ended, or null where nothing is known of it; waits for a commit under way.';
