CREATE FUNCTION uno_jobs.set_error_after_commit(p_id uuid, p_lease bigint, p_error text) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
    UPDATE uno_jobs.attempts a SET error_after_commit = p_error
    WHERE a.job_id = p_id AND a.lease = p_lease AND a.outcome = 'succeeded'
    RETURNING true
$$;
COMMENT ON FUNCTION uno_jobs.set_error_after_commit(uuid, bigint, text) IS
    'Record what a task raised after its own transaction had committed its success; null where there is no such attempt.';
