-- Jobs that were revived while parents of theirs were live, or whose count mend_waiting found wrong. Here, in a short
-- transaction, those parents are locked, so that none can end between the look and the count; what somebody else holds is
-- left for the next round. A parent that has ended, but has yet to say so (pending_releases), is still waited for: it will be
-- subtracted when it does.
CREATE FUNCTION uno_jobs.recount(p_limit integer) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_id uuid;
    v_child record;
    v_live integer;
    v_locked integer;
    v_failed uuid;
    v_done integer := 0;
BEGIN
    FOR v_id IN
        SELECT m.job_id FROM uno_jobs.pending_counts m LIMIT p_limit FOR UPDATE SKIP LOCKED
    LOOP
        SELECT l.id, l.task, l.queue, l.run_at, l.run_anyway, l.has_children, l.attempt, l.failures, l.lost INTO v_child
        FROM uno_jobs.live_jobs l WHERE l.id = v_id AND l.state = 'waiting' FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            -- Ended, or held: only what is no longer waiting is forgotten. (v_child is null by now.)
            DELETE FROM uno_jobs.pending_counts m
            WHERE m.job_id = v_id
              AND NOT EXISTS (SELECT FROM uno_jobs.live_jobs l WHERE l.id = m.job_id AND l.state = 'waiting');
            CONTINUE;
        END IF;
        SELECT count(*) INTO v_locked
        FROM (SELECT p.id FROM uno_jobs.live_jobs p
              WHERE p.id IN (SELECT e.parent_id FROM uno_jobs.job_edges e WHERE e.child_id = v_child.id)
              ORDER BY p.id FOR UPDATE SKIP LOCKED) k;
        SELECT v_locked + count(*) INTO v_locked
        FROM (SELECT r.job_id FROM uno_jobs.pending_releases r
              WHERE r.job_id IN (SELECT e.parent_id FROM uno_jobs.job_edges e WHERE e.child_id = v_child.id)
              ORDER BY r.job_id FOR UPDATE SKIP LOCKED) k;
        SELECT count(*) INTO v_live
        FROM uno_jobs.job_edges e
        WHERE e.child_id = v_child.id
          AND (EXISTS (SELECT FROM uno_jobs.live_jobs p WHERE p.id = e.parent_id)
               OR EXISTS (SELECT FROM uno_jobs.pending_releases r WHERE r.job_id = e.parent_id));
        CONTINUE WHEN v_live > v_locked;

        DELETE FROM uno_jobs.pending_counts m WHERE m.job_id = v_child.id;
        v_done := v_done + 1;
        SELECT coalesce(o.cancelled_because, o.id) INTO v_failed
        FROM uno_jobs.job_edges e JOIN uno_jobs.outcomes o ON o.id = e.parent_id
        WHERE e.child_id = v_child.id AND o.state <> 'succeeded' ORDER BY e.position LIMIT 1;
        IF FOUND AND NOT v_child.run_anyway THEN
            DELETE FROM uno_jobs.live_jobs l WHERE l.id = v_child.id;
            INSERT INTO uno_jobs.outcomes (id, finished_at, state, attempt, failures, lost, error, cancelled_because)
            VALUES (v_child.id, v_now, 'cancelled', v_child.attempt, v_child.failures, v_child.lost,
                    format('job %s, which it waited for, did not succeed', v_failed), v_failed);
            PERFORM uno_jobs.tidy_finished(ARRAY[v_child.id]);
            PERFORM uno_jobs.tell_children(ARRAY[v_child.id]);
        ELSE
            UPDATE uno_jobs.live_jobs l
            SET pending_parents = v_live,
                state = CASE WHEN v_live > 0 OR v_child.task IS NULL THEN 'waiting' WHEN v_child.run_at > v_now THEN 'scheduled'
                             ELSE 'ready' END::uno_jobs.job_state,
                seq = CASE WHEN v_live = 0 AND v_child.task IS NOT NULL AND coalesce(v_child.run_at <= v_now, true)
                           THEN nextval('uno_jobs.ready_seq') END,
                run_at = CASE WHEN v_live > 0 OR v_child.run_at > v_now THEN v_child.run_at END
            WHERE l.id = v_child.id;
            IF v_live = 0 AND v_child.task IS NULL THEN
                PERFORM uno_jobs.tell_children(uno_jobs.finish_joins(ARRAY[v_child.id]));
                PERFORM uno_jobs.tidy_finished(ARRAY[v_child.id]);
            ELSIF v_live = 0 THEN
                PERFORM uno_jobs.wake(ARRAY[v_child.queue]);
            END IF;
        END IF;
    END LOOP;
    RETURN v_done;
END $$;
COMMENT ON FUNCTION uno_jobs.recount(integer) IS
    'Count the unfinished parents of jobs in pending_counts, at most p_limit; returns how many jobs were counted for.';
