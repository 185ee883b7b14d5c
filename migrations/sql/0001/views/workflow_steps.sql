-- OFFSET 0: see workflow_status.
CREATE VIEW uno_jobs.workflow_steps AS
SELECT j.workflow_id, j.id, j.task, j.queue::text,
       coalesce(l.state, o.state) AS state,
       coalesce(l.attempt, o.attempt) AS attempt,
       coalesce(l.failures, o.failures) AS failures,
       CASE WHEN l.state = 'scheduled' THEN l.run_at END AS next_attempt_at,
       coalesce(l.started_at, o.started_at) AS started_at,
       o.finished_at,
       CASE WHEN l.state = 'running' THEN p.fraction END AS progress,
       CASE WHEN l.state = 'running' THEN p.message END AS progress_message,
       o.error_type, o.error, o.cancelled_because,
       ARRAY (SELECT e.parent_id FROM uno_jobs.job_edges e WHERE e.child_id = j.id ORDER BY e.position) AS parents
FROM uno_jobs.jobs j
LEFT JOIN LATERAL (SELECT i.* FROM uno_jobs.live_jobs i WHERE i.id = j.id OFFSET 0) l ON true
LEFT JOIN LATERAL (SELECT i.* FROM uno_jobs.outcomes i WHERE i.id = j.id OFFSET 0) o ON true
LEFT JOIN LATERAL (SELECT i.* FROM uno_jobs.progress i WHERE i.job_id = j.id OFFSET 0) p ON true
WHERE j.workflow_id IS NOT NULL;
COMMENT ON VIEW uno_jobs.workflow_steps IS 'One row a job of a workflow, and whom it waits for. Ask by workflow_id.';
COMMENT ON COLUMN uno_jobs.workflow_steps.workflow_id IS 'The workflow.';
COMMENT ON COLUMN uno_jobs.workflow_steps.id IS 'The job.';
COMMENT ON COLUMN uno_jobs.workflow_steps.task IS 'The task''s name; null: a join, where a group''s results come together.';
COMMENT ON COLUMN uno_jobs.workflow_steps.queue IS 'The queue.';
COMMENT ON COLUMN uno_jobs.workflow_steps.state IS 'waiting, scheduled, ready, running, succeeded, failed or cancelled.';
COMMENT ON COLUMN uno_jobs.workflow_steps.attempt IS 'Starts so far.';
COMMENT ON COLUMN uno_jobs.workflow_steps.failures IS 'Failed attempts so far.';
COMMENT ON COLUMN uno_jobs.workflow_steps.next_attempt_at IS 'When the next attempt is due; null unless scheduled.';
COMMENT ON COLUMN uno_jobs.workflow_steps.started_at IS 'When the present or last attempt started.';
COMMENT ON COLUMN uno_jobs.workflow_steps.finished_at IS 'When it ended; null: it has not.';
COMMENT ON COLUMN uno_jobs.workflow_steps.progress IS 'From 0 to 1, as the running task says.';
COMMENT ON COLUMN uno_jobs.workflow_steps.progress_message IS 'In the task''s own words.';
COMMENT ON COLUMN uno_jobs.workflow_steps.error_type IS 'Class of the final error.';
COMMENT ON COLUMN uno_jobs.workflow_steps.error IS 'Message of the final error, or why it was cancelled.';
COMMENT ON COLUMN uno_jobs.workflow_steps.cancelled_because IS 'The job whose failure or cancellation ended this one.';
COMMENT ON COLUMN uno_jobs.workflow_steps.parents IS 'The jobs that it waits, or waited, for, in their order.';
