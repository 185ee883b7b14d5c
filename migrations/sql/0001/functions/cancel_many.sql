-- In the order of ids, so that two who cancel the same wait for each other, and not in a circle.
CREATE FUNCTION uno_jobs.cancel_many(ids uuid[], reason text DEFAULT NULL, notify boolean DEFAULT true)
    RETURNS TABLE (id uuid, answer text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    FOR id IN SELECT u.id FROM unnest(ids) AS u (id) ORDER BY u.id LOOP
        answer := uno_jobs.try_cancel(cancel_many.id, cancel_many.reason, cancel_many.notify);
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION uno_jobs.cancel_many(uuid[], text, boolean) IS
    'Cancel jobs as cancel does, and say of each what became of it: cancelled, requested, finished or unknown.';
