CREATE VIEW uno_jobs.retention_rules AS
SELECT r.scope, r.name, r.state, r.keep FROM uno_jobs.retention r;
COMMENT ON VIEW uno_jobs.retention_rules IS 'For how long finished jobs are kept. A task''s rule comes before its queue''s, that before the default.';
COMMENT ON COLUMN uno_jobs.retention_rules.scope IS 'default, queue or task.';
COMMENT ON COLUMN uno_jobs.retention_rules.name IS 'The queue or the task; empty for the default.';
COMMENT ON COLUMN uno_jobs.retention_rules.state IS 'succeeded, failed or cancelled.';
COMMENT ON COLUMN uno_jobs.retention_rules.keep IS 'For how long after their end; null: for ever.';
