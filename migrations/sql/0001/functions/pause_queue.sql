-- The claim looks at each queue's row, so a pause needs no telling: after its commit nothing more is taken.
CREATE FUNCTION uno_jobs.pause_queue(queue text, reason text DEFAULT NULL, create_missing boolean DEFAULT false) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_missing text := uno_jobs.missing_queue(queue);
BEGIN
    IF length(reason) > 4000 THEN
        RAISE EXCEPTION 'a reason has at most 4000 characters, this one has %', length(reason)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF v_missing IS NOT NULL AND create_missing IS NOT TRUE THEN
        RAISE EXCEPTION '%', v_missing USING ERRCODE = 'no_data_found', HINT = 'With create_missing => true it is paused all the same.';
    END IF;
    -- Whoever paused it first stands, with the reason.
    INSERT INTO uno_jobs.queues AS q (name, paused_at, paused_by, pause_reason)
    VALUES (pause_queue.queue, uno_jobs.clock(), session_user, pause_queue.reason)
    ON CONFLICT (name) DO UPDATE
    SET paused_at = excluded.paused_at, paused_by = excluded.paused_by, pause_reason = excluded.pause_reason
    WHERE q.paused_at IS NULL;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION uno_jobs.pause_queue(text, text, boolean) IS
    'From the commit on, workers take nothing more from this queue; what runs goes on. False: it was paused already, and nothing was changed. create_missing: also where nothing names the queue.';
