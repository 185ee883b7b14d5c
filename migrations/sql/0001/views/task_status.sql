CREATE VIEW uno_jobs.task_status AS
SELECT v.task, v.version, v.description,
       (SELECT count(*) FROM uno_jobs.workers w
        WHERE w.state IN ('running', 'draining') AND w.beat_at > uno_jobs.clock() - interval '20 seconds'
          AND v.task || '@' || v.version = ANY (w.known)) AS living_workers,
       v.options, v.parameters, v.schema, v.first_seen, v.last_seen, v.sort_key
FROM uno_jobs.task_versions v;
COMMENT ON VIEW uno_jobs.task_status IS 'Each task and version that a worker has ever registered, and how many living workers can run it now.';
COMMENT ON COLUMN uno_jobs.task_status.task IS 'The task''s name.';
COMMENT ON COLUMN uno_jobs.task_status.version IS 'Its version.';
COMMENT ON COLUMN uno_jobs.task_status.description IS 'The task''s description.';
COMMENT ON COLUMN uno_jobs.task_status.living_workers IS 'Workers that live and can run it.';
COMMENT ON COLUMN uno_jobs.task_status.options IS 'The task''s options, for those who enqueue it by name.';
COMMENT ON COLUMN uno_jobs.task_status.parameters IS 'Its parameters in order: name, kind, whether required, default.';
COMMENT ON COLUMN uno_jobs.task_status.schema IS 'JSON schema of its arguments by name.';
COMMENT ON COLUMN uno_jobs.task_status.first_seen IS 'When a worker first registered it.';
COMMENT ON COLUMN uno_jobs.task_status.last_seen IS 'When a worker last registered it, to the hour.';
COMMENT ON COLUMN uno_jobs.task_status.sort_key IS 'Orders versions, COLLATE "C": 2.10 after 2.9.';
