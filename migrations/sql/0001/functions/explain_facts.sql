-- The one place where it is said why a job is where it is; the functions explain_… say it for one state each. What is counted
-- on the way stops at 10,001 rows of an index. STABLE, all of them: they see one moment, so that a job that moves meanwhile is
-- not told of as what it was with what it has become.
CREATE FUNCTION uno_jobs.explain_facts(id uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_state uno_jobs.job_state;
    v_said jsonb;
BEGIN
    SELECT coalesce(l.state, o.state) INTO v_state
    FROM uno_jobs.jobs j
    LEFT JOIN uno_jobs.live_jobs l ON l.id = j.id
    LEFT JOIN uno_jobs.outcomes o ON o.id = j.id
    WHERE j.id = explain_facts.id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no job %: it was never committed, or its record has been pruned', explain_facts.id
            USING ERRCODE = 'no_data_found';
    END IF;
    v_said := CASE v_state
        WHEN 'waiting' THEN uno_jobs.explain_waiting(explain_facts.id)
        WHEN 'scheduled' THEN uno_jobs.explain_scheduled(explain_facts.id)
        WHEN 'ready' THEN uno_jobs.explain_ready(explain_facts.id)
        WHEN 'running' THEN uno_jobs.explain_running(explain_facts.id)
        ELSE uno_jobs.explain_finished(explain_facts.id)
    END;
    RETURN jsonb_build_object('id', explain_facts.id, 'state', v_state) || v_said;
END $$;
COMMENT ON FUNCTION uno_jobs.explain_facts(uuid) IS
    'Why this job is where it is: its state, why (a word for programs), the sentence, and what the sentence is made of.';
