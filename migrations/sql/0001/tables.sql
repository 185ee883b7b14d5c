-- The tables. A job has one row in jobs, and exactly one in either live_jobs or outcomes.
-- No foreign keys: each would lock a row of its parent on the hot path.

CREATE TABLE uno_jobs.schema_info (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision   integer NOT NULL,
    min_code   integer NOT NULL,
    channel    text    NOT NULL,
    for_tests  boolean NOT NULL DEFAULT false,
    made_on    integer,
    made_from  text
);
COMMENT ON TABLE  uno_jobs.schema_info IS 'One row: what this schema is, and what code it can serve.';
COMMENT ON COLUMN uno_jobs.schema_info.revision IS 'The number of the newest migration in force.';
COMMENT ON COLUMN uno_jobs.schema_info.min_code IS 'The oldest revision whose code this schema still serves.';
COMMENT ON COLUMN uno_jobs.schema_info.channel IS 'The NOTIFY channel of this schema; payloads say what and which queue.';
COMMENT ON COLUMN uno_jobs.schema_info.for_tests IS 'True only in a schema made for tests.';
COMMENT ON COLUMN uno_jobs.schema_info.made_on IS 'The major version of the server that recorded schema_objects.';
COMMENT ON COLUMN uno_jobs.schema_info.made_from IS 'A digest of the SQL that made the schema.';

CREATE TABLE uno_jobs.schema_objects (
    kind       text NOT NULL,
    name       text NOT NULL,
    definition text NOT NULL,
    PRIMARY KEY (kind, name)
);
COMMENT ON TABLE  uno_jobs.schema_objects IS 'What the last migration made, as schema_definitions told it then: the doctor compares.';
COMMENT ON COLUMN uno_jobs.schema_objects.kind IS 'table, column, constraint, index, trigger, rule, view, sequence, function or type.';
COMMENT ON COLUMN uno_jobs.schema_objects.name IS 'Its name, after that of its table if it has one.';
COMMENT ON COLUMN uno_jobs.schema_objects.definition IS 'Its definition.';

CREATE TABLE uno_jobs.jobs (
    id          uuid PRIMARY KEY,
    created_at  timestamptz NOT NULL,
    run_at      timestamptz,
    expires_at  timestamptz,
    workflow_id uuid,
    priority    uno_jobs.priority NOT NULL,
    task        text,
    version     text,
    queue       uno_jobs.queue_name NOT NULL,
    unique_key  text,
    args        jsonb NOT NULL,
    kwargs      jsonb NOT NULL,
    metadata    jsonb,
    step        jsonb,
    CONSTRAINT join_has_no_version CHECK ((task IS NULL) = (version IS NULL))
);
COMMENT ON TABLE  uno_jobs.jobs IS 'What was asked for, one row a job. Written once; only on_duplicate=replace changes a row, before the first start, and job.then, at the job''s end.';
COMMENT ON COLUMN uno_jobs.jobs.id IS 'UUIDv7, made by the client or given by the caller.';
COMMENT ON COLUMN uno_jobs.jobs.created_at IS 'When the enqueueing statement ran, by the database''s clock.';
COMMENT ON COLUMN uno_jobs.jobs.run_at IS 'The earliest start asked for; null: at once.';
COMMENT ON COLUMN uno_jobs.jobs.expires_at IS 'A job that has not started by then is cancelled; null: never.';
COMMENT ON COLUMN uno_jobs.jobs.workflow_id IS 'The workflow (chain or group) that this job belongs to, if any.';
COMMENT ON COLUMN uno_jobs.jobs.priority IS '0 to 9, lower runs first: critical 1, high 3, normal 5, low 7.';
COMMENT ON COLUMN uno_jobs.jobs.task IS 'The task''s name; null for a join, the place in a workflow where a group''s results come together.';
COMMENT ON COLUMN uno_jobs.jobs.version IS 'The task''s version; only a worker that knows it claims the job.';
COMMENT ON COLUMN uno_jobs.jobs.queue IS 'The queue, 1 to 128 characters.';
COMMENT ON COLUMN uno_jobs.jobs.unique_key IS 'The key under which at most one job of this task is unfinished; null: not unique.';
COMMENT ON COLUMN uno_jobs.jobs.args IS 'Positional arguments, a JSON array.';
COMMENT ON COLUMN uno_jobs.jobs.kwargs IS 'Keyword arguments, a JSON object.';
COMMENT ON COLUMN uno_jobs.jobs.metadata IS 'The caller''s metadata, a JSON object; null: none.';
COMMENT ON COLUMN uno_jobs.jobs.step IS 'What a step of a workflow finds before it, see step_input; null: nothing.';

