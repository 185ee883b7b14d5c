-- What the end of jobs means for those that wait for them: one fewer to wait for, or, after a failure or a cancellation, the
-- end. The outcomes are written, and the children are locked (lock_families). A join is finished here: its outcome is the
-- list of its parents' results. Where a further level cannot be locked now, pending_releases remembers it; so it does after a
-- thousand levels, since a long chain would keep all else waiting, and a call has its time.
CREATE FUNCTION uno_jobs.propagate(p_ended uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    v_now timestamptz := uno_jobs.clock();
    v_ended uuid[] := p_ended;
    v_free uuid[];
    v_doomed uuid[];
    v_joined uuid[];
    v_over uuid[];
    v_queues text[];
    v_levels integer := 0;
BEGIN
    WHILE cardinality(v_ended) > 0 LOOP
        WITH doomed AS MATERIALIZED (
            SELECT DISTINCT ON (c.id) c.id, coalesce(o.cancelled_because, o.id) AS because, o.state AS parent_state
            FROM unnest(v_ended) AS p (id)
            JOIN uno_jobs.outcomes o ON o.id = p.id AND o.state <> 'succeeded'
            JOIN uno_jobs.job_edges e ON e.parent_id = p.id
            JOIN uno_jobs.live_jobs c ON c.id = e.child_id AND c.state = 'waiting' AND NOT c.run_anyway
            ORDER BY c.id, e.position
        ), gone AS (
            DELETE FROM uno_jobs.live_jobs l USING doomed d WHERE l.id = d.id
            RETURNING l.id, l.attempt, l.failures, l.lost, l.has_children, d.because, d.parent_state
        ), ended AS (
            INSERT INTO uno_jobs.outcomes (id, finished_at, state, attempt, failures, lost, error, cancelled_because)
            SELECT g.id, v_now, 'cancelled', g.attempt, g.failures, g.lost,
                   format('job %s, which it waited for, %s', g.because,
                          CASE (SELECT b.state FROM uno_jobs.outcomes b WHERE b.id = g.because)
                              WHEN 'failed' THEN 'failed' ELSE 'was cancelled' END),
                   g.because
            FROM gone g
        )
        SELECT array_agg(g.id), array_agg(g.id) FILTER (WHERE g.has_children) INTO v_doomed, v_over FROM gone g;

        -- Nobody else's count moves meanwhile: each child is locked. In the order of their ids, which is that of the group.
        WITH counted AS MATERIALIZED (
            SELECT e.child_id, count(*)::integer AS ended
            FROM uno_jobs.job_edges e WHERE e.parent_id = ANY (v_ended) GROUP BY e.child_id ORDER BY e.child_id
        ), next AS MATERIALIZED (
            SELECT c.id, c.pending_parents - d.ended AS pending,
                   CASE WHEN c.pending_parents > d.ended OR c.task IS NULL THEN 'waiting'
                        WHEN c.run_at > v_now THEN 'scheduled' ELSE 'ready' END::uno_jobs.job_state AS state
            FROM counted d JOIN uno_jobs.live_jobs c ON c.id = d.child_id AND c.state = 'waiting'
        ), lowered AS (
            UPDATE uno_jobs.live_jobs c
            SET pending_parents = n.pending, state = n.state,
                seq = CASE WHEN n.state = 'ready' THEN nextval('uno_jobs.ready_seq') END,
                run_at = CASE WHEN n.state <> 'ready' THEN c.run_at END
            FROM next n WHERE c.id = n.id
            RETURNING c.id, c.queue, c.state, c.task IS NULL AND c.pending_parents = 0 AS joined
        )
        SELECT array_agg(l.id) FILTER (WHERE l.joined), array_agg(l.queue) FILTER (WHERE l.state = 'ready')
        INTO v_joined, v_queues FROM lowered l;
        IF cardinality(v_queues) > 0 THEN
            PERFORM uno_jobs.wake(v_queues);
        END IF;

        IF cardinality(v_joined) > 0 THEN
            v_over := coalesce(v_over, '{}') || coalesce(uno_jobs.finish_joins(v_joined), '{}');
        END IF;
        IF cardinality(v_doomed || v_joined) > 0 THEN
            PERFORM uno_jobs.tidy_finished(v_doomed || v_joined);
        END IF;

        v_ended := NULL;
        IF cardinality(v_over) > 0 THEN
            v_levels := v_levels + 1;
            v_free := CASE WHEN v_levels < 1000 THEN uno_jobs.lock_families(v_over) ELSE '{}' END;
            INSERT INTO uno_jobs.pending_releases (job_id)
            SELECT o.id FROM unnest(v_over) AS o (id) WHERE NOT o.id = ANY (v_free)
            ON CONFLICT DO NOTHING;
            v_ended := v_free;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION uno_jobs.propagate(uuid[]) IS
    'Let the end of these jobs reach those that wait for them: released, cancelled, or, for a join, finished.';
