-- What a step finds before it. p_step is jobs.step:
--   kind   chain: the one parent's result is the previous one. member: the list of all parents' results is.
--   flow   the job whose flow, with its own result merged in where that is an object, is the flow before this step
--   names  the parameters that the flow may fill; other keys are not looked up
--   takes  false for a step that takes nothing from before, and only passes the flow on
--   anyway  true for on_parent_failure=run; of no use here
-- Read anew at each start, so that a retry binds what the first attempt bound.
CREATE FUNCTION uno_jobs.step_input(p_id uuid, p_step jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_previous jsonb;
    v_flow jsonb;
    v_names text[];
BEGIN
    IF NOT coalesce((p_step ->> 'takes')::boolean, true) THEN
        RETURN NULL;
    END IF;
    IF p_step ->> 'kind' = 'chain' THEN
        SELECT o.result INTO v_previous
        FROM uno_jobs.job_edges e JOIN uno_jobs.outcomes o ON o.id = e.parent_id WHERE e.child_id = p_id;
    ELSE
        SELECT coalesce(jsonb_agg(CASE WHEN o.state = 'succeeded' THEN o.result END ORDER BY e.position), '[]') INTO v_previous
        FROM uno_jobs.job_edges e LEFT JOIN uno_jobs.outcomes o ON o.id = e.parent_id WHERE e.child_id = p_id;
    END IF;
    v_names := ARRAY(SELECT jsonb_array_elements_text(p_step -> 'names'));
    IF cardinality(v_names) > 0 AND p_step ->> 'flow' IS NOT NULL THEN
        -- Of several values of one key jsonb_object_agg keeps the last: that of the later step.
        WITH RECURSIVE back (id, depth) AS (
            SELECT (p_step ->> 'flow')::uuid, 0
            UNION ALL
            SELECT (j.step ->> 'flow')::uuid, b.depth + 1
            FROM back b JOIN uno_jobs.jobs j ON j.id = b.id WHERE j.step ->> 'flow' IS NOT NULL
        )
        SELECT jsonb_object_agg(f.key, f.value ORDER BY b.depth DESC) INTO v_flow
        FROM back b
        JOIN uno_jobs.outcomes o ON o.id = b.id AND jsonb_typeof(o.result) = 'object'
        CROSS JOIN LATERAL jsonb_each(o.result) AS f (key, value)
        WHERE f.key = ANY (v_names);
    END IF;
    RETURN jsonb_build_object('previous', v_previous, 'flow', coalesce(v_flow, '{}'));
END $$;
COMMENT ON FUNCTION uno_jobs.step_input(uuid, jsonb) IS
    'What a step of a workflow finds before it: the previous result, and the flow as far as the step can use it.';
