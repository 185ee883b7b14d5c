-- flow_after, for a step whose flow comes from a job that has added steps (job.then): behind the last of those.
CREATE FUNCTION uno_jobs.flow_behind(p_id uuid) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_at uuid := p_id;
    v_result jsonb;
    v_flow jsonb;
BEGIN
    LOOP
        SELECT o.result, o.flow INTO v_result, v_flow FROM uno_jobs.outcomes o WHERE o.id = v_at;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
        EXIT WHEN v_flow IS NULL OR NOT v_flow ? 'then';
        v_at := (v_flow ->> 'then')::uuid;
    END LOOP;
    RETURN uno_jobs.flow_after(v_at, v_result, v_flow);
END $$;
COMMENT ON FUNCTION uno_jobs.flow_behind(uuid) IS 'Where, behind what this finished job has added, each name of the flow was given last.';
