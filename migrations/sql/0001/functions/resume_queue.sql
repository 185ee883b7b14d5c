CREATE FUNCTION uno_jobs.resume_queue(queue text, notify boolean DEFAULT true) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_missing text := uno_jobs.missing_queue(queue);
BEGIN
    IF v_missing IS NOT NULL THEN
        RAISE EXCEPTION '%', v_missing USING ERRCODE = 'no_data_found';
    END IF;
    UPDATE uno_jobs.queues q SET paused_at = NULL, paused_by = NULL, pause_reason = NULL
    WHERE q.name = resume_queue.queue AND q.paused_at IS NOT NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF notify THEN
        PERFORM uno_jobs.wake(ARRAY[queue]);
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION uno_jobs.resume_queue(text, boolean) IS
    'Let workers take from a paused queue again; those that sleep are told at commit. False: it was not paused.';
