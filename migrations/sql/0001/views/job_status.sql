CREATE VIEW uno_jobs.job_status AS
SELECT j.id,
       coalesce(l.state, o.state) AS state,
       j.task, j.version, j.queue::text, j.priority::smallint,
       coalesce(l.attempt, o.attempt) AS attempt,
       coalesce(l.failures, o.failures) AS failures,
       coalesce(l.lost, o.lost) AS lost,
       j.created_at,
       j.run_at AS scheduled_at,
       CASE WHEN l.state = 'scheduled' THEN l.run_at END AS next_attempt_at,
       coalesce(l.started_at, o.started_at) AS started_at,
       o.finished_at,
       j.expires_at,
       l.worker_id,
       j.unique_key,
       j.workflow_id,
       l.pending_parents,
       c.requested_at AS cancel_requested_at,
       p.fraction AS progress, p.message AS progress_message,
       j.args, j.kwargs, coalesce(j.metadata, '{}') AS metadata,
       o.result, o.error_type, o.error,
       o.cancelled_because,
       c.reason AS cancel_reason
FROM uno_jobs.jobs j
LEFT JOIN uno_jobs.live_jobs l ON l.id = j.id
LEFT JOIN uno_jobs.outcomes o ON o.id = j.id
LEFT JOIN uno_jobs.progress p ON p.job_id = j.id
LEFT JOIN uno_jobs.cancel_requests c ON c.job_id = l.id;
COMMENT ON VIEW uno_jobs.job_status IS 'One row a job: what was asked, where it stands, how it ended.';
COMMENT ON COLUMN uno_jobs.job_status.id IS 'The job.';
COMMENT ON COLUMN uno_jobs.job_status.state IS 'waiting, scheduled, ready, running, succeeded, failed or cancelled.';
COMMENT ON COLUMN uno_jobs.job_status.task IS 'The task''s name.';
COMMENT ON COLUMN uno_jobs.job_status.version IS 'The task''s version.';
COMMENT ON COLUMN uno_jobs.job_status.queue IS 'The queue.';
COMMENT ON COLUMN uno_jobs.job_status.priority IS '0 to 9, lower runs first.';
COMMENT ON COLUMN uno_jobs.job_status.attempt IS 'Starts so far.';
COMMENT ON COLUMN uno_jobs.job_status.failures IS 'Failed attempts so far.';
COMMENT ON COLUMN uno_jobs.job_status.lost IS 'Attempts that took their process down alone.';
COMMENT ON COLUMN uno_jobs.job_status.created_at IS 'When it was enqueued.';
COMMENT ON COLUMN uno_jobs.job_status.scheduled_at IS 'The earliest first start asked for; null: at once.';
COMMENT ON COLUMN uno_jobs.job_status.next_attempt_at IS 'When the next attempt is due; null unless scheduled.';
COMMENT ON COLUMN uno_jobs.job_status.started_at IS 'When the present or last attempt started.';
COMMENT ON COLUMN uno_jobs.job_status.finished_at IS 'When it ended; null: it has not.';
COMMENT ON COLUMN uno_jobs.job_status.expires_at IS 'Cancelled if not started by then; null: never.';
COMMENT ON COLUMN uno_jobs.job_status.worker_id IS 'The worker that runs it; see worker_status.';
COMMENT ON COLUMN uno_jobs.job_status.unique_key IS 'Its unique key; null: not unique.';
COMMENT ON COLUMN uno_jobs.job_status.workflow_id IS 'Its workflow; null: none.';
COMMENT ON COLUMN uno_jobs.job_status.pending_parents IS 'Unfinished parents; null when finished.';
COMMENT ON COLUMN uno_jobs.job_status.cancel_requested_at IS 'When somebody asked to cancel it while it ran; null: nobody has, or it has ended.';
COMMENT ON COLUMN uno_jobs.job_status.progress IS 'From 0 to 1, as the running task says.';
COMMENT ON COLUMN uno_jobs.job_status.progress_message IS 'In the task''s own words.';
COMMENT ON COLUMN uno_jobs.job_status.args IS 'Positional arguments.';
COMMENT ON COLUMN uno_jobs.job_status.kwargs IS 'Keyword arguments.';
COMMENT ON COLUMN uno_jobs.job_status.metadata IS 'The caller''s metadata.';
COMMENT ON COLUMN uno_jobs.job_status.result IS 'What the task returned.';
COMMENT ON COLUMN uno_jobs.job_status.error_type IS 'Class of the final error; each attempt''s is in attempts.';
COMMENT ON COLUMN uno_jobs.job_status.error IS 'Message of the final error, or why it was cancelled.';
COMMENT ON COLUMN uno_jobs.job_status.cancelled_because IS 'The job whose failure or cancellation ended this one; null: none did.';
COMMENT ON COLUMN uno_jobs.job_status.cancel_reason IS 'Why somebody asked to cancel it while it ran. That of a job that was cancelled is its error.';
