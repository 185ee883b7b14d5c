CREATE FUNCTION uno_jobs.set_queue_weight(queue text, weight integer, create_missing boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_missing text := uno_jobs.missing_queue(queue);
BEGIN
    IF weight IS NULL OR weight NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'a weight is a whole number from 1 to 100, not %', coalesce(weight::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF v_missing IS NOT NULL AND create_missing IS NOT TRUE THEN
        RAISE EXCEPTION '%', v_missing USING ERRCODE = 'no_data_found', HINT = 'With create_missing => true it is set all the same.';
    END IF;
    INSERT INTO uno_jobs.queues AS q (name, weight) VALUES (set_queue_weight.queue, set_queue_weight.weight)
    ON CONFLICT (name) DO UPDATE SET weight = excluded.weight WHERE q.weight <> excluded.weight;
END $$;
COMMENT ON FUNCTION uno_jobs.set_queue_weight(text, integer, boolean) IS
    'Give a queue a share of each worker''s free slots, beside other queues that have work: 1 to 100, 1 unless set.';
