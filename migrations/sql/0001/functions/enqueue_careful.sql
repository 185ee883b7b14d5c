-- Jobs with a unique key or an id of the caller's, in bulk. Keys, and ids without a key, are taken in sorted order, so
-- that two bulks cannot deadlock.
CREATE FUNCTION uno_jobs.enqueue_careful(
    p_ids uuid[], p_ids_given boolean[], p_tasks text[], p_versions text[], p_queues text[], p_priorities smallint[],
    p_args text[], p_kwargs text[], p_metadata text[],
    p_delays double precision[], p_run_at timestamptz[], p_expires double precision[],
    p_unique_keys text[], p_unique_args text[], p_keys_until_start boolean[], p_on_duplicate text[], p_notify boolean
) RETURNS TABLE (place integer, id uuid, is_duplicate boolean, replaced boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := uno_jobs.clock();
    r record;
BEGIN
    FOR r IN
        SELECT n.*, coalesce(n.unique_key, uno_jobs.unique_hash(n.unique_args::jsonb)) AS held_key
        FROM unnest(p_ids, p_ids_given, p_tasks, p_versions, p_queues, p_priorities, p_args, p_kwargs, p_metadata,
                    p_delays, p_run_at, p_expires, p_unique_keys, p_unique_args, p_keys_until_start, p_on_duplicate)
            WITH ORDINALITY
            AS n (id, id_given, task, version, queue, priority, args, kwargs, metadata,
                  delay, run_at, expires, unique_key, unique_args, key_until_start, on_duplicate, place)
        ORDER BY n.task, held_key,
                 CASE WHEN n.id_given AND n.unique_key IS NULL AND n.unique_args IS NULL THEN n.id END, n.place
    LOOP
        SELECT r.place, o.id, o.is_duplicate, o.replaced INTO place, id, is_duplicate, replaced
        FROM uno_jobs.enqueue_one(
            r.id, r.id_given, r.task, r.version, r.queue, r.priority, r.args::jsonb, r.kwargs::jsonb, r.metadata::jsonb,
            coalesce(v_now + r.delay * interval '1 second', r.run_at), v_now + r.expires * interval '1 second',
            r.held_key, r.key_until_start, r.on_duplicate) o;
        RETURN NEXT;
    END LOOP;
    IF p_notify THEN
        PERFORM uno_jobs.wake(p_queues);
    END IF;
END $$;
COMMENT ON FUNCTION uno_jobs.enqueue_careful(uuid[], boolean[], text[], text[], text[], smallint[], text[], text[], text[], double precision[], timestamptz[], double precision[], text[], text[], boolean[], text[], boolean) IS
    'Insert jobs that have a unique key or an id of the caller''s; says of each whether it, or which other job, now stands.';
