CREATE VIEW uno_jobs.running_jobs AS
SELECT l.id, j.task, j.version, j.queue::text, j.priority::smallint, l.attempt, l.started_at,
       uno_jobs.clock() - l.started_at AS running_for,
       l.worker_id, w.hostname, w.pid, p.fraction AS progress, p.message AS progress_message, j.args, j.kwargs,
       coalesce(j.metadata, '{}') AS metadata
FROM uno_jobs.live_jobs l
JOIN uno_jobs.jobs j ON j.id = l.id
LEFT JOIN uno_jobs.workers w ON w.id = l.worker_id
LEFT JOIN uno_jobs.progress p ON p.job_id = l.id
WHERE l.state = 'running';
COMMENT ON VIEW uno_jobs.running_jobs IS 'What runs now, since when and where.';
COMMENT ON COLUMN uno_jobs.running_jobs.id IS 'The job.';
COMMENT ON COLUMN uno_jobs.running_jobs.task IS 'The task''s name.';
COMMENT ON COLUMN uno_jobs.running_jobs.version IS 'The task''s version.';
COMMENT ON COLUMN uno_jobs.running_jobs.queue IS 'The queue.';
COMMENT ON COLUMN uno_jobs.running_jobs.priority IS '0 to 9, lower runs first.';
COMMENT ON COLUMN uno_jobs.running_jobs.attempt IS '1 for the first start.';
COMMENT ON COLUMN uno_jobs.running_jobs.started_at IS 'When the attempt was claimed.';
COMMENT ON COLUMN uno_jobs.running_jobs.running_for IS 'For how long it has been running.';
COMMENT ON COLUMN uno_jobs.running_jobs.worker_id IS 'The worker that runs it.';
COMMENT ON COLUMN uno_jobs.running_jobs.hostname IS 'The worker''s host.';
COMMENT ON COLUMN uno_jobs.running_jobs.pid IS 'The worker''s process id there.';
COMMENT ON COLUMN uno_jobs.running_jobs.progress IS 'From 0 to 1, as the task says.';
COMMENT ON COLUMN uno_jobs.running_jobs.progress_message IS 'In the task''s own words.';
COMMENT ON COLUMN uno_jobs.running_jobs.args IS 'Positional arguments.';
COMMENT ON COLUMN uno_jobs.running_jobs.kwargs IS 'Keyword arguments.';
COMMENT ON COLUMN uno_jobs.running_jobs.metadata IS 'The caller''s metadata.';
