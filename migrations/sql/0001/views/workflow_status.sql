-- A workflow's jobs are found by the index jobs_workflow, and where each stands by primary keys: OFFSET 0 keeps the planner
-- from reading all of outcomes for it instead. So what one workflow costs grows with its own jobs, never with the history.
CREATE VIEW uno_jobs.workflow_status AS
SELECT w.workflow_id,
       CASE WHEN w.unfinished AND w.started_at IS NULL THEN 'waiting'
            WHEN w.unfinished THEN 'running'
            WHEN w.failed > 0 THEN 'failed'
            WHEN w.cancelled > 0 THEN 'cancelled'
            ELSE 'succeeded' END AS state,
       w.jobs, w.waiting, w.scheduled, w.ready, w.running, w.succeeded, w.failed, w.cancelled,
       CASE WHEN w.jobs = 0 THEN 100
            ELSE trunc(100.0 * (w.succeeded + w.failed + w.cancelled) / w.jobs, 1) END::double precision AS percent,
       w.created_at, w.started_at,
       CASE WHEN NOT w.unfinished THEN w.ended_at END AS finished_at,
       w.failed_job,
       f.task AS failed_task,
       e.finished_at AS failed_at,
       e.error_type, e.error
FROM (
    SELECT j.workflow_id,
           count(*) FILTER (WHERE j.task IS NOT NULL) AS jobs,
           count(*) FILTER (WHERE j.task IS NOT NULL AND l.state = 'waiting') AS waiting,
           count(*) FILTER (WHERE l.state = 'scheduled') AS scheduled,
           count(*) FILTER (WHERE l.state = 'ready') AS ready,
           count(*) FILTER (WHERE l.state = 'running') AS running,
           count(*) FILTER (WHERE j.task IS NOT NULL AND o.state = 'succeeded') AS succeeded,
           count(*) FILTER (WHERE o.state = 'failed') AS failed,
           count(*) FILTER (WHERE j.task IS NOT NULL AND o.state = 'cancelled') AS cancelled,
           bool_or(l.state IS NOT NULL) AS unfinished,
           min(j.created_at) AS created_at,
           -- What is there of a job besides its attempts is its last start; that is its first one if it had no other.
           min(CASE WHEN coalesce(l.attempt, o.attempt) = 1 AND coalesce(l.started_at, o.started_at) IS NOT NULL
                    THEN coalesce(l.started_at, o.started_at)
                    WHEN coalesce(l.attempt, o.attempt) > 0
                    THEN coalesce((SELECT min(a.started_at) FROM uno_jobs.attempts a WHERE a.job_id = j.id),
                                  l.started_at, o.started_at) END) AS started_at,
           max(o.finished_at) AS ended_at,
           (array_agg(j.id ORDER BY o.finished_at, j.id) FILTER (WHERE o.state = 'failed'))[1] AS failed_job
    FROM uno_jobs.jobs j
    LEFT JOIN LATERAL (
        SELECT i.state, i.attempt, i.started_at FROM uno_jobs.live_jobs i WHERE i.id = j.id OFFSET 0) l ON true
    LEFT JOIN LATERAL (
        SELECT i.state, i.attempt, i.started_at, i.finished_at FROM uno_jobs.outcomes i WHERE i.id = j.id OFFSET 0) o ON true
    WHERE j.workflow_id IS NOT NULL
    GROUP BY j.workflow_id
) w
LEFT JOIN uno_jobs.jobs f ON f.id = w.failed_job
LEFT JOIN uno_jobs.outcomes e ON e.id = w.failed_job;
COMMENT ON VIEW uno_jobs.workflow_status IS
    'One row a workflow: how many of its steps are in which state, and the step that failed first. Ask for some by their ids: without WHERE workflow_id = it counts the steps of all that there ever were.';
COMMENT ON COLUMN uno_jobs.workflow_status.workflow_id IS 'The workflow.';
COMMENT ON COLUMN uno_jobs.workflow_status.state IS
    'waiting: no step has started yet. running: one has, and something is unfinished; what has failed so far is in failed. When all have ended: failed if a step failed, also where a step that runs anyway went on after it; else cancelled if a step was; else succeeded.';
COMMENT ON COLUMN uno_jobs.workflow_status.jobs IS 'Its steps. Joins, where lists of results come together, are not among them.';
COMMENT ON COLUMN uno_jobs.workflow_status.waiting IS 'Steps that wait for those before them.';
COMMENT ON COLUMN uno_jobs.workflow_status.scheduled IS 'Steps that wait for their time, retries among them.';
COMMENT ON COLUMN uno_jobs.workflow_status.ready IS 'Steps that a worker may take now.';
COMMENT ON COLUMN uno_jobs.workflow_status.running IS 'Steps that run.';
COMMENT ON COLUMN uno_jobs.workflow_status.succeeded IS 'Steps that succeeded.';
COMMENT ON COLUMN uno_jobs.workflow_status.failed IS 'Steps that failed for good.';
COMMENT ON COLUMN uno_jobs.workflow_status.cancelled IS 'Steps that were cancelled, most of them because one before them failed.';
COMMENT ON COLUMN uno_jobs.workflow_status.percent IS 'How many of the steps have ended, however they did, in per cent, rounded down: 0 to 100.';
COMMENT ON COLUMN uno_jobs.workflow_status.created_at IS 'When it was enqueued.';
COMMENT ON COLUMN uno_jobs.workflow_status.started_at IS 'When a step of it started for the first time; null: none has.';
COMMENT ON COLUMN uno_jobs.workflow_status.finished_at IS 'When the last of it ended; null: something is unfinished.';
COMMENT ON COLUMN uno_jobs.workflow_status.failed_job IS 'The step that failed first; null: none has failed. One that is retried by hand has not.';
COMMENT ON COLUMN uno_jobs.workflow_status.failed_task IS 'Its task.';
COMMENT ON COLUMN uno_jobs.workflow_status.failed_at IS 'When it failed for good.';
COMMENT ON COLUMN uno_jobs.workflow_status.error_type IS 'The class of its last error.';
COMMENT ON COLUMN uno_jobs.workflow_status.error IS 'The message of its last error.';
