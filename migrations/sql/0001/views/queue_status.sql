CREATE VIEW uno_jobs.queue_status AS
SELECT coalesce(c.queue, q.name) AS queue,
       coalesce(c.ready, 0) AS ready, coalesce(c.running, 0) AS running, coalesce(c.scheduled, 0) AS scheduled,
       coalesce(c.waiting, 0) AS waiting,
       c.oldest_ready,
       c.next_due,
       q.paused_at, q.paused_by
FROM (
    SELECT l.queue,
           count(*) FILTER (WHERE l.state = 'ready') AS ready,
           count(*) FILTER (WHERE l.state = 'running') AS running,
           count(*) FILTER (WHERE l.state = 'scheduled') AS scheduled,
           count(*) FILTER (WHERE l.state = 'waiting') AS waiting,
           (SELECT j.created_at FROM uno_jobs.live_jobs e JOIN uno_jobs.jobs j ON j.id = e.id
            WHERE e.state = 'ready' AND e.queue = l.queue ORDER BY e.seq LIMIT 1) AS oldest_ready,
           min(l.run_at) FILTER (WHERE l.state = 'scheduled') AS next_due
    FROM uno_jobs.live_jobs l GROUP BY l.queue
) c
FULL JOIN uno_jobs.queues q ON q.name = c.queue;
COMMENT ON VIEW uno_jobs.queue_status IS 'Each queue that has unfinished jobs or settings: how many in which state, and how old the oldest is.';
COMMENT ON COLUMN uno_jobs.queue_status.queue IS 'The queue.';
COMMENT ON COLUMN uno_jobs.queue_status.ready IS 'Jobs that a worker may take now.';
COMMENT ON COLUMN uno_jobs.queue_status.running IS 'Jobs that run.';
COMMENT ON COLUMN uno_jobs.queue_status.scheduled IS 'Jobs that wait for their time, retries among them.';
COMMENT ON COLUMN uno_jobs.queue_status.waiting IS 'Jobs that wait for their parents.';
COMMENT ON COLUMN uno_jobs.queue_status.oldest_ready IS 'When the ready job that is first in line was enqueued.';
COMMENT ON COLUMN uno_jobs.queue_status.next_due IS 'When the next scheduled job is due.';
COMMENT ON COLUMN uno_jobs.queue_status.paused_at IS 'Since when it is paused; null: it is not.';
COMMENT ON COLUMN uno_jobs.queue_status.paused_by IS 'Who paused it.';
