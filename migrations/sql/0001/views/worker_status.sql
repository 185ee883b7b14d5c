CREATE VIEW uno_jobs.worker_status AS
SELECT w.id, w.state, w.hostname, w.pid, w.supervisor_id, w.queues, w.concurrency,
       (SELECT count(*) FROM uno_jobs.live_jobs l WHERE l.state = 'running' AND l.worker_id = w.id) AS running,
       w.started_at, w.beat_at, uno_jobs.clock() - w.beat_at AS since_beat, w.stopped_at, w.cause, w.lost_jobs, w.known
FROM uno_jobs.workers w;
COMMENT ON VIEW uno_jobs.worker_status IS 'Worker processes, living and past.';
COMMENT ON COLUMN uno_jobs.worker_status.id IS 'The worker''s incarnation.';
COMMENT ON COLUMN uno_jobs.worker_status.state IS 'running, draining, stopped or dead.';
COMMENT ON COLUMN uno_jobs.worker_status.hostname IS 'Its host.';
COMMENT ON COLUMN uno_jobs.worker_status.pid IS 'Its process id there.';
COMMENT ON COLUMN uno_jobs.worker_status.supervisor_id IS 'The supervisor that started it.';
COMMENT ON COLUMN uno_jobs.worker_status.queues IS 'The queues that it serves.';
COMMENT ON COLUMN uno_jobs.worker_status.concurrency IS 'Jobs at once, at most.';
COMMENT ON COLUMN uno_jobs.worker_status.running IS 'Jobs that it runs now.';
COMMENT ON COLUMN uno_jobs.worker_status.started_at IS 'When it started.';
COMMENT ON COLUMN uno_jobs.worker_status.beat_at IS 'When it last beat.';
COMMENT ON COLUMN uno_jobs.worker_status.since_beat IS 'How long ago that was.';
COMMENT ON COLUMN uno_jobs.worker_status.stopped_at IS 'When it stopped or was found dead.';
COMMENT ON COLUMN uno_jobs.worker_status.cause IS 'What it died of.';
COMMENT ON COLUMN uno_jobs.worker_status.lost_jobs IS 'How many jobs it was running when it died.';
COMMENT ON COLUMN uno_jobs.worker_status.known IS 'What it can run, each as task@version.';
