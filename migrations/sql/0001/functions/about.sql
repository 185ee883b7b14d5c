-- A function, and not the table, so that also a role that may read nothing else learns whether it can work with this schema.
CREATE FUNCTION uno_jobs.about(OUT revision integer, OUT min_code integer, OUT channel text) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = uno_jobs, pg_temp
AS $$ SELECT i.revision, i.min_code, i.channel FROM uno_jobs.schema_info i $$;
COMMENT ON FUNCTION uno_jobs.about() IS
    'What this schema is: the newest migration in force, the oldest code that it serves, and its NOTIFY channel.';
