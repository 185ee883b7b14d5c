CREATE FUNCTION uno_jobs.explain_finished(p_id uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_job record;
    v_holder uuid;
    v_late text;
    v_when text;
    v_attempts text;
    v_sentence text;
BEGIN
    SELECT o.*, j.task, j.unique_key, coalesce(t.options ->> 'unique_until' = 'started', false) AND o.attempt > 0 AS key_is_over,
           b.state AS because_state, b.error_type AS because_type, b.error AS because_error
    INTO v_job
    FROM uno_jobs.outcomes o
    JOIN uno_jobs.jobs j ON j.id = o.id
    LEFT JOIN uno_jobs.task_versions t ON t.task = j.task AND t.version = j.version
    LEFT JOIN uno_jobs.outcomes b ON b.id = o.cancelled_because
    WHERE o.id = p_id;
    v_when := format('at %s, %s ago', uno_jobs.say_time(v_job.finished_at), uno_jobs.in_words(uno_jobs.clock() - v_job.finished_at));
    v_attempts := uno_jobs.say_count(v_job.attempt, 'attempt', 'attempts');
    CASE v_job.state
        WHEN 'succeeded' THEN
            SELECT a.error_after_commit INTO v_late FROM uno_jobs.attempts a WHERE a.job_id = p_id ORDER BY a.attempt DESC LIMIT 1;
            v_sentence := CASE WHEN v_job.task IS NULL THEN format('the results of a group were gathered %s', v_when)
                ELSE format('succeeded %s, in %s, at attempt %s', v_when,
                            uno_jobs.in_words(v_job.finished_at - v_job.started_at), v_job.attempt) END
                || coalesce('; after its own commit it raised ' || uno_jobs.say_error(NULL, v_late), '');
        WHEN 'failed' THEN
            v_sentence := format('failed after %s, %s%s', v_attempts, v_when, ': ' || uno_jobs.say_error(v_job.error_type, v_job.error))
                || CASE WHEN v_job.lost > 0
                        THEN format('; it took its process down %s', uno_jobs.say_count(v_job.lost, 'time', 'times')) ELSE '' END;
        ELSE
            v_sentence := format('cancelled %s, %s', v_when, CASE WHEN v_job.attempt = 0 THEN 'never started' ELSE 'after ' || v_attempts END)
                || CASE WHEN v_job.cancelled_because IS NULL THEN coalesce(': ' || uno_jobs.say_error(NULL, v_job.error), '')
                        ELSE format(': it waited for %s, which %s', uno_jobs.say_job(v_job.cancelled_because), CASE v_job.because_state
                            WHEN 'failed' THEN 'failed' || coalesce(' (' || uno_jobs.say_error(v_job.because_type, v_job.because_error) || ')', '')
                            WHEN 'cancelled' THEN 'was cancelled' || coalesce(' (' || uno_jobs.say_error(NULL, v_job.because_error) || ')', '')
                            WHEN 'succeeded' THEN 'did not succeed then, and has since'
                            ELSE 'did not succeed then' END) END;
    END CASE;
    -- Only here does a key that another job holds keep a job from anything: from being retried.
    IF v_job.state IN ('failed', 'cancelled') AND v_job.unique_key IS NOT NULL AND NOT v_job.key_is_over THEN
        SELECT l.id INTO v_holder FROM uno_jobs.live_jobs l WHERE l.task = v_job.task AND l.unique_key = v_job.unique_key;
        IF FOUND THEN
            v_sentence := v_sentence || format('; a retry would be refused: its unique key is held by job %s', v_holder);
        END IF;
    END IF;
    RETURN jsonb_build_object('why', v_job.state, 'finished_at', v_job.finished_at, 'attempts', v_job.attempt,
                              'cancelled_because', v_job.cancelled_because, 'key_held_by', v_holder, 'sentence', v_sentence);
END $$;
COMMENT ON FUNCTION uno_jobs.explain_finished(uuid) IS 'How a finished job ended, and what keeps it from being retried.';