CREATE INDEX jobs_workflow ON uno_jobs.jobs (workflow_id) WHERE workflow_id IS NOT NULL;

-- Drawn when a job becomes ready. CACHE 1, so that order is as fair as commits are; nothing needs it unique.
CREATE SEQUENCE uno_jobs.ready_seq AS bigint CACHE 1;
COMMENT ON SEQUENCE uno_jobs.ready_seq IS 'Order among ready jobs of one queue and priority.';

CREATE TABLE uno_jobs.live_jobs (
    id              uuid PRIMARY KEY,
    seq             bigint,
    lease           bigint,
    run_at          timestamptz,
    started_at      timestamptz,
    expires_at      timestamptz,
    worker_id       uuid,
    state           uno_jobs.job_state NOT NULL,
    attempt         integer  NOT NULL DEFAULT 0,
    failures        integer  NOT NULL DEFAULT 0,
    pending_parents integer  NOT NULL DEFAULT 0,
    priority        smallint NOT NULL,
    lost            smallint NOT NULL DEFAULT 0,
    suspect         boolean  NOT NULL DEFAULT false,
    key_until_start boolean  NOT NULL DEFAULT false,
    has_children    boolean  NOT NULL DEFAULT false,
    run_anyway      boolean  NOT NULL DEFAULT false,
    task            text,
    version         text,
    queue           text NOT NULL,
    unique_key      text,
    CONSTRAINT join_only_waits CHECK (task IS NOT NULL OR state = 'waiting'),
    -- As short as can be: every INSERT parses it. What comes after 'running' is final.
    CONSTRAINT state_is_live CHECK (state <= 'running'),
    CONSTRAINT running_has_lease CHECK ((state = 'running') = (lease IS NOT NULL AND worker_id IS NOT NULL))
) WITH (
    -- Small and hot: vacuumed by a count of dead rows, whatever its size, and without pauses.
    -- Half of each page is left for the rows that a claim writes anew: on the same page that is a tuple lock and some 40
    -- bytes of WAL less for each.
    fillfactor = 45,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_insert_scale_factor = 0.2,
    autovacuum_analyze_scale_factor = 0.1,
    autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);
