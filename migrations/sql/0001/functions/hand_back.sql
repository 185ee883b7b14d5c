-- A cancellation that was asked for ends the job here too, so those who wait for its end are told.
CREATE FUNCTION uno_jobs.hand_back(p_worker uuid, p_ids uuid[], p_leases bigint[], p_reason text) RETURNS SETOF uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    v_settled uuid[];
    v_final uuid[];
BEGIN
    SELECT array_agg(s.id), array_agg(s.id) FILTER (WHERE s.state IN ('failed', 'cancelled')) INTO v_settled, v_final
    FROM uno_jobs.settle(p_worker, (
        SELECT coalesce(jsonb_agg(jsonb_build_object('id', g.id, 'lease', g.lease, 'outcome', 'handed_back', 'error', p_reason)), '[]')
        FROM unnest(p_ids, p_leases) AS g (id, lease))) s;
    PERFORM uno_jobs.tidy_finished(v_final);
    RETURN QUERY SELECT unnest(v_settled);
END $$;
COMMENT ON FUNCTION uno_jobs.hand_back(uuid, uuid[], bigint[], text) IS
    'A worker gives running jobs up unharmed: ready again at their old place, without using up a retry; returns those that it held.';
