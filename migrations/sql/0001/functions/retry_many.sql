-- Each by itself: one that cannot be retried stops none. What changes hands in this moment is answered as
-- moving. In the order of ids, so that two who retry the same wait for each other, and not in a circle.
CREATE FUNCTION uno_jobs.retry_many(ids uuid[], notify boolean DEFAULT true) RETURNS TABLE (id uuid, answer text, holder uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    FOR id IN SELECT u.id FROM unnest(ids) AS u (id) ORDER BY u.id LOOP
        BEGIN
            SELECT t.answer, t.holder INTO answer, holder FROM uno_jobs.try_retry(retry_many.id, retry_many.notify) t;
        EXCEPTION WHEN serialization_failure OR deadlock_detected THEN
            answer := 'moving';
            holder := NULL;
        END;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION uno_jobs.retry_many(uuid[], boolean) IS
    'Retry jobs as retry does, and say of each what became of it: retried, held (its unique key, by holder), parent (holder did not succeed), unknown, moving (try again), or the state it is in.';
