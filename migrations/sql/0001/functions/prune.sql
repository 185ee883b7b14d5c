-- One step of the removal of what is past its retention, for the chore and for whoever calls it by hand.
--
-- A walk for each length of time that the rules name goes through the ids once, a hundredth of that time behind the age at
-- which jobs are over, and remembers how far it has come; so what is kept for longer is passed once by each. What ended later
-- for its id than that (after a long delay, run or backlog; under an id of the caller's own) comes to lie behind the walks, or,
-- as a random UUID does, beyond the present: the lap goes round there. Where it finds little it rests fifty times as long as it
-- took, and after a round for ten minutes, so that much that is kept costs little.
CREATE FUNCTION uno_jobs.prune(p_limit integer, OUT walked integer, OUT removed integer, OUT behind interval)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    c_last CONSTANT uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
    v_now timestamptz := uno_jobs.clock();
    v_rules text;
    v_walked text;
    v_shortest interval;
    v_started timestamptz;
    v_after uuid;
    v_until uuid;
    v_resume timestamptz;
    w record;
    r record;
BEGIN
    walked := 0;
    removed := 0;
    behind := interval '0';
    SELECT md5(string_agg(format('%s %L %s %s', t.scope, t.name, t.state, t.keep), E'\n' ORDER BY t.scope, t.name, t.state)), min(t.keep)
    INTO v_rules, v_shortest FROM uno_jobs.retention t;
    IF v_shortest IS NULL THEN
        RETURN;
    END IF;
    -- One at a time, and nobody waits for another.
    SELECT k.rules INTO v_walked FROM uno_jobs.retention_walks k WHERE k.walk = 'lap' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF v_walked <> v_rules THEN
        DELETE FROM uno_jobs.retention_walks k WHERE k.walk <> 'lap';
        INSERT INTO uno_jobs.retention_walks (walk, keep)
        SELECT DISTINCT ON (t.keep) t.keep::text, t.keep FROM uno_jobs.retention t WHERE t.keep IS NOT NULL;
        UPDATE uno_jobs.retention_walks k
        SET rules = v_rules, reached = '00000000-0000-0000-0000-000000000000', kept_workflow = NULL, resume_at = '-infinity'
        WHERE k.walk = 'lap';
    END IF;
    FOR w IN
        SELECT k.walk, k.keep, k.reached, k.kept_workflow FROM uno_jobs.retention_walks k
        WHERE k.resume_at <= v_now ORDER BY k.keep
    LOOP
        v_started := clock_timestamp();
        v_after := w.reached;
        IF w.keep IS NOT NULL THEN
            v_until := uno_jobs.first_id(v_now - w.keep * 1.01);
        ELSIF v_after < uno_jobs.first_id(v_now - v_shortest) THEN
            v_until := uno_jobs.first_id(v_now - v_shortest);
        ELSE
            v_after := greatest(v_after, uno_jobs.first_id(v_now + interval '1 day'));
            v_until := c_last;
        END IF;
        SELECT * INTO r FROM uno_jobs.prune_range(v_after, v_until, p_limit, w.kept_workflow);
        v_after := r.reached;
        v_resume := v_now;
        walked := walked + r.walked;
        removed := removed + r.succeeded + r.failed + r.cancelled;
        IF w.keep IS NULL THEN
            IF r.walked < p_limit AND v_until = c_last THEN
                v_after := '00000000-0000-0000-0000-000000000000';
                v_resume := v_now + interval '10 minutes';
            ELSIF r.walked < p_limit THEN
                v_after := v_until;
            ELSIF (r.succeeded + r.failed + r.cancelled) * 10 < r.walked THEN
                v_resume := v_now + 50 * (clock_timestamp() - v_started);
            END IF;
        ELSIF r.walked = p_limit THEN
            behind := greatest(behind, v_now - w.keep * 1.01 - uno_jobs.id_time(r.reached));
        END IF;
        IF r.walked > 0 OR w.keep IS NULL THEN
            UPDATE uno_jobs.retention_walks k
            SET reached = v_after, kept_workflow = r.kept_workflow, resume_at = v_resume,
                removed = k.removed + r.succeeded + r.failed + r.cancelled
            WHERE k.walk = w.walk;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION uno_jobs.prune(integer) IS
    'Remove finished jobs that are past their retention, looking at no more than p_limit for each length of time; says at how many it looked, how many it removed, and how far it is behind.';
