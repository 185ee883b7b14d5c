CREATE VIEW uno_jobs.job_attempts AS
SELECT a.job_id, j.task, j.version, j.queue::text, a.attempt, a.outcome, a.started_at, a.finished_at, a.worker_id, w.hostname, w.pid,
       a.error_type, a.error, a.traceback, a.peak_memory, a.error_after_commit
FROM uno_jobs.attempts a
LEFT JOIN uno_jobs.jobs j ON j.id = a.job_id
LEFT JOIN uno_jobs.workers w ON w.id = a.worker_id;
COMMENT ON VIEW uno_jobs.job_attempts IS 'One row for each attempt that has ended: when, where and how. A running attempt is in running_jobs.';
COMMENT ON COLUMN uno_jobs.job_attempts.job_id IS 'The job.';
COMMENT ON COLUMN uno_jobs.job_attempts.task IS 'The task''s name.';
COMMENT ON COLUMN uno_jobs.job_attempts.version IS 'The task''s version.';
COMMENT ON COLUMN uno_jobs.job_attempts.queue IS 'The queue.';
COMMENT ON COLUMN uno_jobs.job_attempts.attempt IS '1 for the first start.';
COMMENT ON COLUMN uno_jobs.job_attempts.outcome IS 'How it ended: succeeded, retried (failed, to be tried again), failed (for good), lost (with its worker), snoozed, handed_back or cancelled.';
COMMENT ON COLUMN uno_jobs.job_attempts.started_at IS 'When it was claimed.';
COMMENT ON COLUMN uno_jobs.job_attempts.finished_at IS 'When its end was recorded.';
COMMENT ON COLUMN uno_jobs.job_attempts.worker_id IS 'The worker that ran it; see worker_status.';
COMMENT ON COLUMN uno_jobs.job_attempts.hostname IS 'The worker''s host; null: that worker is no longer known.';
COMMENT ON COLUMN uno_jobs.job_attempts.pid IS 'The worker''s process id there.';
COMMENT ON COLUMN uno_jobs.job_attempts.error_type IS 'The error''s class, with its module.';
COMMENT ON COLUMN uno_jobs.job_attempts.error IS 'The error''s message, or the reason why it ended.';
COMMENT ON COLUMN uno_jobs.job_attempts.traceback IS 'The traceback, at most 32 kB.';
COMMENT ON COLUMN uno_jobs.job_attempts.peak_memory IS 'Peak memory in bytes, for an attempt that ran in a process of its own.';
COMMENT ON COLUMN uno_jobs.job_attempts.error_after_commit IS 'What the task raised after job.transaction() had committed its success; it changed nothing.';
