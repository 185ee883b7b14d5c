CREATE FUNCTION uno_jobs.explain_running(p_id uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_job record;
    v_living boolean;
    v_more text := '';
BEGIN
    SELECT l.worker_id, l.attempt, l.suspect, uno_jobs.clock() - l.started_at AS since, w.hostname, w.pid, w.state, w.cause,
           uno_jobs.clock() - w.beat_at AS since_beat, p.fraction, nullif(p.message, '') AS message,
           uno_jobs.clock() - c.requested_at AS since_asked, c.job_id IS NOT NULL AS asked, nullif(c.reason, '') AS reason
    INTO v_job
    FROM uno_jobs.live_jobs l
    LEFT JOIN uno_jobs.workers w ON w.id = l.worker_id
    LEFT JOIN uno_jobs.progress p ON p.job_id = l.id
    LEFT JOIN uno_jobs.cancel_requests c ON c.job_id = l.id
    WHERE l.id = p_id;
    v_living := EXISTS (SELECT FROM uno_jobs.living_workers() w WHERE w.id = v_job.worker_id);
    IF v_job.fraction IS NOT NULL THEN
        v_more := v_more || format('; %s %% done%s', round((v_job.fraction * 100)::numeric), ' (' || uno_jobs.say_error(NULL, v_job.message) || ')');
    END IF;
    IF v_job.suspect THEN
        v_more := v_more || '; it runs alone, since a process died in which it ran before';
    END IF;
    IF v_job.asked THEN
        v_more := v_more || format('; asked to stop %s ago%s', uno_jobs.in_words(v_job.since_asked), ': ' || uno_jobs.say_error(NULL, v_job.reason));
    END IF;
    RETURN jsonb_build_object(
        'why', CASE WHEN v_living THEN 'running' ELSE 'worker_gone' END, 'worker_id', v_job.worker_id,
        'hostname', v_job.hostname, 'pid', v_job.pid, 'attempt', v_job.attempt, 'seconds', extract(epoch FROM v_job.since),
        'seconds_since_beat', extract(epoch FROM v_job.since_beat), 'cancel_requested', v_job.asked,
        'sentence', format('running on %s (worker %s) for %s, attempt %s',
                           coalesce(uno_jobs.say_worker(v_job.hostname, v_job.pid), 'an unknown host'), v_job.worker_id,
                           uno_jobs.in_words(v_job.since), v_job.attempt)
            || CASE WHEN v_living
                    THEN format('; its worker''s last beat was %s ago', uno_jobs.in_words(v_job.since_beat))
                    WHEN v_job.state IN ('stopped', 'dead')
                    THEN format('; but that worker is %s%s, and the job is given to another soon', v_job.state, ' (' || v_job.cause || ')')
                    ELSE format('; but that worker has not beaten for %s: if it is dead, another living worker takes the job over',
                                coalesce(uno_jobs.in_words(v_job.since_beat), 'ever')) END
            || v_more);
END $$;
COMMENT ON FUNCTION uno_jobs.explain_running(uuid) IS 'Where a running job runs, for how long, and whether its worker lives.';
