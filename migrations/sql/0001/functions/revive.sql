-- A failed or cancelled job is retried, and with it what was cancelled because of it: outcomes become live rows again. Called
-- by try_retry, in callers' transactions: nothing that runs is locked. Parents of a revived job that are live elsewhere may
-- end at any moment, unseen by this transaction; so it waits for one more than it has, until recount has counted with locks.
-- A parent that has ended, but has yet to say so (pending_releases), is among them: it will be subtracted when it does.
--
-- A child that is live all the same (run_anyway) waits for each of them again. Where one had not said that it had ended,
-- that is one too many, until recount.
--
-- A mark (pending_counts) of a job's earlier life is taken over by writing to it: recount, which would forget it because it
-- cannot see the revived job yet, skips it until this transaction is over.
--
-- Another parent that failed by itself keeps its child cancelled, now because of that one. A join that runs anyway stays
-- ended where that leaves it no parent that is revived: it would wait for nobody.
CREATE FUNCTION uno_jobs.revive(p_root uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_ids uuid[];
    v_kept uuid[];
    v_parents uuid[];
    v_because uuid[];
    v_expected integer;
    v_revived integer;
    v_child uuid;
BEGIN
    -- Locked in the order of their ids, so that two who revive the same jobs come one after the other. Never by what a volatile
    -- function returns: it would be called for each row of the history.
    v_ids := uno_jobs.cancelled_by(p_root);
    PERFORM FROM uno_jobs.outcomes o WHERE o.id = ANY (v_ids) ORDER BY o.id FOR UPDATE;
    v_ids := uno_jobs.cancelled_by(p_root);
    -- An end that is being told in this moment may cancel more; one that was never told is no end any more.
    PERFORM FROM uno_jobs.pending_releases r
    WHERE r.job_id = p_root OR r.job_id = ANY (v_ids) ORDER BY r.job_id FOR UPDATE;
    v_ids := uno_jobs.cancelled_by(p_root);
    DELETE FROM uno_jobs.pending_releases r WHERE r.job_id = p_root;
    LOOP
        -- Any parent will do: of a group of which all have failed, all are looked at only by the last of their retries.
        SELECT array_agg(c.id), array_agg(k.parent_id), array_agg(k.because) INTO v_kept, v_parents, v_because
        FROM unnest(v_ids) AS c (id)
        CROSS JOIN LATERAL (
            SELECT coalesce((j.step ->> 'anyway')::boolean, false) AS anyway FROM uno_jobs.jobs j WHERE j.id = c.id OFFSET 0) j
        CROSS JOIN LATERAL (
            SELECT o.id AS parent_id, coalesce(o.cancelled_because, o.id) AS because
            FROM uno_jobs.job_edges e
            CROSS JOIN LATERAL (SELECT p.id, p.cancelled_because FROM uno_jobs.outcomes p
                                WHERE p.id = e.parent_id AND p.state <> 'succeeded' OFFSET 0) o
            WHERE e.child_id = c.id AND o.id <> p_root AND NOT o.id = ANY (v_ids)
              AND (NOT j.anyway
                   OR NOT EXISTS (SELECT FROM uno_jobs.job_edges r
                                  WHERE r.child_id = c.id AND (r.parent_id = p_root OR r.parent_id = ANY (v_ids))))
            LIMIT 1) k;
        EXIT WHEN v_kept IS NULL;
        -- What is retried in this moment is no reason to stay cancelled, and whoever retries it later has to see this.
        PERFORM FROM uno_jobs.outcomes o WHERE o.id = ANY (v_parents || v_because) ORDER BY o.id FOR SHARE;
        -- With what is below, down to what runs anyway, which the next round looks at: a round a step would take for ever.
        WITH RECURSIVE kept (id, because) AS (
            SELECT k.id, k.because FROM unnest(v_kept, v_parents, v_because) AS k (id, parent_id, because)
            WHERE EXISTS (SELECT FROM uno_jobs.outcomes p WHERE p.id = k.parent_id AND p.state <> 'succeeded')
            UNION
            SELECT e.child_id, k.because FROM kept k
            CROSS JOIN LATERAL (SELECT x.child_id FROM uno_jobs.job_edges x WHERE x.parent_id = k.id OFFSET 0) e
            CROSS JOIN LATERAL (SELECT FROM uno_jobs.outcomes o JOIN uno_jobs.jobs j ON j.id = o.id
                                WHERE o.id = e.child_id AND o.state = 'cancelled' AND o.cancelled_because = p_root
                                  AND NOT coalesce((j.step ->> 'anyway')::boolean, false) OFFSET 0) c
        ), blamed AS (
            UPDATE uno_jobs.outcomes o SET cancelled_because = k.because
            FROM (SELECT DISTINCT ON (k.id) k.id, k.because FROM kept k ORDER BY k.id) k WHERE o.id = k.id
            RETURNING o.id
        )
        SELECT coalesce(array_agg(b.id), '{}') INTO v_kept FROM blamed b;
        v_ids := ARRAY(SELECT i.id FROM unnest(v_ids) AS i (id) EXCEPT SELECT k.id FROM unnest(v_kept) AS k (id));
    END LOOP;
    -- What runs whatever its parents do, and still waits for others, waits for these again. A lock that waited for the last
    -- of those is taken on what has started; the block's rollback gives it back.
    FOR v_child IN
        SELECT DISTINCT l.id FROM uno_jobs.job_edges e JOIN uno_jobs.live_jobs l ON l.id = e.child_id
        WHERE (e.parent_id = p_root OR e.parent_id = ANY (v_ids)) AND l.state = 'waiting' ORDER BY l.id
    LOOP
        BEGIN
            UPDATE uno_jobs.live_jobs l
            SET pending_parents = l.pending_parents
                + (SELECT count(*) FROM uno_jobs.job_edges e
                   WHERE e.child_id = v_child AND (e.parent_id = p_root OR e.parent_id = ANY (v_ids)))
            WHERE l.id = v_child AND l.state = 'waiting'
            RETURNING l.id INTO STRICT v_child;
            INSERT INTO uno_jobs.pending_counts (job_id) VALUES (v_child)
            ON CONFLICT (job_id) DO UPDATE SET job_id = excluded.job_id;
        EXCEPTION WHEN no_data_found THEN
            CONTINUE;
        END;
    END LOOP;
    v_expected := cardinality(v_ids);
    IF v_expected = 0 THEN
        RETURN;
    END IF;

    WITH counted AS MATERIALIZED (
        SELECT c.id,
               (SELECT count(*) FROM uno_jobs.job_edges e WHERE e.child_id = c.id AND (e.parent_id = p_root OR e.parent_id = ANY (v_ids)))
                   AS ours,
               (SELECT count(*) FROM uno_jobs.job_edges e
                WHERE e.child_id = c.id AND e.parent_id <> p_root AND NOT e.parent_id = ANY (v_ids)
                  AND (EXISTS (SELECT FROM uno_jobs.live_jobs p WHERE p.id = e.parent_id)
                       OR EXISTS (SELECT FROM uno_jobs.pending_releases r WHERE r.job_id = e.parent_id))) AS others,
               -- Not succeeded, rather than live: one that has failed since the look above knew nothing of this child.
               EXISTS (SELECT FROM uno_jobs.job_edges e LEFT JOIN uno_jobs.outcomes o ON o.id = e.parent_id
                       WHERE e.child_id = c.id AND e.parent_id <> p_root AND NOT e.parent_id = ANY (v_ids)
                         AND o.state IS DISTINCT FROM 'succeeded') AS failed_or_live
        FROM unnest(v_ids) AS c (id)
    ), placed AS MATERIALIZED (
        SELECT c.id, c.ours + c.others AS parents, c.others > 0 OR c.failed_or_live AS marked FROM counted c
    ), back AS (
        INSERT INTO uno_jobs.live_jobs
            (id, state, run_at, attempt, pending_parents, priority, key_until_start, has_children, run_anyway, task, version, queue,
             unique_key)
        SELECT j.id, 'waiting', j.run_at, o.attempt, c.parents + c.marked::integer, j.priority, k.until_start,
               EXISTS (SELECT FROM uno_jobs.job_edges e WHERE e.parent_id = j.id),
               coalesce((j.step ->> 'anyway')::boolean, false), j.task, j.version, j.queue,
               CASE WHEN k.until_start AND o.attempt > 0 THEN NULL ELSE j.unique_key END
        FROM placed c JOIN uno_jobs.jobs j ON j.id = c.id JOIN uno_jobs.outcomes o ON o.id = c.id
        LEFT JOIN uno_jobs.task_versions t ON t.task = j.task AND t.version = j.version
        CROSS JOIN LATERAL (SELECT coalesce(t.options ->> 'unique_until' = 'started', false) AS until_start) k
        ON CONFLICT (task, unique_key) WHERE unique_key IS NOT NULL DO NOTHING
        RETURNING id
    ), marked AS (
        INSERT INTO uno_jobs.pending_counts (job_id) SELECT c.id FROM placed c WHERE c.marked ORDER BY c.id
        ON CONFLICT (job_id) DO UPDATE SET job_id = excluded.job_id
    )
    SELECT count(*) INTO v_revived FROM back;
    IF v_revived < v_expected THEN
        RAISE EXCEPTION 'the unique key of a job that was cancelled because of job % was taken in this moment', p_root
            USING ERRCODE = 'serialization_failure', HINT = 'Retry the transaction.';
    END IF;
    DELETE FROM uno_jobs.outcomes o WHERE o.id = ANY (v_ids);
    DELETE FROM uno_jobs.cancel_requests r WHERE r.job_id = ANY (v_ids);
    DELETE FROM uno_jobs.workflow_cancellations r WHERE r.job_id = ANY (v_ids);
    DELETE FROM uno_jobs.pending_releases r WHERE r.job_id = ANY (v_ids);
END $$;
COMMENT ON FUNCTION uno_jobs.revive(uuid) IS
    'Let jobs that were cancelled because of this one, which is retried, wait for it again.';
