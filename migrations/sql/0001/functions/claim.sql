-- Take ready jobs for a worker, at most p_slots, and mark them running under p_lease.
--
-- Per (queue, priority) one ordered scan of the index live_jobs_ready that skips what others have locked. p_floors holds, for
-- each queue ten numbers (one a priority): a scan starts behind its floor, so that dead rows and jobs that this worker
-- cannot run are not walked again and again; floor 0 is a full scan. Queues come in the order given; first each may
-- take its share of the free slots, then the rest goes round.
--
-- Shares are equal, the first in turn taking what does not divide, unless queues have weights: then what does not divide is
-- left to chance, so that also workers whose slots come free one by one keep to the weights, and every queue gets its turn.
--
-- Times are as the protocol sends them, microseconds since 2000 in eight bytes: most tasks never look at them, and bytes are
-- read ten times as fast.
--
-- Picking, marking and reading jobs are three statements. Reading last, with a fresh snapshot, sees a replace that
-- was committed before the row was locked. Planner switches: a plan made while the table was empty must not sort.
CREATE FUNCTION uno_jobs.claim(
    p_worker uuid, p_lease bigint, p_slots integer, p_queues text[], p_limits integer[], p_floors bigint[], p_known text[]
) RETURNS TABLE (
    id uuid, queue text, priority smallint, seq bigint, scan_us bigint,
    task text, version text, args text, kwargs text, metadata text,
    attempt integer, failures integer, lost smallint, suspect boolean,
    created_at bytea, run_at bytea, started_at bytea, workflow_id uuid, before text
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_sent bytea := timestamptz_send(v_now);
    v_free integer := p_slots;
    v_left integer[] := p_limits;
    v_queues integer := cardinality(p_queues);
    v_floor bigint;
    v_want integer;
    v_share integer;
    v_got integer;
    v_ids tid[];
    v_all tid[] := '{}';
    v_reached bigint;
    v_started timestamptz;
    v_weights integer[];
    v_rounds integer := 2;
    v_sum integer;
    v_ration integer;
    v_open boolean;
BEGIN
    -- 0: paused, or found to have nothing more.
    v_weights := ARRAY(
        SELECT coalesce((SELECT CASE WHEN k.paused_at IS NULL THEN k.weight ELSE 0 END FROM uno_jobs.queues k WHERE k.name = n.name), 1)
        FROM unnest(p_queues) WITH ORDINALITY AS n (name, place) ORDER BY n.place);
    IF 1 < ANY (v_weights) THEN
        v_rounds := 4;
    END IF;

    FOR v_round IN 1..v_rounds LOOP
        v_open := false;
        v_ration := v_free;
        IF v_rounds > 2 THEN
            v_sum := (SELECT sum(w.weight) FROM unnest(v_weights) AS w (weight));
        END IF;
        FOR q IN 1..v_queues LOOP
            CONTINUE WHEN v_weights[q] = 0;
            EXIT WHEN v_free <= 0;
            -- In the last round a queue may take all that is left, before that its share.
            v_share := CASE WHEN v_round = v_rounds THEN v_free
                            WHEN v_rounds = 2 THEN ceil(v_free::numeric / (v_queues - q + 1))
                            ELSE floor((v_ration * v_weights[q])::float8 / v_sum + random()) END;
            v_ration := v_ration - v_share;
            v_sum := v_sum - v_weights[q];
            v_want := least(v_share, v_left[q]);
            FOR p IN 0..9 LOOP
                EXIT WHEN v_want <= 0;
                v_floor := p_floors[(q - 1) * 10 + p + 1];
                v_started := clock_timestamp();
                -- The newest seq in sight belongs to the same snapshot as the scan: a scan that came back short
                -- reached it, whatever it passed over on the way.
                SELECT array_agg(s.ctid), count(*), max(s.seq),
                       (SELECT max(e.seq) FROM uno_jobs.live_jobs e
                        WHERE e.state = 'ready' AND e.queue = p_queues[q] AND e.priority = p AND e.seq > v_floor)
                INTO v_ids, v_got, seq, v_reached
                FROM (SELECT l.ctid, l.seq FROM uno_jobs.live_jobs l
                      WHERE l.state = 'ready' AND l.queue = p_queues[q] AND l.priority = p AND l.seq > v_floor
                        AND (l.expires_at IS NULL OR l.expires_at > v_now)
                        AND l.task || '@' || l.version = ANY (p_known)
                      ORDER BY l.seq LIMIT v_want
                      FOR UPDATE SKIP LOCKED) s;
                IF v_got < v_want THEN
                    seq := v_reached;
                END IF;
                scan_us := extract(epoch FROM clock_timestamp() - v_started) * 1e6;
                -- A scan that saw nothing is only worth a word if it took long: dead rows.
                IF seq IS NOT NULL OR scan_us > 500 THEN
                    id := NULL;
                    queue := p_queues[q];
                    priority := p;
                    RETURN NEXT;
                    p_floors[(q - 1) * 10 + p + 1] := coalesce(seq, v_floor);
                END IF;
                IF v_got > 0 THEN
                    v_all := v_all || v_ids;
                    v_free := v_free - v_got;
                    v_left[q] := v_left[q] - v_got;
                    v_want := v_want - v_got;
                END IF;
            END LOOP;
            IF v_want > 0 OR v_left[q] <= 0 THEN
                v_weights[q] := 0;
            ELSE
                v_open := true;
            END IF;
        END LOOP;
        EXIT WHEN v_free <= 0 OR NOT v_open;
    END LOOP;

    IF cardinality(v_all) > 0 THEN
        RETURN QUERY
        WITH started AS MATERIALIZED (
            UPDATE uno_jobs.live_jobs l
            SET state = 'running', worker_id = p_worker, lease = p_lease, started_at = v_now, attempt = l.attempt + 1,
                expires_at = NULL, unique_key = CASE WHEN l.key_until_start THEN NULL ELSE l.unique_key END
            WHERE l.ctid = ANY (v_all)
            RETURNING l.id, l.seq, l.attempt, l.failures, l.lost, l.suspect
        )
        SELECT s.id, j.queue::text, j.priority::smallint, s.seq, NULL::bigint,
               j.task, j.version, j.args::text, j.kwargs::text, j.metadata::text,
               s.attempt, s.failures, s.lost, s.suspect,
               timestamptz_send(j.created_at), timestamptz_send(j.run_at), v_sent, j.workflow_id,
               CASE WHEN j.step IS NOT NULL THEN coalesce(
                   -- What step_input would answer where there is no flow, spared the call.
                   (SELECT '{"flow": {}, "previous": ' || o.result::text || '}'
                    FROM uno_jobs.job_edges e
                    CROSS JOIN LATERAL (SELECT x.result, x.flow FROM uno_jobs.outcomes x WHERE x.id = e.parent_id OFFSET 0) o
                    WHERE e.child_id = j.id AND j.step ->> 'kind' = 'chain' AND NOT j.step ?| '{anyway,inner}'
                      AND (j.step ->> 'flow')::uuid = e.parent_id AND o.flow = '{}' AND jsonb_typeof(o.result) <> 'object'),
                   uno_jobs.step_input(j.id, j.step)::text) END
        FROM started s LEFT JOIN uno_jobs.jobs j ON j.id = s.id;
    END IF;
END $$;
COMMENT ON FUNCTION uno_jobs.claim(uuid, bigint, integer, text[], integer[], bigint[], text[]) IS
    'Take ready jobs. A row with an id is a claimed job; a row without one says up to which seq a queue''s priority was scanned, and in how many microseconds.';
