-- What the end of jobs means for those that wait for them: one fewer to wait for, or, after a failure or a cancellation, the
-- end. The outcomes are written, and the children are locked (lock_families). A join is finished here: its outcome is the
-- list of its parents' results. Where a further level cannot be locked now, pending_releases remembers it; so it does after a
-- thousand levels, since a long chain would keep all else waiting, and a call has its time. LATERAL and OFFSET 0: see
-- release.
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
    v_levels integer := 0;
BEGIN
    WHILE cardinality(v_ended) > 0 LOOP
        WITH doomed AS MATERIALIZED (
            SELECT DISTINCT ON (c.id) c.id, c.place, o.because
            FROM unnest(v_ended) AS p (id)
            CROSS JOIN LATERAL (SELECT coalesce(x.cancelled_because, x.id) AS because
                                FROM uno_jobs.outcomes x WHERE x.id = p.id AND x.state <> 'succeeded' OFFSET 0) o
            CROSS JOIN LATERAL (SELECT x.child_id, x.position FROM uno_jobs.job_edges x WHERE x.parent_id = p.id OFFSET 0) e
            CROSS JOIN LATERAL (SELECT x.id, x.ctid AS place FROM uno_jobs.live_jobs x
                                WHERE x.id = e.child_id AND x.state = 'waiting' AND NOT x.run_anyway OFFSET 0) c
            ORDER BY c.id, e.position
        ), gone AS (
            DELETE FROM uno_jobs.live_jobs l USING doomed d WHERE l.ctid = d.place
            RETURNING l.id, l.attempt, l.failures, l.lost, l.has_children, d.because
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

        v_joined := uno_jobs.release(v_ended);
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