COMMENT ON TABLE  uno_jobs.live_jobs IS 'Where each unfinished job stands. Small and hot: its size follows the backlog, not the history.';
COMMENT ON COLUMN uno_jobs.live_jobs.id IS 'The job.';
COMMENT ON COLUMN uno_jobs.live_jobs.seq IS 'Order among the ready; drawn when the job becomes ready, kept when it is handed back or rescued.';
COMMENT ON COLUMN uno_jobs.live_jobs.lease IS 'Identity of the attempt in progress, random; with worker_id it fences every outcome. Null unless running.';
COMMENT ON COLUMN uno_jobs.live_jobs.run_at IS 'When a scheduled job is due.';
COMMENT ON COLUMN uno_jobs.live_jobs.started_at IS 'When the attempt in progress was claimed. Null unless running.';
COMMENT ON COLUMN uno_jobs.live_jobs.expires_at IS 'Cancelled if it has not started by then; null once it has.';
COMMENT ON COLUMN uno_jobs.live_jobs.worker_id IS 'The incarnation of the worker that runs it. Null unless running.';
COMMENT ON COLUMN uno_jobs.live_jobs.state IS 'waiting, scheduled, ready or running.';
COMMENT ON COLUMN uno_jobs.live_jobs.attempt IS 'Starts so far; only grows.';
COMMENT ON COLUMN uno_jobs.live_jobs.failures IS 'Failed attempts (since the last retry by hand), compared with max_retries; handing back, snoozing and losses do not count.';
COMMENT ON COLUMN uno_jobs.live_jobs.pending_parents IS 'Unfinished parents.';
COMMENT ON COLUMN uno_jobs.live_jobs.priority IS '0 to 9, lower runs first.';
COMMENT ON COLUMN uno_jobs.live_jobs.lost IS 'Attempts (since the last retry by hand) that took their process down while nothing else ran in it.';
COMMENT ON COLUMN uno_jobs.live_jobs.suspect IS 'Was running, among others, when a process died.';
COMMENT ON COLUMN uno_jobs.live_jobs.key_until_start IS 'unique_until=started: the key is freed at the first start.';
COMMENT ON COLUMN uno_jobs.live_jobs.has_children IS 'Other jobs wait for this one.';
COMMENT ON COLUMN uno_jobs.live_jobs.run_anyway IS 'on_parent_failure=run: it starts when all its parents have ended, however they did.';
COMMENT ON COLUMN uno_jobs.live_jobs.task IS 'As in jobs; here for the claim and the unique index.';
COMMENT ON COLUMN uno_jobs.live_jobs.version IS 'As in jobs; here for the claim.';
COMMENT ON COLUMN uno_jobs.live_jobs.queue IS 'As in jobs; here for the claim.';
COMMENT ON COLUMN uno_jobs.live_jobs.unique_key IS 'The key that the job holds now; null when it holds none.';

-- The claim's index: literal predicate, sort keys first, no finished row in it.
CREATE INDEX live_jobs_ready ON uno_jobs.live_jobs (queue, priority, seq) WHERE state = 'ready';
CREATE INDEX live_jobs_scheduled ON uno_jobs.live_jobs (run_at) WHERE state = 'scheduled';
-- For those who look at one queue: a job that is ready from the start, and one that runs, never enter it.
CREATE INDEX live_jobs_pending ON uno_jobs.live_jobs (queue, state, run_at) WHERE state IN ('waiting', 'scheduled');
CREATE INDEX live_jobs_running ON uno_jobs.live_jobs (worker_id) WHERE state = 'running';
CREATE INDEX live_jobs_expiring ON uno_jobs.live_jobs (expires_at) WHERE expires_at IS NOT NULL;
CREATE UNIQUE INDEX live_jobs_unique_key ON uno_jobs.live_jobs (task, unique_key) WHERE unique_key IS NOT NULL;

CREATE TABLE uno_jobs.attempts (
    job_id        uuid NOT NULL,
    lease         bigint NOT NULL,
    started_at    timestamptz NOT NULL,
    finished_at   timestamptz NOT NULL,
    worker_id     uuid NOT NULL,
    attempt       integer NOT NULL,
    outcome       uno_jobs.attempt_outcome NOT NULL,
    error_type    text,
    error         text,
    traceback     text,
    peak_memory   bigint,
    error_after_commit text,
    PRIMARY KEY (job_id, lease)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);
COMMENT ON TABLE  uno_jobs.attempts IS 'Each attempt that has ended, one row a start.';
COMMENT ON COLUMN uno_jobs.attempts.job_id IS 'The job.';
COMMENT ON COLUMN uno_jobs.attempts.lease IS 'The attempt''s identity.';
COMMENT ON COLUMN uno_jobs.attempts.started_at IS 'When it was claimed.';
COMMENT ON COLUMN uno_jobs.attempts.finished_at IS 'When its end was recorded.';
COMMENT ON COLUMN uno_jobs.attempts.worker_id IS 'The incarnation of the worker that ran it; see workers.';
COMMENT ON COLUMN uno_jobs.attempts.attempt IS '1 for the first start.';
COMMENT ON COLUMN uno_jobs.attempts.outcome IS 'How it ended.';
COMMENT ON COLUMN uno_jobs.attempts.error_type IS 'The error''s class, with its module.';
COMMENT ON COLUMN uno_jobs.attempts.error IS 'The error''s message, or the reason why it ended.';
COMMENT ON COLUMN uno_jobs.attempts.traceback IS 'The traceback, at most 32 kB.';
COMMENT ON COLUMN uno_jobs.attempts.peak_memory IS 'Peak memory in bytes, for an attempt that ran in a process of its own.';
COMMENT ON COLUMN uno_jobs.attempts.error_after_commit IS 'What the task raised after job.transaction() had committed its success; it changed nothing.';

