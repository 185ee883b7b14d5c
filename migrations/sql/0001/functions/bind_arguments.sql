-- Arguments by name with the defaults filled in, as the task's parameters were recorded. Says what does not fit.
CREATE FUNCTION uno_jobs.bind_arguments(p_task text, p_parameters jsonb, p_args jsonb, p_kwargs jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path = uno_jobs, pg_temp
AS $$
DECLARE
    p record;
    v_bound jsonb := '{}';
    v_taken integer := 0;
    v_given integer := jsonb_array_length(p_args);
    v_rest jsonb := p_kwargs;
    v_open_args boolean := false;
    v_open_kwargs boolean := false;
BEGIN
    FOR p IN
        SELECT e.value ->> 'name' AS name, e.value ->> 'kind' AS kind, (e.value ->> 'required')::boolean AS required,
               e.value -> 'default' AS fallback
        FROM jsonb_array_elements(p_parameters) WITH ORDINALITY AS e (value, place) ORDER BY e.place
    LOOP
        IF p.kind = 'var_positional' THEN
            v_open_args := true;
            v_bound := v_bound || jsonb_build_object(p.name, (
                SELECT coalesce(jsonb_agg(a.value ORDER BY a.place), '[]')
                FROM jsonb_array_elements(p_args) WITH ORDINALITY AS a (value, place) WHERE a.place > v_taken));
            v_taken := v_given;
        ELSIF p.kind = 'var_keyword' THEN
            v_open_kwargs := true;
            v_bound := v_bound || jsonb_build_object(p.name, v_rest);
        ELSIF p.kind <> 'keyword_only' AND v_taken < v_given THEN
            IF v_rest ? p.name AND p.kind <> 'positional_only' THEN
                RAISE EXCEPTION 'task %: argument "%" is given twice, by position and by name', p_task, p.name
                    USING ERRCODE = 'invalid_parameter_value';
            END IF;
            v_bound := v_bound || jsonb_build_object(p.name, p_args -> v_taken);
            v_taken := v_taken + 1;
        ELSIF v_rest ? p.name AND p.kind <> 'positional_only' THEN
            v_bound := v_bound || jsonb_build_object(p.name, v_rest -> p.name);
            v_rest := v_rest - p.name;
        ELSIF p.required THEN
            RAISE EXCEPTION 'task %: argument "%" is missing', p_task, p.name
                USING ERRCODE = 'invalid_parameter_value';
        ELSE
            v_bound := v_bound || jsonb_build_object(p.name, p.fallback);
        END IF;
    END LOOP;
    IF v_taken < v_given AND NOT v_open_args THEN
        RAISE EXCEPTION 'task % takes % positional arguments, % were given', p_task, v_taken, v_given
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF v_rest <> '{}' AND NOT v_open_kwargs THEN
        RAISE EXCEPTION 'task % has no parameter "%"', p_task, (SELECT min(k.key) FROM jsonb_object_keys(v_rest) AS k (key))
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN v_bound;
END $$;
COMMENT ON FUNCTION uno_jobs.bind_arguments(text, jsonb, jsonb, jsonb) IS
    'Arguments by name with defaults filled in; raises on what is missing, unknown or given twice.';
