-- The states of a job, the ways in which an attempt can end, and what columns may hold.
CREATE TYPE uno_jobs.job_state AS ENUM
    ('waiting', 'scheduled', 'ready', 'running', 'succeeded', 'failed', 'cancelled');
COMMENT ON TYPE uno_jobs.job_state IS
    'States of a job: waiting (for its parents), scheduled (for its time), ready, running; succeeded, failed and cancelled are final.';

CREATE TYPE uno_jobs.attempt_outcome AS ENUM
    ('succeeded', 'failed', 'retried', 'snoozed', 'cancelled', 'handed_back', 'lost');
COMMENT ON TYPE uno_jobs.attempt_outcome IS
    'How an attempt ended. retried: failed, another follows. handed_back: given up unharmed by its worker. lost: its worker died.';

-- Domains, since a session keeps their rules ready: the CHECK constraints of a table are parsed anew by every INSERT.
CREATE DOMAIN uno_jobs.priority AS smallint CONSTRAINT priority_is_0_to_9 CHECK (VALUE BETWEEN 0 AND 9);
COMMENT ON DOMAIN uno_jobs.priority IS '0 to 9, lower runs first: critical 1, high 3, normal 5, low 7.';

CREATE DOMAIN uno_jobs.queue_name AS text
    CONSTRAINT queue_has_1_to_128_characters CHECK (length(VALUE) BETWEEN 1 AND 128);
COMMENT ON DOMAIN uno_jobs.queue_name IS 'The name of a queue, 1 to 128 characters.';