CREATE TABLE uno_jobs.outcomes (
    id                uuid PRIMARY KEY,
    finished_at       timestamptz NOT NULL,
    started_at        timestamptz,
    state             uno_jobs.job_state NOT NULL,
    attempt           integer NOT NULL,
    failures          integer NOT NULL,
    lost              smallint NOT NULL,
    result            jsonb,
    error_type        text,
    error             text,
    cancelled_because uuid,
    flow              jsonb,
    CONSTRAINT state_is_final CHECK (state IN ('succeeded', 'failed', 'cancelled'))
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);
COMMENT ON TABLE  uno_jobs.outcomes IS 'How each finished job ended, one row a job.';
COMMENT ON COLUMN uno_jobs.outcomes.id IS 'The job.';
COMMENT ON COLUMN uno_jobs.outcomes.finished_at IS 'When its end was recorded.';
COMMENT ON COLUMN uno_jobs.outcomes.started_at IS 'When its last attempt was claimed; null: it never started.';
COMMENT ON COLUMN uno_jobs.outcomes.state IS 'succeeded, failed or cancelled.';
COMMENT ON COLUMN uno_jobs.outcomes.attempt IS 'How often it was started.';
COMMENT ON COLUMN uno_jobs.outcomes.failures IS 'Failed attempts.';
COMMENT ON COLUMN uno_jobs.outcomes.lost IS 'Attempts that took their process down alone.';
COMMENT ON COLUMN uno_jobs.outcomes.result IS 'What the task returned.';
COMMENT ON COLUMN uno_jobs.outcomes.error_type IS 'The last error''s class.';
COMMENT ON COLUMN uno_jobs.outcomes.error IS 'The last error''s message, or why it was cancelled.';
COMMENT ON COLUMN uno_jobs.outcomes.cancelled_because IS 'The job whose failure or cancellation ended this one.';
COMMENT ON COLUMN uno_jobs.outcomes.flow IS 'Where the steps before it gave what flows on, see flow_after; null: not noted.';

