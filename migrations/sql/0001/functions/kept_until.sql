-- The rule of each finished job: its task's, else its queue's, else the default; or, for a removal by hand, what that asks for.
-- What the filter does not name is kept for ever. LEFT JOINs by primary key into a table of a page: no more than a look each.
CREATE FUNCTION uno_jobs.kept_until(
    p_ids uuid[], p_older_than interval DEFAULT NULL, p_states text[] DEFAULT NULL, p_queue text DEFAULT NULL, p_task text DEFAULT NULL
) RETURNS TABLE (id uuid, workflow_id uuid, state uno_jobs.job_state, finished_at timestamptz, ends_at timestamptz)
LANGUAGE sql STABLE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
    SELECT r.id, r.workflow_id, r.state, r.finished_at,
           CASE WHEN r.wanted THEN coalesce(r.finished_at + r.keep, 'infinity') ELSE 'infinity' END
    FROM (
        SELECT o.id, j.workflow_id, o.state, o.finished_at,
               CASE WHEN p_older_than IS NOT NULL THEN p_older_than WHEN t.state IS NOT NULL THEN t.keep
                    WHEN q.state IS NOT NULL THEN q.keep ELSE d.keep END AS keep,
               (p_states IS NULL OR o.state::text = ANY (p_states)) AND (p_queue IS NULL OR j.queue = p_queue)
               AND (p_task IS NULL OR j.task = p_task) AS wanted
        FROM unnest(p_ids) AS g (id)
        JOIN uno_jobs.outcomes o ON o.id = g.id
        JOIN uno_jobs.jobs j ON j.id = o.id
        LEFT JOIN uno_jobs.retention d ON d.scope = 'default' AND d.name = '' AND d.state = o.state
        LEFT JOIN uno_jobs.retention q ON q.scope = 'queue' AND q.name = j.queue AND q.state = o.state
        LEFT JOIN uno_jobs.retention t ON t.scope = 'task' AND t.name = j.task AND t.state = o.state) r
$$;
COMMENT ON FUNCTION uno_jobs.kept_until(uuid[], interval, text[], text, text) IS
    'Until when each of these finished jobs is kept; infinity: for ever, or not what is asked for.';
