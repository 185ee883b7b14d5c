CREATE FUNCTION uno_jobs.explain_waiting(p_id uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_what text;
    v_pending bigint;
    v_parents bigint;
    v_open bigint;
    v_states text;
    v_first text;
    v_ids jsonb;
BEGIN
    SELECT CASE WHEN j.task IS NULL THEN 'it gathers the results of a group, and waits for ' ELSE 'waits for ' END, l.pending_parents
    INTO v_what, v_pending
    FROM uno_jobs.jobs j JOIN uno_jobs.live_jobs l ON l.id = j.id WHERE j.id = p_id;
    WITH seen AS MATERIALIZED (
        SELECT e.parent_id, e.position, l.state
        FROM (SELECT e.* FROM uno_jobs.job_edges e WHERE e.child_id = p_id LIMIT 10001) e
        LEFT JOIN uno_jobs.live_jobs l ON l.id = e.parent_id
    ), unfinished AS (
        SELECT s.*, row_number() OVER (ORDER BY s.position, s.parent_id) AS place FROM seen s WHERE s.state IS NOT NULL
    )
    SELECT (SELECT count(*) FROM seen),
           (SELECT count(*) FROM unfinished),
           (SELECT string_agg(format('%s %s', c.jobs, c.state), ', ' ORDER BY c.state)
            FROM (SELECT u.state, count(*) AS jobs FROM unfinished u WHERE u.place > 3 GROUP BY u.state) c),
           (SELECT string_agg(format('%s (%s)', uno_jobs.say_job(u.parent_id), u.state), ', ' ORDER BY u.place)
            FROM unfinished u WHERE u.place <= 3),
           (SELECT jsonb_agg(jsonb_build_object('id', u.parent_id, 'state', u.state) ORDER BY u.place)
            FROM unfinished u WHERE u.place <= 3)
    INTO v_parents, v_open, v_states, v_first, v_ids;
    IF v_parents > 10000 THEN
        -- Not all were looked at, and the states of those that were say nothing of the rest.
        RETURN jsonb_build_object('why', 'waits_for_parents', 'parents', v_parents, 'unfinished', v_pending, 'first', v_ids,
            'sentence', format('%s%s of its more than 10,000 parents%s', v_what, trim(uno_jobs.say_count(v_pending, '', '')),
                               ', ' || v_first || ' among them'));
    ELSIF v_open = 0 THEN
        RETURN jsonb_build_object('why', 'about_to_be_released', 'parents', v_parents, 'sentence', format(
            '%s nothing any more: %s ended, which it is about to be told; a worker that does the chores sees to it within a minute',
            rtrim(v_what), CASE WHEN v_parents = 1 THEN 'its parent has' ELSE 'all its parents have' END));
    END IF;
    RETURN jsonb_build_object('why', 'waits_for_parents', 'parents', v_parents, 'unfinished', v_open, 'first', v_ids,
        'sentence', v_what || CASE
            WHEN v_parents = 1 THEN 'its parent ' || v_first
            WHEN v_open <= 3 THEN format('%s of its %s: %s', v_open, uno_jobs.say_count(v_parents, 'parent', 'parents'), v_first)
            ELSE format('%s of its %s: %s, and %s (%s)', trim(uno_jobs.say_count(v_open, '', '')),
                        uno_jobs.say_count(v_parents, 'parent', 'parents'), v_first,
                        uno_jobs.say_count(v_open - 3, 'other', 'others'), v_states) END);
END $$;
COMMENT ON FUNCTION uno_jobs.explain_waiting(uuid) IS 'Why a waiting job waits: which parents are unfinished, the first three by name.';
