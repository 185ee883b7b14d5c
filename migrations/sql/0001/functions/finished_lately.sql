-- Bounded, whatever the history: a BRIN index leads to the last hour, and where more than 10,000 jobs ended in it, a sample of
-- 400 pages is taken, of which at most some two thousand jobs are asked for their queue.
CREATE FUNCTION uno_jobs.finished_lately(p_within interval DEFAULT interval '1 hour') RETURNS TABLE (
    queue text, succeeded bigint, failed bigint, cancelled bigint, estimated boolean
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = on
SET enable_hashjoin = off
SET enable_mergejoin = off
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE
    v_since timestamptz := uno_jobs.clock() - p_within;
    v_part real;
    v_seed integer := extract(epoch FROM uno_jobs.clock())::bigint % 1000000;
    v_found bigint;
    v_every integer;
BEGIN
    SELECT count(*) INTO v_found
    FROM (SELECT FROM uno_jobs.outcomes o WHERE o.finished_at > v_since LIMIT 10001) c;
    IF v_found <= 10000 THEN
        RETURN QUERY
        SELECT j.queue::text, count(*) FILTER (WHERE o.state = 'succeeded'), count(*) FILTER (WHERE o.state = 'failed'),
               count(*) FILTER (WHERE o.state = 'cancelled'), false
        FROM uno_jobs.outcomes o JOIN uno_jobs.jobs j ON j.id = o.id
        WHERE o.finished_at > v_since GROUP BY j.queue;
        RETURN;
    END IF;
    v_part := least(100, 100.0 * 400 * current_setting('block_size')::integer
                         / greatest(1, pg_relation_size('uno_jobs.outcomes')));
    SELECT count(*) INTO v_found
    FROM uno_jobs.outcomes o TABLESAMPLE SYSTEM (v_part) REPEATABLE (v_seed) WHERE o.finished_at > v_since;
    v_every := greatest(1, ceil(v_found / 2000.0));
    RETURN QUERY
    SELECT j.queue::text,
           round(count(*) FILTER (WHERE s.state = 'succeeded') * v_every * 100 / v_part::numeric)::bigint,
           round(count(*) FILTER (WHERE s.state = 'failed') * v_every * 100 / v_part::numeric)::bigint,
           round(count(*) FILTER (WHERE s.state = 'cancelled') * v_every * 100 / v_part::numeric)::bigint,
           true
    FROM (SELECT o.id, o.state FROM uno_jobs.outcomes o TABLESAMPLE SYSTEM (v_part) REPEATABLE (v_seed)
          WHERE o.finished_at > v_since AND hashtext(o.id::text) % v_every = 0) s
    JOIN uno_jobs.jobs j ON j.id = s.id
    GROUP BY j.queue;
END $$;
COMMENT ON FUNCTION uno_jobs.finished_lately(interval) IS
    'How many jobs of each queue ended within the last hour (or so), and how; estimated from a sample where they are more than 10,000 together.';
