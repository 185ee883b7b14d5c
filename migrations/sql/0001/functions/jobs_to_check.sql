-- A page of the unfinished jobs, with what a worker would load their arguments from. A plain read: it locks nothing, and a
-- caller who asks page by page holds no snapshot in between. Whoever waits gets step, the others what they find before them,
-- as claim tells it. A page ends early when it has so many bytes; the last one is empty.
CREATE FUNCTION uno_jobs.jobs_to_check(p_after uuid, p_limit integer, p_bytes integer, p_queues text[])
RETURNS TABLE (id uuid, task text, version text, queue text, args text, kwargs text, step text, before text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_sort = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_state uno_jobs.job_state;
    v_step jsonb;
    v_bytes bigint := 0;
BEGIN
    FOR id, v_state, task, version, queue, args, kwargs, v_step IN
        SELECT l.id, l.state, j.task, j.version, j.queue, j.args::text, j.kwargs::text, j.step
        FROM uno_jobs.live_jobs l JOIN uno_jobs.jobs j ON j.id = l.id
        WHERE l.id > p_after AND l.task IS NOT NULL AND (p_queues IS NULL OR l.queue = ANY (p_queues))
        ORDER BY l.id LIMIT p_limit
    LOOP
        step := CASE WHEN v_state = 'waiting' THEN v_step::text END;
        before := CASE WHEN v_state <> 'waiting' AND v_step IS NOT NULL THEN uno_jobs.step_input(id, v_step)::text END;
        RETURN NEXT;
        v_bytes := v_bytes + length(args) + length(kwargs) + coalesce(length(before), 0);
        EXIT WHEN v_bytes >= p_bytes;
    END LOOP;
END $$;
COMMENT ON FUNCTION uno_jobs.jobs_to_check(uuid, integer, integer, text[]) IS
    'The next unfinished jobs in the order of ids, in these queues (null: in all), with what their arguments are loaded from.';
