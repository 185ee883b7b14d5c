CREATE FUNCTION uno_jobs.cancel(id uuid, reason text DEFAULT NULL, notify boolean DEFAULT true) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_answer text := uno_jobs.try_cancel(cancel.id, cancel.reason, cancel.notify);
BEGIN
    IF v_answer = 'unknown' THEN
        RAISE EXCEPTION 'there is no job %', cancel.id USING ERRCODE = 'no_data_found';
    END IF;
    RETURN v_answer;
END $$;
COMMENT ON FUNCTION uno_jobs.cancel(uuid, text, boolean) IS
    'Cancel a job in the present transaction: cancelled (it had not started, or waited for a retry), requested (it runs; its worker is told at commit) or finished (nothing changed).';
