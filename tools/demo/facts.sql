-- What the server itself says of the database: one line a fact, "name|value". Compared before the wipe and after.
\pset fieldsep '|'
SELECT format('SELECT %L, count(*) || '' rows, '' || coalesce(md5(string_agg(md5(t::text), '''' ORDER BY md5(t::text))), ''-'') FROM %I.%I t',
              'table ' || n.nspname || '.' || c.relname, n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname IN ('archive', 'shop') AND c.relkind IN ('r', 'm') ORDER BY n.nspname, c.relname \gexec
SELECT format('SELECT %L, last_value || '' '' || is_called FROM %I.%I', 'sequence ' || n.nspname || '.' || c.relname, n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname IN ('archive', 'shop') AND c.relkind = 'S' ORDER BY n.nspname, c.relname \gexec
SELECT 'large object ' || oid, length(lo_get(oid)) || ' bytes, ' || md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid;
SELECT 'partition ' || inhrelid::regclass, pg_get_expr(relpartbound, c.oid)
  FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE relispartition AND relkind = 'r' ORDER BY 1;
SELECT 'constraints', count(*) || ', validated ' || count(*) FILTER (WHERE convalidated) FROM pg_constraint c
  JOIN pg_namespace n ON n.oid = c.connamespace WHERE nspname IN ('archive', 'shop');
SELECT 'indexes', count(*) || ', valid ' || count(*) FILTER (WHERE indisvalid AND indisready) FROM pg_index;
SELECT 'citations without a document', count(*) FROM archive.citation a LEFT JOIN archive.document d ON d.id = a.cites WHERE d.id IS NULL;
SELECT 'place areas', round(sum(ST_Area(area))::numeric, 6) || ', ' || md5(string_agg(ST_AsEWKT(at), ',' ORDER BY id)) FROM archive.place;
SELECT 'places near 0,0', count(*) FROM archive.place WHERE ST_DWithin(at, ST_SetSRID(ST_MakePoint(0, 0), 4326), 12);
SELECT 'materialised view', count(*) || ' rows, populated ' || (SELECT relispopulated FROM pg_class WHERE oid = 'shop.month'::regclass)
  FROM shop.month;
SELECT 'role atlas_app', rolcanlogin || ', member of ' ||
  (SELECT string_agg(roleid::regrole::text, ',') FROM pg_auth_members WHERE member = r.oid) FROM pg_roles r WHERE rolname = 'atlas_app';