-- finished_at follows the heap's order, so that a BRIN index of a few pages serves 'the last hour' at any depth.
CREATE INDEX outcomes_finished ON uno_jobs.outcomes USING brin (finished_at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX outcomes_failed ON uno_jobs.outcomes (finished_at) WHERE state = 'failed';

CREATE TABLE uno_jobs.job_edges (
    parent_id uuid NOT NULL,
    child_id  uuid NOT NULL,
    kind      text NOT NULL,
    position  integer NOT NULL,
    PRIMARY KEY (parent_id, child_id)
);
CREATE INDEX job_edges_child ON uno_jobs.job_edges (child_id);
COMMENT ON TABLE  uno_jobs.job_edges IS 'Who waits for whom in a workflow.';
COMMENT ON COLUMN uno_jobs.job_edges.parent_id IS 'The job that must finish first.';
COMMENT ON COLUMN uno_jobs.job_edges.child_id IS 'The job that waits for it.';
COMMENT ON COLUMN uno_jobs.job_edges.kind IS 'chain: a step and the next; member: a group''s member and what follows the group.';
COMMENT ON COLUMN uno_jobs.job_edges.position IS 'The parent''s place among the child''s parents.';

CREATE TABLE uno_jobs.pending_releases (
    job_id uuid PRIMARY KEY
);
COMMENT ON TABLE  uno_jobs.pending_releases IS 'Jobs whose end has yet to reach those that wait for them; nearly always empty.';
COMMENT ON COLUMN uno_jobs.pending_releases.job_id IS 'The job that has ended.';

CREATE TABLE uno_jobs.pending_counts (
    job_id uuid PRIMARY KEY
);
COMMENT ON TABLE  uno_jobs.pending_counts IS 'Jobs whose parents are still to be counted: revived ones (until then each waits for one more than it has), and those whose count was found wrong.';
COMMENT ON COLUMN uno_jobs.pending_counts.job_id IS 'The job whose parents are to be counted.';

CREATE TABLE uno_jobs.task_versions (
    task        text NOT NULL,
    version     text NOT NULL,
    sort_key    text NOT NULL,
    description text,
    options     jsonb NOT NULL,
    parameters  jsonb NOT NULL,
    schema      jsonb NOT NULL,
    first_seen  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    PRIMARY KEY (task, version)
);
COMMENT ON TABLE  uno_jobs.task_versions IS 'What workers can run: each task and version that a worker has registered.';
COMMENT ON COLUMN uno_jobs.task_versions.task IS 'The task''s name.';
COMMENT ON COLUMN uno_jobs.task_versions.version IS 'Its version.';
COMMENT ON COLUMN uno_jobs.task_versions.sort_key IS 'Orders versions: 2.10 after 2.9.';
COMMENT ON COLUMN uno_jobs.task_versions.description IS 'The task''s description.';
COMMENT ON COLUMN uno_jobs.task_versions.options IS 'The task''s options, for those who enqueue it by name.';
COMMENT ON COLUMN uno_jobs.task_versions.parameters IS 'Its parameters in order: name, kind, whether required, default.';
COMMENT ON COLUMN uno_jobs.task_versions.schema IS 'JSON schema of its arguments by name.';
COMMENT ON COLUMN uno_jobs.task_versions.first_seen IS 'When a worker first registered it.';
COMMENT ON COLUMN uno_jobs.task_versions.last_seen IS 'When a worker last registered it.';

CREATE TABLE uno_jobs.workers (
    id            uuid PRIMARY KEY,
    supervisor_id uuid NOT NULL,
    lock_key      bigint,
    started_at    timestamptz NOT NULL,
    beat_at       timestamptz NOT NULL,
    stopped_at    timestamptz,
    beat          bigint NOT NULL DEFAULT 0,
    pid           integer NOT NULL,
    concurrency   integer NOT NULL,
    lost_jobs     integer,
    revision      integer NOT NULL,
    hostname      text NOT NULL,
    state         text NOT NULL CHECK (state IN ('running', 'draining', 'stopped', 'dead')),
    queues        text[] NOT NULL,
    known         text[] NOT NULL,
    cause         text
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX workers_living ON uno_jobs.workers (id) WHERE state IN ('running', 'draining');
COMMENT ON TABLE  uno_jobs.workers IS 'Worker processes, living and past; one row an incarnation.';
COMMENT ON COLUMN uno_jobs.workers.id IS 'Random; new at every start of a process and after a reconnect that followed a restart of the server.';
COMMENT ON COLUMN uno_jobs.workers.supervisor_id IS 'The supervisor process that started it and beats for it.';
COMMENT ON COLUMN uno_jobs.workers.lock_key IS 'Key of the advisory lock that its supervisor holds while it lives; null: it holds none (behind a pooler).';
COMMENT ON COLUMN uno_jobs.workers.started_at IS 'When it registered.';
COMMENT ON COLUMN uno_jobs.workers.beat_at IS 'When it last beat.';
COMMENT ON COLUMN uno_jobs.workers.stopped_at IS 'When it stopped or was found dead.';
COMMENT ON COLUMN uno_jobs.workers.beat IS 'Grows with every beat; observers compare values, never times.';
COMMENT ON COLUMN uno_jobs.workers.pid IS 'Its process id on its host.';
COMMENT ON COLUMN uno_jobs.workers.concurrency IS 'Jobs at once, at most.';
COMMENT ON COLUMN uno_jobs.workers.lost_jobs IS 'How many jobs it was running when it died.';
COMMENT ON COLUMN uno_jobs.workers.revision IS 'The schema revision that its code was made for.';
COMMENT ON COLUMN uno_jobs.workers.hostname IS 'Its host.';
COMMENT ON COLUMN uno_jobs.workers.state IS 'running, draining (finishing what it runs), stopped, or dead (found so by another).';
COMMENT ON COLUMN uno_jobs.workers.queues IS 'The queues that it serves, in order.';
COMMENT ON COLUMN uno_jobs.workers.known IS 'What it can run, each as task@version.';
COMMENT ON COLUMN uno_jobs.workers.cause IS 'What it died of, where known.';

CREATE TABLE uno_jobs.queues (
    name         uno_jobs.queue_name PRIMARY KEY,
    paused_at    timestamptz,
    paused_by    text,
    pause_reason text,
    weight       smallint NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 100)
);
COMMENT ON TABLE  uno_jobs.queues IS 'Queues that have been given settings; a queue needs no row here to be used.';
COMMENT ON COLUMN uno_jobs.queues.name IS 'The queue.';
COMMENT ON COLUMN uno_jobs.queues.paused_at IS 'Since when workers take nothing from it; null: not paused.';
COMMENT ON COLUMN uno_jobs.queues.paused_by IS 'The role that paused it.';
COMMENT ON COLUMN uno_jobs.queues.pause_reason IS 'Why it is paused, in that one''s words.';
COMMENT ON COLUMN uno_jobs.queues.weight IS 'Its share of a worker''s free slots, beside queues that have work too: 3 gets three times what 1 gets.';

-- Unlogged: hints only, worthless after a crash. The time only moves within a row, so updates stay on its page.
CREATE UNLOGGED TABLE uno_jobs.hungry (
    queue     text NOT NULL,
    worker_id uuid NOT NULL,
    until     timestamptz NOT NULL,
    PRIMARY KEY (queue, worker_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE  uno_jobs.hungry IS 'Workers with free slots that sleep until somebody notifies them.';
COMMENT ON COLUMN uno_jobs.hungry.queue IS 'The queue it would take from.';
COMMENT ON COLUMN uno_jobs.hungry.worker_id IS 'The worker.';
COMMENT ON COLUMN uno_jobs.hungry.until IS 'The mark holds until then.';

CREATE TABLE uno_jobs.cancel_requests (
    job_id       uuid PRIMARY KEY,
    requested_at timestamptz NOT NULL,
    reason       text
);
COMMENT ON TABLE  uno_jobs.cancel_requests IS 'Requests to cancel jobs that run; the worker that runs one acts on it. Where it no longer runs, apply_cancellations does.';
COMMENT ON COLUMN uno_jobs.cancel_requests.job_id IS 'The job.';
COMMENT ON COLUMN uno_jobs.cancel_requests.requested_at IS 'When it was asked for.';
COMMENT ON COLUMN uno_jobs.cancel_requests.reason IS 'Why.';

CREATE TABLE uno_jobs.workflow_cancellations (
    job_id uuid PRIMARY KEY,
    reason text
);
COMMENT ON TABLE  uno_jobs.workflow_cancellations IS 'Jobs that were unfinished when their workflow was cancelled: what they add to it until they have ended is cancelled as well. Nearly always empty.';
COMMENT ON COLUMN uno_jobs.workflow_cancellations.job_id IS 'The job.';
COMMENT ON COLUMN uno_jobs.workflow_cancellations.reason IS 'Why the workflow was cancelled.';

CREATE TABLE uno_jobs.result_waiters (
    job_id    uuid NOT NULL,
    waiter_id uuid NOT NULL,
    until     timestamptz NOT NULL,
    PRIMARY KEY (job_id, waiter_id)
);
COMMENT ON TABLE  uno_jobs.result_waiters IS 'Processes that wait for a job''s end; its completion notifies them.';
COMMENT ON COLUMN uno_jobs.result_waiters.job_id IS 'The job.';
COMMENT ON COLUMN uno_jobs.result_waiters.waiter_id IS 'The process that waits.';
COMMENT ON COLUMN uno_jobs.result_waiters.until IS 'It waits no longer than until then.';

CREATE TABLE uno_jobs.progress (
    job_id     uuid PRIMARY KEY,
    updated_at timestamptz NOT NULL,
    fraction   real NOT NULL CHECK (fraction BETWEEN 0 AND 1),
    message    text NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE  uno_jobs.progress IS 'How far running jobs say that they are.';
COMMENT ON COLUMN uno_jobs.progress.job_id IS 'The job.';
COMMENT ON COLUMN uno_jobs.progress.updated_at IS 'When it said so.';
COMMENT ON COLUMN uno_jobs.progress.fraction IS 'From 0 to 1.';
COMMENT ON COLUMN uno_jobs.progress.message IS 'In its own words.';

CREATE TABLE uno_jobs.chore_leases (
    chore     text PRIMARY KEY,
    holder    uuid NOT NULL,
    term      bigint NOT NULL,
    until     timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE  uno_jobs.chore_leases IS 'Which worker does the chores; they are safe under two, this spares the work.';
COMMENT ON COLUMN uno_jobs.chore_leases.chore IS 'The chore.';
COMMENT ON COLUMN uno_jobs.chore_leases.holder IS 'The worker that does it.';
COMMENT ON COLUMN uno_jobs.chore_leases.term IS 'Grows with every change of holder.';
COMMENT ON COLUMN uno_jobs.chore_leases.until IS 'The holder renews before then.';

CREATE TABLE uno_jobs.retention (
    scope text NOT NULL CHECK (scope IN ('default', 'queue', 'task')),
    name  text NOT NULL,
    state uno_jobs.job_state NOT NULL CHECK (state IN ('succeeded', 'failed', 'cancelled')),
    keep  interval CHECK (keep BETWEEN interval '0' AND interval '1000 years'),
    PRIMARY KEY (scope, name, state),
    CONSTRAINT default_has_no_name CHECK ((scope = 'default') = (name = ''))
);
COMMENT ON TABLE  uno_jobs.retention IS 'For how long finished jobs are kept. A task''s rule comes before its queue''s, and that before the default.';
COMMENT ON COLUMN uno_jobs.retention.scope IS 'default, queue or task.';
COMMENT ON COLUMN uno_jobs.retention.name IS 'The queue''s or the task''s name; empty for the default.';
COMMENT ON COLUMN uno_jobs.retention.state IS 'How the jobs ended.';
COMMENT ON COLUMN uno_jobs.retention.keep IS 'How long after their end they are kept; null: for ever.';
INSERT INTO uno_jobs.retention (scope, name, state, keep)
VALUES ('default', '', 'succeeded', '7 days'), ('default', '', 'failed', '30 days'), ('default', '', 'cancelled', '7 days');

CREATE TABLE uno_jobs.retention_walks (
    walk      text PRIMARY KEY,
    keep      interval,
    rules     text,
    reached   uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    kept_workflow uuid,
    resume_at timestamptz NOT NULL DEFAULT '-infinity',
    removed   bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON TABLE  uno_jobs.retention_walks IS 'How far the removal of finished jobs has come, so that what is kept is not looked at again and again.';
COMMENT ON COLUMN uno_jobs.retention_walks.walk IS 'The time for which what it removes is kept; lap: it goes round and finds what the others passed by.';
COMMENT ON COLUMN uno_jobs.retention_walks.keep IS 'The same as an interval; null for the lap.';
COMMENT ON COLUMN uno_jobs.retention_walks.rules IS 'In the lap''s row, a digest of the rules under which all have walked; when they change, all begin anew.';
COMMENT ON COLUMN uno_jobs.retention_walks.reached IS 'The last job that it has passed, in the order of ids.';
COMMENT ON COLUMN uno_jobs.retention_walks.kept_workflow IS 'The workflow of that job, where it was found to be kept.';
COMMENT ON COLUMN uno_jobs.retention_walks.resume_at IS 'There is nothing to do for it before then.';
COMMENT ON COLUMN uno_jobs.retention_walks.removed IS 'Jobs that it has removed.';
INSERT INTO uno_jobs.retention_walks (walk, rules) VALUES ('lap', '');
