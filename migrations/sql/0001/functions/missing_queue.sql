-- A queue needs no row to be used, so a mistyped name would be paused without a word. It exists if somebody set something for
-- it, a living worker serves it, or an unfinished job is in it; the costly look comes last.
CREATE FUNCTION uno_jobs.missing_queue(p_queue text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_known text[];
BEGIN
    IF coalesce(length(p_queue), 0) NOT BETWEEN 1 AND 128 THEN
        RAISE EXCEPTION 'a queue''s name has 1 to 128 characters' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (SELECT FROM uno_jobs.queues q WHERE q.name = p_queue)
        OR EXISTS (SELECT FROM uno_jobs.living_workers() w WHERE p_queue = ANY (w.queues))
        OR EXISTS (SELECT FROM uno_jobs.live_jobs l WHERE l.state = 'ready' AND l.queue = p_queue)
        OR EXISTS (SELECT FROM uno_jobs.live_jobs l WHERE l.state IN ('waiting', 'scheduled') AND l.queue = p_queue)
        OR EXISTS (SELECT FROM uno_jobs.live_jobs l WHERE l.state = 'running' AND l.queue = p_queue)
    THEN
        RETURN NULL;
    END IF;
    v_known := ARRAY(SELECT k.queue FROM uno_jobs.known_queues() k ORDER BY 1 LIMIT 21);
    RETURN format('there is no queue "%s": no unfinished job is in it, no living worker serves it, and nothing is set for it; %s',
        p_queue,
        CASE WHEN cardinality(v_known) = 0 THEN 'there is none at all yet'
             ELSE 'there are: ' || array_to_string(v_known[1:20], ', ') || CASE WHEN cardinality(v_known) > 20 THEN ', …' ELSE '' END
        END);
END $$;
COMMENT ON FUNCTION uno_jobs.missing_queue(text) IS
    'Null where the queue exists: a setting, a living worker or an unfinished job names it; else a sentence that says which do.';
