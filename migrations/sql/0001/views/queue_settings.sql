-- Costs nothing whatever the backlog, where queue_status counts.
CREATE VIEW uno_jobs.queue_settings AS
SELECT q.name::text AS queue, q.paused_at, q.paused_by, q.pause_reason, q.weight
FROM uno_jobs.queues q;
COMMENT ON VIEW uno_jobs.queue_settings IS 'Each queue that has been given settings, without counting its jobs.';
COMMENT ON COLUMN uno_jobs.queue_settings.queue IS 'The queue.';
COMMENT ON COLUMN uno_jobs.queue_settings.paused_at IS 'Since when it is paused; null: it is not.';
COMMENT ON COLUMN uno_jobs.queue_settings.paused_by IS 'The role that paused it.';
COMMENT ON COLUMN uno_jobs.queue_settings.pause_reason IS 'Why it is paused.';
COMMENT ON COLUMN uno_jobs.queue_settings.weight IS 'Its share of workers'' free slots, relative to other queues.';
