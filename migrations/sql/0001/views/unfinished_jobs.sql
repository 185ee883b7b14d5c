CREATE VIEW uno_jobs.unfinished_jobs AS
SELECT l.id, l.state, j.task, j.version, j.queue::text, j.priority::smallint, l.attempt, l.failures, j.created_at,
       CASE WHEN l.state = 'scheduled' THEN l.run_at END AS next_attempt_at,
       l.started_at, l.expires_at, l.worker_id,
       l.unique_key AS held_key,
       j.workflow_id, l.pending_parents,
       c.requested_at AS cancel_requested_at, c.reason AS cancel_reason,
       j.args, j.kwargs, coalesce(j.metadata, '{}') AS metadata
FROM uno_jobs.live_jobs l
JOIN uno_jobs.jobs j ON j.id = l.id
LEFT JOIN uno_jobs.cancel_requests c ON c.job_id = l.id;
COMMENT ON VIEW uno_jobs.unfinished_jobs IS 'What has not ended yet, one row a job. What a look at all of it costs follows the backlog, never the history.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.id IS 'The job.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.state IS 'waiting, scheduled, ready or running.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.task IS 'The task''s name; null: a join, where a group''s results come together.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.version IS 'The task''s version.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.queue IS 'The queue.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.priority IS '0 to 9, lower runs first.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.attempt IS 'Starts so far.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.failures IS 'Failed attempts so far.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.created_at IS 'When it was enqueued.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.next_attempt_at IS 'When the next attempt is due; null unless scheduled.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.started_at IS 'When the attempt in progress started; null unless running.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.expires_at IS 'Cancelled if not started by then; null: never, or it has started.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.worker_id IS 'The worker that runs it; see worker_status.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.held_key IS 'The unique key that it holds now, against others of its task; null: none.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.workflow_id IS 'Its workflow; null: none.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.pending_parents IS 'Unfinished parents.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.cancel_requested_at IS 'When somebody asked to cancel it while it ran.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.cancel_reason IS 'Why they did.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.args IS 'Positional arguments.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.kwargs IS 'Keyword arguments.';
COMMENT ON COLUMN uno_jobs.unfinished_jobs.metadata IS 'The caller''s metadata.';
