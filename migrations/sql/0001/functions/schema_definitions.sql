-- What this schema holds, each thing with its definition as the server tells it: an upgrade records it in schema_objects, and
-- whoever looks for changes made by hand compares. Storage parameters, tablespaces, owners, grants and comments are a DBA's own
-- affair. With this search_path the definitions are the same under any name of the schema.
CREATE FUNCTION uno_jobs.schema_definitions() RETURNS TABLE (kind text, name text, definition text)
LANGUAGE sql STABLE
SET search_path = uno_jobs, pg_temp
AS $$
    WITH relation AS (
        SELECT c.oid, c.relname::text AS relname, c.relkind, c.relpersistence, c.relrowsecurity
        FROM pg_catalog.pg_class c WHERE c.relnamespace = 'uno_jobs'::regnamespace
    ), tables AS (
        SELECT * FROM relation r WHERE r.relkind IN ('r', 'p') AND r.relname <> 'schema_version'
    )
    SELECT 'table', t.relname,
           CASE t.relpersistence WHEN 'u' THEN 'unlogged' ELSE 'logged' END
           || CASE WHEN t.relrowsecurity THEN ', with row security' ELSE '' END
    FROM tables t
    UNION ALL
    SELECT 'column', t.relname || '.' || a.attname,
           pg_catalog.format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
           || CASE WHEN a.attcollation <> y.typcollation THEN ' COLLATE ' || a.attcollation::regcollation::text ELSE '' END
           || coalesce(' DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), '')
    FROM tables t
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    UNION ALL
    -- From PostgreSQL 18 on there is one for each NOT NULL too, which the columns tell already.
    SELECT 'constraint', t.relname || '.' || k.conname, pg_catalog.pg_get_constraintdef(k.oid)
    FROM tables t JOIN pg_catalog.pg_constraint k ON k.conrelid = t.oid AND k.contype IN ('c', 'f', 'p', 'u', 'x')
    UNION ALL
    SELECT 'index', t.relname || '.' || r.relname,
           pg_catalog.regexp_replace(pg_catalog.pg_get_indexdef(r.oid), ' WITH \([^)]*\)', '')
    FROM tables t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid JOIN relation r ON r.oid = i.indexrelid
    UNION ALL
    SELECT 'trigger', t.relname || '.' || g.tgname, pg_catalog.pg_get_triggerdef(g.oid) || ', ' || g.tgenabled::text
    FROM tables t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
    UNION ALL
    SELECT 'rule', t.relname || '.' || w.rulename, pg_catalog.pg_get_ruledef(w.oid)
    FROM tables t JOIN pg_catalog.pg_rewrite w ON w.ev_class = t.oid
    UNION ALL
    SELECT 'view', r.relname, pg_catalog.pg_get_viewdef(r.oid) FROM relation r WHERE r.relkind = 'v'
    UNION ALL
    SELECT 'sequence', r.relname, pg_catalog.format('%s %s by %s, cache %s%s', pg_catalog.format_type(s.seqtypid, NULL), s.seqmin,
           s.seqincrement, s.seqcache, CASE WHEN s.seqcycle THEN ', cycles' ELSE '' END)
    FROM relation r JOIN pg_catalog.pg_sequence s ON s.seqrelid = r.oid
    UNION ALL
    SELECT 'function', pg_catalog.format('%s(%s)', p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)),
           pg_catalog.format('%s %s %s%s%s%s %s: %s', l.lanname, pg_catalog.pg_get_function_arguments(p.oid),
               pg_catalog.pg_get_function_result(p.oid), CASE WHEN p.prosecdef THEN ' SECURITY DEFINER' ELSE '' END,
               CASE WHEN p.proisstrict THEN ' STRICT' ELSE '' END, ' ' || p.provolatile::text || p.proparallel::text,
               -- Whatever the schema is called.
               pg_catalog.array_to_string(ARRAY(SELECT s FROM unnest(p.proconfig) s WHERE s NOT LIKE 'search_path=%' ORDER BY 1)
                   || ARRAY(SELECT 'search_path' FROM unnest(p.proconfig) s WHERE s LIKE 'search_path=%'), ' '),
               pg_catalog.md5(p.prosrc))
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE p.pronamespace = 'uno_jobs'::regnamespace
    UNION ALL
    SELECT 'type', y.typname::text, (SELECT string_agg(e.enumlabel::text, ', ' ORDER BY e.enumsortorder)
                                     FROM pg_catalog.pg_enum e WHERE e.enumtypid = y.oid)
    FROM pg_catalog.pg_type y WHERE y.typnamespace = 'uno_jobs'::regnamespace AND y.typtype = 'e'
    UNION ALL
    SELECT 'type', y.typname::text, pg_catalog.concat_ws(' ', pg_catalog.format_type(y.typbasetype, y.typtypmod), (
        SELECT string_agg(pg_catalog.pg_get_constraintdef(k.oid), ' ' ORDER BY k.conname)
        FROM pg_catalog.pg_constraint k WHERE k.contypid = y.oid))
    FROM pg_catalog.pg_type y WHERE y.typnamespace = 'uno_jobs'::regnamespace AND y.typtype = 'd'
$$;
COMMENT ON FUNCTION uno_jobs.schema_definitions() IS
    'What this schema holds now, each thing with its definition; compare schema_objects, which says what the migrations made.';
