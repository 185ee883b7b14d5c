CREATE FUNCTION uno_jobs.retry(id uuid, notify boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v record;
BEGIN
    SELECT t.answer, t.holder INTO v FROM uno_jobs.try_retry(retry.id, retry.notify) t;
    CASE v.answer
        WHEN 'retried' THEN
            RETURN;
        WHEN 'unknown' THEN
            RAISE EXCEPTION 'there is no job %', retry.id USING ERRCODE = 'no_data_found';
        WHEN 'held' THEN
            RAISE EXCEPTION 'job % is unfinished and holds the unique key of job %', v.holder, retry.id
                USING ERRCODE = 'unique_violation';
        WHEN 'parent' THEN
            RAISE EXCEPTION 'job % waits for job %, which did not succeed: retry that one', retry.id, v.holder
                USING ERRCODE = 'object_not_in_prerequisite_state';
        ELSE
            RAISE EXCEPTION 'job % % %: only what failed, was cancelled or is scheduled can be retried',
                retry.id, CASE v.answer WHEN 'succeeded' THEN 'has' ELSE 'is' END, v.answer
                USING ERRCODE = 'object_not_in_prerequisite_state';
    END CASE;
END $$;
COMMENT ON FUNCTION uno_jobs.retry(uuid, boolean) IS
    'Make a failed or cancelled job ready again in the present transaction, with all its retries, and a scheduled one ready now.';
