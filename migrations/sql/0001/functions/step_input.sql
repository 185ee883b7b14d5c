-- What a step finds before it. p_step is jobs.step:
--   kind   chain: the one parent's result is the previous one. member: the list of all parents' results is.
--   flow   the job whose flow, with its own result merged in where that is an object, is the flow before this step
--   names  the parameters that the flow may fill; other keys are not looked up
--   takes  false for a step that takes nothing from before, and only passes the flow on
--   anyway  true for on_parent_failure=run: how its parents ended is told as well
--   inner  true for a step that was added by the job which flow names (job.then): what that has added is not before this step
--   then   of a job that has added steps, see extend; of no use here
-- Read anew at each start, so that a retry binds what the first attempt bound. Every outcome is read by its id, in a query of
-- its own: a join left it to a plan made for a small table whether all of the history is read.
CREATE FUNCTION uno_jobs.step_input(p_id uuid, p_step jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_previous jsonb;
    v_flow jsonb := '{}';
    v_names text[];
    v_at uuid;
    v_parent uuid;
    v_result jsonb;
    v_before jsonb;
    v_inner boolean := coalesce((p_step ->> 'inner')::boolean, false);
    v_parents jsonb := '{}';
BEGIN
    IF (p_step ->> 'anyway')::boolean THEN
        SELECT jsonb_build_object('parents', coalesce(jsonb_agg(
                   (SELECT jsonb_build_object('id', o.id, 'state', o.state, 'result', o.result, 'error_type', o.error_type,
                                              'error', o.error)
                    FROM uno_jobs.outcomes o WHERE o.id = e.parent_id)
                   || jsonb_build_object('task', (SELECT j.task FROM uno_jobs.jobs j WHERE j.id = e.parent_id))
                   ORDER BY e.position), '[]'))
        INTO v_parents FROM uno_jobs.job_edges e WHERE e.child_id = p_id;
    END IF;
    IF NOT coalesce((p_step ->> 'takes')::boolean, true) THEN
        RETURN nullif(v_parents, '{}');
    END IF;
    IF p_step ->> 'kind' = 'chain' THEN
        -- Nearly always the one parent is also where the flow is looked for first.
        SELECT e.parent_id, o.result, o.result, o.flow INTO v_parent, v_previous, v_result, v_before
        FROM uno_jobs.job_edges e
        LEFT JOIN LATERAL (SELECT x.result, x.flow FROM uno_jobs.outcomes x WHERE x.id = e.parent_id OFFSET 0) o ON true
        WHERE e.child_id = p_id;
    ELSE
        SELECT coalesce(jsonb_agg((SELECT o.result FROM uno_jobs.outcomes o WHERE o.id = e.parent_id AND o.state = 'succeeded')
                                  ORDER BY e.position), '[]') INTO v_previous
        FROM uno_jobs.job_edges e WHERE e.child_id = p_id;
    END IF;
    IF p_step -> 'names' <> '[]' THEN
        v_at := (p_step ->> 'flow')::uuid;
    END IF;
    -- Backwards, so that the first value found of a name is that of the latest step; see flow_after.
    WHILE v_at IS NOT NULL LOOP
        IF v_at IS DISTINCT FROM v_parent THEN
            SELECT o.result, o.flow INTO v_result, v_before FROM uno_jobs.outcomes o WHERE o.id = v_at;
            v_parent := NULL;
        END IF;
        IF v_before ? 'then' AND NOT v_inner THEN
            v_at := (v_before ->> 'then')::uuid;
            CONTINUE;
        END IF;
        IF jsonb_typeof(v_result) = 'object' OR v_before ? 'at' THEN
            SELECT v_flow || coalesce(jsonb_object_agg(f.name, f.value) FILTER (WHERE f.value IS NOT NULL), '{}'),
                   array_agg(f.name) FILTER (WHERE f.value IS NULL)
            INTO v_flow, v_names
            FROM (SELECT n.name,
                         coalesce(v_result -> n.name,
                                  (SELECT o.result -> n.name FROM uno_jobs.outcomes o
                                   WHERE o.id = (v_before -> 'at' ->> n.name)::uuid)) AS value
                  FROM unnest(coalesce(v_names, ARRAY(SELECT jsonb_array_elements_text(p_step -> 'names')))) AS n (name)) f;
            EXIT WHEN v_names IS NULL;
        END IF;
        IF v_before IS NULL THEN
            SELECT (j.step ->> 'flow')::uuid, coalesce((j.step ->> 'inner')::boolean, false) INTO v_at, v_inner
            FROM uno_jobs.jobs j WHERE j.id = v_at;
        ELSE
            v_at := (v_before ->> 'next')::uuid;
            v_inner := true;  -- what was noted has been followed to its end
        END IF;
    END LOOP;
    RETURN jsonb_build_object('previous', v_previous, 'flow', v_flow) || v_parents;
END $$;
COMMENT ON FUNCTION uno_jobs.step_input(uuid, jsonb) IS
    'What a step of a workflow finds before it: the previous result, and the flow as far as the step can use it.';
