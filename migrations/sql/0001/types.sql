-- The states of a job, and the ways in which an attempt can end.
CREATE TYPE uno_jobs.job_state AS ENUM
    ('waiting', 'scheduled', 'ready', 'running', 'succeeded', 'failed', 'cancelled');
COMMENT ON TYPE uno_jobs.job_state IS
    'States of a job: waiting (for its parents), scheduled (for its time), ready, running; succeeded, failed and cancelled are final.';

CREATE TYPE uno_jobs.attempt_outcome AS ENUM
    ('succeeded', 'failed', 'retried', 'snoozed', 'cancelled', 'handed_back', 'lost');
COMMENT ON TYPE uno_jobs.attempt_outcome IS
    'How an attempt ended. retried: failed, another follows. handed_back: given up unharmed by its worker. lost: its worker died.';
