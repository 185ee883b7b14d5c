CREATE FUNCTION uno_jobs.explain_ready(p_id uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_job record;
    v_able record;
    v_others text;
    v_ahead bigint;
    v_rate double precision;
    v_past text := '';
    v_facts jsonb;
BEGIN
    SELECT l.queue, l.task, l.version, l.priority, l.seq, l.failures, l.suspect, l.expires_at <= uno_jobs.clock() AS expired,
           q.paused_at, q.paused_by, nullif(q.pause_reason, '') AS pause_reason,
           c.job_id IS NOT NULL AS asked, nullif(c.reason, '') AS reason
    INTO v_job
    FROM uno_jobs.live_jobs l
    LEFT JOIN uno_jobs.queues q ON q.name = l.queue
    LEFT JOIN uno_jobs.cancel_requests c ON c.job_id = l.id
    WHERE l.id = p_id;
    v_facts := jsonb_build_object('queue', v_job.queue, 'task', v_job.task, 'version', v_job.version, 'priority', v_job.priority);
    IF v_job.asked THEN
        RETURN v_facts || jsonb_build_object('why', 'about_to_be_cancelled', 'sentence',
            'about to be cancelled, as was asked' || coalesce(': ' || uno_jobs.say_error(NULL, v_job.reason), ''));
    ELSIF v_job.expired THEN
        RETURN v_facts || jsonb_build_object('why', 'expired', 'sentence',
            'it has not started in time, and is cancelled as expired at the next look of a worker''s');
    ELSIF v_job.paused_at IS NOT NULL THEN
        RETURN v_facts || jsonb_build_object('why', 'queue_paused', 'paused_at', v_job.paused_at, 'paused_by', v_job.paused_by,
            'sentence', format('its queue %s is paused by %s since %s, %s ago%s', v_job.queue, v_job.paused_by,
                               uno_jobs.say_time(v_job.paused_at), uno_jobs.in_words(uno_jobs.clock() - v_job.paused_at),
                               ': ' || uno_jobs.say_error(NULL, v_job.pause_reason)));
    END IF;

    SELECT count(*) AS workers, count(*) FILTER (WHERE w.state = 'running') AS taking,
           count(*) FILTER (WHERE v_job.queue = ANY (w.queues)) AS serving,
           count(*) FILTER (WHERE w.able) AS able, min(w.name) FILTER (WHERE w.able) AS name,
           count(*) FILTER (WHERE w.able AND w.state = 'running') AS able_taking,
           coalesce(sum(w.concurrency) FILTER (WHERE w.able AND w.state = 'running'), 0) AS slots,
           coalesce(sum(w.running) FILTER (WHERE w.able AND w.state = 'running'), 0) AS running
    INTO v_able
    FROM (SELECT n.*, uno_jobs.say_worker(n.hostname, n.pid) AS name,
                 v_job.queue = ANY (n.queues) AND v_job.task || '@' || v_job.version = ANY (n.known) AS able,
                 (SELECT count(*) FROM uno_jobs.live_jobs r WHERE r.state = 'running' AND r.worker_id = n.id) AS running
          FROM uno_jobs.living_workers() n) w;
    v_facts := v_facts || jsonb_build_object('workers', v_able.workers, 'able_workers', v_able.able_taking,
                                             'slots', v_able.slots, 'busy_slots', v_able.running);
    IF v_able.workers = 0 THEN
        RETURN v_facts || jsonb_build_object('why', 'no_worker', 'sentence', 'no worker lives: nobody is there to run it');
    ELSIF v_able.serving = 0 THEN
        SELECT string_agg(o.queue, ', ' ORDER BY o.queue) INTO v_others
        FROM (SELECT DISTINCT u.queue FROM uno_jobs.living_workers() w CROSS JOIN unnest(w.queues) AS u (queue)
              ORDER BY 1 LIMIT 10) o;
        RETURN v_facts || jsonb_build_object('why', 'queue_not_served', 'sentence', format(
            'no living worker serves its queue %s (%s served: %s)', v_job.queue,
            CASE WHEN v_others LIKE '%, %' THEN 'these are' ELSE 'only this is' END, v_others));
    ELSIF v_able.able = 0 THEN
        SELECT string_agg(k.known, '; ' ORDER BY k.name) INTO v_others
        FROM (SELECT uno_jobs.say_worker(w.hostname, w.pid) AS name,
                     format('%s knows %s', uno_jobs.say_worker(w.hostname, w.pid), string_agg(v.version, ', ' ORDER BY v.version)) AS known
              FROM uno_jobs.living_workers() w
              CROSS JOIN LATERAL (SELECT substr(u.known, length(v_job.task) + 2) AS version FROM unnest(w.known) AS u (known)
                                  WHERE starts_with(u.known, v_job.task || '@')) v
              WHERE v_job.queue = ANY (w.queues)
              GROUP BY w.id, w.hostname, w.pid ORDER BY 1 LIMIT 3) k;
        RETURN v_facts || jsonb_build_object('why', CASE WHEN v_others IS NULL THEN 'task_unknown' ELSE 'version_unknown' END,
            'sentence', CASE WHEN v_others IS NULL
                THEN format('no living worker that serves its queue %s knows its task %s', v_job.queue, v_job.task)
                ELSE format('no living worker that serves its queue %s knows version %s of %s (%s)',
                            v_job.queue, v_job.version, v_job.task, v_others) END);
    ELSIF v_able.able_taking = 0 THEN
        RETURN v_facts || jsonb_build_object('why', 'workers_draining', 'sentence', format(
            'the only living %s could run it %s shutting down, and %s nothing more',
            CASE WHEN v_able.able = 1 THEN 'worker that' ELSE 'workers that' END,
            CASE WHEN v_able.able = 1 THEN 'is' ELSE 'are' END, CASE WHEN v_able.able = 1 THEN 'takes' ELSE 'take' END));
    END IF;

    IF v_job.failures > 0 THEN
        v_past := v_past || format('; it has failed %s before', uno_jobs.say_count(v_job.failures, 'time', 'times'));
    END IF;
    IF v_job.suspect THEN
        v_past := v_past || '; it runs alone, since a process died in which it ran before';
    END IF;
    v_ahead := (SELECT count(*) FROM (
        SELECT FROM uno_jobs.live_jobs l
        WHERE l.state = 'ready' AND l.queue = v_job.queue AND l.priority = v_job.priority AND l.seq < v_job.seq LIMIT 10001) c);
    IF v_ahead <= 10000 THEN
        v_ahead := v_ahead + (SELECT count(*) FROM (
            SELECT FROM uno_jobs.live_jobs l
            WHERE l.state = 'ready' AND l.queue = v_job.queue AND l.priority < v_job.priority LIMIT 10001 - v_ahead) c);
    END IF;
    IF v_ahead > 0 THEN
        v_rate := uno_jobs.recent_rate(v_job.queue);
        RETURN v_facts || jsonb_build_object('why', 'behind_others', 'ahead', v_ahead, 'jobs_per_second', round(v_rate::numeric, 3),
            'sentence', format('behind %s of the same or a higher priority in its queue %s; %s',
                uno_jobs.say_count(v_ahead, 'job', 'jobs'), v_job.queue,
                CASE WHEN v_rate > 0
                     THEN format('at the present rate %s %s', CASE WHEN v_ahead > 10000 THEN 'more than' ELSE 'about' END,
                                 uno_jobs.in_words(least(v_ahead / v_rate, 1e9) * interval '1 second'))
                     ELSE 'none of its queue has ended within the last minute' END) || v_past);
    END IF;
    RETURN v_facts || jsonb_build_object('ahead', 0,
        'why', CASE WHEN v_able.running >= v_able.slots THEN 'slots_busy' ELSE 'next' END,
        'sentence', 'first in line: ' || CASE
            WHEN v_able.running >= v_able.slots
            THEN format('it waits for one of the %s of the %s that can run it', uno_jobs.say_count(v_able.slots, 'busy slot', 'busy slots'),
                        CASE WHEN v_able.able_taking = 1 THEN 'worker' ELSE v_able.able_taking || ' workers' END)
            ELSE format('%s %s of %s free, and takes it at the next look, unless the limit set there for its queue %s is reached',
                        CASE WHEN v_able.able_taking = 1 THEN v_able.name || ' has' ELSE v_able.able_taking || ' workers have' END,
                        v_able.slots - v_able.running, uno_jobs.say_count(v_able.slots, 'slot', 'slots'), v_job.queue) END || v_past);
END $$;
COMMENT ON FUNCTION uno_jobs.explain_ready(uuid) IS
    'Why a ready job is not running: its queue, its task''s version, the workers, what is before it.';
