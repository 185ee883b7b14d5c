-- The flow behind a finished step, without its values: what a step that comes next notes in outcomes.flow, so that a late
-- step of a long chain need not look at each one before it. p_flow is what the finished step itself has noted.
--   at    name -> the step whose result gave it last
--   then  of a job that has added steps: the flow goes on behind that one, see extend; nobody takes it over
--   next  where names that are not in "at" are to be looked for: at that step, then in what it has noted
-- Names are kept up to a number; beyond it the next step begins anew, and what came before is found through "next".
CREATE FUNCTION uno_jobs.flow_after(p_id uuid, p_result jsonb, p_flow jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_at jsonb;
BEGIN
    IF p_flow IS NOT NULL AND jsonb_typeof(p_result) IS DISTINCT FROM 'object' THEN
        RETURN p_flow - 'then';
    END IF;
    IF p_flow IS NOT NULL THEN
        v_at := coalesce(p_flow -> 'at', '{}')
             || (SELECT coalesce(jsonb_object_agg(k.name, p_id), '{}') FROM jsonb_object_keys(p_result) AS k (name));
        IF (SELECT count(*) FROM jsonb_object_keys(v_at)) <= 50 THEN
            RETURN jsonb_build_object('at', v_at, 'next', p_flow -> 'next');
        END IF;
    END IF;
    RETURN jsonb_build_object('next', p_id);
END $$;
COMMENT ON FUNCTION uno_jobs.flow_after(uuid, jsonb, jsonb) IS 'Where, behind this finished step, each name of the flow was given last.';
