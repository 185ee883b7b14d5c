CREATE FUNCTION uno_jobs.explain_scheduled(p_id uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_job record;
    v_last record;
    v_retries integer;
    v_due text;
    v_why text;
    v_because text := '';
    v_held_up text := '';
BEGIN
    SELECT l.run_at, l.attempt, l.failures, l.queue, l.task, l.version, l.run_at - uno_jobs.clock() AS due_in,
           q.paused_at, (SELECT count(*) FROM uno_jobs.living_workers() w WHERE w.state = 'running') AS workers
    INTO v_job
    FROM uno_jobs.live_jobs l LEFT JOIN uno_jobs.queues q ON q.name = l.queue WHERE l.id = p_id;
    v_due := CASE WHEN v_job.due_in > interval '0'
                  THEN format('due in %s, at %s', uno_jobs.in_words(v_job.due_in), uno_jobs.say_time(v_job.run_at))
                  WHEN v_job.workers = 0
                  THEN format('was due %s ago, and no living worker is there to make it ready', uno_jobs.in_words(v_job.due_in))
                  ELSE format('was due %s ago, and is made ready at the next look', uno_jobs.in_words(v_job.due_in)) END;
    IF v_job.attempt = 0 THEN
        v_why := 'enqueued_for_later';
        v_because := ': it was enqueued for then';
    ELSE
        SELECT a.outcome, a.error_type, a.error INTO v_last
        FROM uno_jobs.attempts a WHERE a.job_id = p_id ORDER BY a.attempt DESC LIMIT 1;
        IF v_last.outcome = 'snoozed' THEN
            v_why := 'snoozed';
            v_because := format(': attempt %s asked to be run again then', v_job.attempt);
        ELSE
            v_why := 'retry';
            SELECT (t.options ->> 'max_retries')::integer INTO v_retries
            FROM uno_jobs.task_versions t WHERE t.task = v_job.task AND t.version = v_job.version;
            v_because := format(': retry %s%s%s', v_job.failures, ' of ' || v_retries,
                                ', after ' || uno_jobs.say_error(v_last.error_type, v_last.error));
        END IF;
    END IF;
    IF v_job.paused_at IS NOT NULL THEN
        v_held_up := format('; its queue %s is paused', v_job.queue);
    END IF;
    RETURN jsonb_build_object('why', v_why, 'due_at', v_job.run_at, 'failures', v_job.failures, 'max_retries', v_retries,
                              'sentence', v_due || v_because || v_held_up);
END $$;
COMMENT ON FUNCTION uno_jobs.explain_scheduled(uuid) IS 'Why a scheduled job waits for its time: a first start, a retry or a snooze.';
