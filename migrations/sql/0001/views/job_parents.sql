CREATE VIEW uno_jobs.job_parents AS
SELECT e.child_id AS job_id, e.parent_id, e.position, e.kind FROM uno_jobs.job_edges e;
COMMENT ON VIEW uno_jobs.job_parents IS 'Who waits for whom in workflows, one row a pair.';
COMMENT ON COLUMN uno_jobs.job_parents.job_id IS 'The job that waits, or waited.';
COMMENT ON COLUMN uno_jobs.job_parents.parent_id IS 'The job that must finish first.';
COMMENT ON COLUMN uno_jobs.job_parents.position IS 'The parent''s place among the job''s parents, from 0.';
COMMENT ON COLUMN uno_jobs.job_parents.kind IS 'chain: a step and the next. member: a group''s member and what follows the group.';
