-- p_ids are those of its finished jobs that the caller has looked at or locked: a workflow with any other job is kept.
CREATE FUNCTION uno_jobs.workflows_kept_until(
    p_workflows uuid[], p_ids uuid[], p_older_than interval, p_states text[], p_queue text, p_task text
) RETURNS TABLE (workflow_id uuid, ends_at timestamptz)
LANGUAGE sql STABLE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
AS $$
    SELECT m.workflow_id, CASE WHEN sum(m.n) = 0 THEN max(m.ends_at) ELSE 'infinity' END
    FROM (SELECT j.workflow_id, 1 AS n, NULL::timestamptz AS ends_at
          FROM uno_jobs.jobs j WHERE j.workflow_id = ANY (p_workflows)
          UNION ALL
          SELECT k.workflow_id, -1, k.ends_at FROM uno_jobs.kept_until(p_ids, p_older_than, p_states, p_queue, p_task) k) m
    GROUP BY m.workflow_id
$$;
COMMENT ON FUNCTION uno_jobs.workflows_kept_until(uuid[], uuid[], interval, text[], text, text) IS
    'Until when workflows are kept: as long as the job of theirs that is kept longest; for ever while one is unfinished.';
