CREATE VIEW uno_jobs.failed_jobs AS
SELECT o.id, j.task, j.version, j.queue::text, o.finished_at, o.attempt AS attempts, o.error_type, o.error,
       (SELECT t.traceback FROM uno_jobs.attempts t WHERE t.job_id = o.id ORDER BY t.attempt DESC LIMIT 1) AS traceback,
       j.args, j.kwargs, coalesce(j.metadata, '{}') AS metadata
FROM uno_jobs.outcomes o
JOIN uno_jobs.jobs j ON j.id = o.id
WHERE o.state = 'failed';
COMMENT ON VIEW uno_jobs.failed_jobs IS 'Jobs that failed for good, with the last attempt''s traceback. ORDER BY finished_at DESC uses an index.';
COMMENT ON COLUMN uno_jobs.failed_jobs.id IS 'The job.';
COMMENT ON COLUMN uno_jobs.failed_jobs.task IS 'The task''s name.';
COMMENT ON COLUMN uno_jobs.failed_jobs.version IS 'The task''s version.';
COMMENT ON COLUMN uno_jobs.failed_jobs.queue IS 'The queue.';
COMMENT ON COLUMN uno_jobs.failed_jobs.finished_at IS 'When it failed for good.';
COMMENT ON COLUMN uno_jobs.failed_jobs.attempts IS 'How often it was started.';
COMMENT ON COLUMN uno_jobs.failed_jobs.error_type IS 'The last error''s class.';
COMMENT ON COLUMN uno_jobs.failed_jobs.error IS 'The last error''s message.';
COMMENT ON COLUMN uno_jobs.failed_jobs.traceback IS 'The last attempt''s traceback.';
COMMENT ON COLUMN uno_jobs.failed_jobs.args IS 'Positional arguments.';
COMMENT ON COLUMN uno_jobs.failed_jobs.kwargs IS 'Keyword arguments.';
COMMENT ON COLUMN uno_jobs.failed_jobs.metadata IS 'The caller''s metadata.';
