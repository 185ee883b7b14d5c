CREATE VIEW uno_jobs.finished_jobs AS
SELECT o.id, o.state, j.task, j.version, j.queue::text, j.priority::smallint, o.attempt, o.failures, o.lost, j.created_at,
       j.run_at AS scheduled_at, o.started_at, o.finished_at, j.workflow_id, o.error_type, o.error, o.cancelled_because,
       o.result, j.args, j.kwargs, coalesce(j.metadata, '{}') AS metadata
FROM uno_jobs.outcomes o
JOIN uno_jobs.jobs j ON j.id = o.id;
COMMENT ON VIEW uno_jobs.finished_jobs IS 'What has ended and is still kept, one row a job. Ask for a time, WHERE finished_at >: an index answers that, however long the history is.';
COMMENT ON COLUMN uno_jobs.finished_jobs.id IS 'The job.';
COMMENT ON COLUMN uno_jobs.finished_jobs.state IS 'succeeded, failed or cancelled.';
COMMENT ON COLUMN uno_jobs.finished_jobs.task IS 'The task''s name; null: a join, where a group''s results come together.';
COMMENT ON COLUMN uno_jobs.finished_jobs.version IS 'The task''s version.';
COMMENT ON COLUMN uno_jobs.finished_jobs.queue IS 'The queue.';
COMMENT ON COLUMN uno_jobs.finished_jobs.priority IS '0 to 9, lower runs first.';
COMMENT ON COLUMN uno_jobs.finished_jobs.attempt IS 'How often it was started.';
COMMENT ON COLUMN uno_jobs.finished_jobs.failures IS 'Failed attempts.';
COMMENT ON COLUMN uno_jobs.finished_jobs.lost IS 'Attempts that took their process down alone.';
COMMENT ON COLUMN uno_jobs.finished_jobs.created_at IS 'When it was enqueued.';
COMMENT ON COLUMN uno_jobs.finished_jobs.scheduled_at IS 'The earliest first start asked for; null: at once.';
COMMENT ON COLUMN uno_jobs.finished_jobs.started_at IS 'When its last attempt started; null: it never did.';
COMMENT ON COLUMN uno_jobs.finished_jobs.finished_at IS 'When it ended.';
COMMENT ON COLUMN uno_jobs.finished_jobs.workflow_id IS 'Its workflow; null: none.';
COMMENT ON COLUMN uno_jobs.finished_jobs.error_type IS 'Class of the final error.';
COMMENT ON COLUMN uno_jobs.finished_jobs.error IS 'Message of the final error, or why it was cancelled.';
COMMENT ON COLUMN uno_jobs.finished_jobs.cancelled_because IS 'The job whose failure or cancellation ended this one.';
COMMENT ON COLUMN uno_jobs.finished_jobs.result IS 'What the task returned.';
COMMENT ON COLUMN uno_jobs.finished_jobs.args IS 'Positional arguments.';
COMMENT ON COLUMN uno_jobs.finished_jobs.kwargs IS 'Keyword arguments.';
COMMENT ON COLUMN uno_jobs.finished_jobs.metadata IS 'The caller''s metadata.';
