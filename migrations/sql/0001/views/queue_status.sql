CREATE VIEW uno_jobs.queue_status AS
SELECT c.queue, c.ready, c.running, c.scheduled, c.waiting, c.oldest_ready, c.next_due, q.paused_at, q.paused_by,
       q.pause_reason,
       coalesce(q.weight, 1) AS weight,
       (SELECT count(*) FROM uno_jobs.living_workers() w WHERE c.queue = ANY (w.queues)) AS workers
FROM uno_jobs.queue_counts() c
LEFT JOIN uno_jobs.queues q ON q.name = c.queue;
COMMENT ON VIEW uno_jobs.queue_status IS 'Each queue that has unfinished jobs, settings or a living worker: how many jobs in which state, and how old the oldest is. A count above 10,000 is an estimate.';
COMMENT ON COLUMN uno_jobs.queue_status.queue IS 'The queue.';
COMMENT ON COLUMN uno_jobs.queue_status.ready IS 'Jobs that a worker may take now.';
COMMENT ON COLUMN uno_jobs.queue_status.running IS 'Jobs that run.';
COMMENT ON COLUMN uno_jobs.queue_status.scheduled IS 'Jobs that wait for their time, retries among them.';
COMMENT ON COLUMN uno_jobs.queue_status.waiting IS 'Jobs that wait for their parents.';
COMMENT ON COLUMN uno_jobs.queue_status.oldest_ready IS 'When the oldest of the ready jobs that are first in line, one a priority, was enqueued.';
COMMENT ON COLUMN uno_jobs.queue_status.next_due IS 'When the next scheduled job is due.';
COMMENT ON COLUMN uno_jobs.queue_status.paused_at IS 'Since when it is paused; null: it is not.';
COMMENT ON COLUMN uno_jobs.queue_status.paused_by IS 'The role that paused it.';
COMMENT ON COLUMN uno_jobs.queue_status.pause_reason IS 'Why it is paused.';
COMMENT ON COLUMN uno_jobs.queue_status.weight IS 'Its share of workers'' free slots, relative to other queues.';
COMMENT ON COLUMN uno_jobs.queue_status.workers IS 'Living workers that serve it.';
