--
-- What the catalog promises: nothing is PUBLIC's, every table is guarded, every
-- function is documented, every definer function is safe from search_path.
--
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS cauce CASCADE;
RESET client_min_messages;

-- It can only be installed as an extension, into its own schema, and once.
CREATE EXTENSION cauce;
ALTER EXTENSION cauce SET SCHEMA public;
SELECT extversion, nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'cauce';

-- Nothing is granted to PUBLIC: no function, table, column, sequence, type or schema.
SELECT p.oid::regprocedure AS function FROM pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
	WHERE pronamespace = 'cauce'::regnamespace AND a.grantee = 0;
SELECT c.oid::regclass AS relation, privilege_type FROM pg_class c, aclexplode(coalesce(relacl, acldefault('r', relowner))) a
	WHERE relnamespace = 'cauce'::regnamespace AND relkind IN ('r', 'v', 'S', 'p', 'm') AND a.grantee = 0;
SELECT attrelid::regclass, attname FROM pg_attribute, aclexplode(attacl) a
	WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'cauce'::regnamespace) AND a.grantee = 0;
SELECT t.oid::regtype AS type FROM pg_type t, aclexplode(coalesce(typacl, acldefault('T', typowner))) a
	WHERE typnamespace = 'cauce'::regnamespace AND typrelid = 0 AND typelem = 0 AND a.grantee = 0;
SELECT nspname FROM pg_namespace, aclexplode(nspacl) a WHERE nspname = 'cauce' AND a.grantee = 0;

-- The four roles, and that none may log in, inherits another or is more than a role.
SELECT rolname, rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles WHERE rolname LIKE 'cauce\_%' ORDER BY 1;
SELECT m.roleid::regrole, m.member::regrole FROM pg_auth_members m WHERE m.member IN (SELECT oid FROM pg_roles WHERE rolname LIKE 'cauce\_%');

-- What each may do with tables, and with which columns.
SELECT a.grantee::regrole AS role, c.relname, string_agg(privilege_type, ' ' ORDER BY privilege_type) AS privileges
	FROM pg_class c, aclexplode(relacl) a
	WHERE relnamespace = 'cauce'::regnamespace AND a.grantee <> c.relowner
	GROUP BY 1, 2 ORDER BY a.grantee::regrole::text COLLATE "C", c.relname COLLATE "C";
SELECT a.grantee::regrole AS role, relname, privilege_type, string_agg(attname, ' ' ORDER BY attnum) AS columns
	FROM pg_attribute t JOIN pg_class c ON c.oid = attrelid, aclexplode(attacl) a
	WHERE relnamespace = 'cauce'::regnamespace
	GROUP BY 1, 2, 3 ORDER BY a.grantee::regrole::text COLLATE "C", relname COLLATE "C", 3;
-- Of the operator's columns none is sealed.
SELECT attrelid::regclass, attname FROM pg_attribute t, aclexplode(attacl) a
	WHERE a.grantee = 'cauce_operator'::regrole AND atttypid::regtype::text LIKE 'cauce.encrypted\_%';

-- Which functions each may call.
SELECT a.grantee::regrole AS role, p.proname FROM pg_proc p, aclexplode(proacl) a
	WHERE pronamespace = 'cauce'::regnamespace AND a.grantee <> p.proowner
		AND a.grantee IN ('cauce_app'::regrole, 'cauce_operator'::regrole)
	ORDER BY a.grantee::regrole::text COLLATE "C", p.proname COLLATE "C";

-- Every SECURITY DEFINER function, and every one in a language of SQL's, has its search_path set;
-- but a procedure, which could not commit then.
SELECT oid::regprocedure AS function FROM pg_proc
	WHERE pronamespace = 'cauce'::regnamespace AND prokind <> 'p'
		AND (prosecdef OR prolang IN (SELECT oid FROM pg_language WHERE lanname IN ('sql', 'plpgsql')))
		AND NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false);
-- No C function is SECURITY DEFINER.
SELECT oid::regprocedure AS function FROM pg_proc
	WHERE pronamespace = 'cauce'::regnamespace AND prosecdef AND prolang = (SELECT oid FROM pg_language WHERE lanname = 'c');

-- Every function, table, type and view is documented.
SELECT oid::regprocedure AS function FROM pg_proc WHERE pronamespace = 'cauce'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL;
SELECT oid::regclass AS relation FROM pg_class
	WHERE relnamespace = 'cauce'::regnamespace AND relkind IN ('r', 'v', 'p') AND obj_description(oid, 'pg_class') IS NULL;
SELECT oid::regtype AS type FROM pg_type
	WHERE typnamespace = 'cauce'::regnamespace AND typrelid = 0 AND typelem = 0 AND obj_description(oid, 'pg_type') IS NULL;

-- Every table has forced row-level security and a primary key; that of content begins with the account.
SELECT oid::regclass AS "table" FROM pg_class
	WHERE relnamespace = 'cauce'::regnamespace AND relkind IN ('r', 'p') AND NOT (relrowsecurity AND relforcerowsecurity);
SELECT c.relname, string_agg(a.attname, ', ' ORDER BY k.position) AS primary_key
	FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
		LEFT JOIN LATERAL unnest(i.indkey::int[]) WITH ORDINALITY AS k (attnum, position) ON true
		LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
	WHERE c.relnamespace = 'cauce'::regnamespace AND c.relkind IN ('r', 'p')
	GROUP BY 1 ORDER BY c.relname COLLATE "C";
-- Every table with a sealed column has the trigger that binds it.
SELECT DISTINCT attrelid::regclass FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
	WHERE relnamespace = 'cauce'::regnamespace AND relkind = 'r' AND atttypid::regtype::text LIKE 'cauce.encrypted\_%'
		AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = attrelid AND tgfoid = 'cauce.seal_row'::regproc AND tgenabled = 'O');
-- Every table and sequence is part of a dump, but for the history of this server's own retention runs.
SELECT oid::regclass FROM pg_class
	WHERE relnamespace = 'cauce'::regnamespace AND relkind IN ('r', 'S', 'p')
		AND NOT oid = ANY ((SELECT extconfig FROM pg_extension WHERE extname = 'cauce')::oid[])
	ORDER BY oid::regclass::text COLLATE "C";
-- Views look with the eyes of the caller, or are barriers.
SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'cauce'::regnamespace AND relkind = 'v' ORDER BY relname COLLATE "C";

-- The contract's tables, with their columns.
\pset format unaligned
\pset tuples_only on
SELECT c.relname || '(' || string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' not null' ELSE '' END, ', ' ORDER BY attnum) || ')'
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
	WHERE relnamespace = 'cauce'::regnamespace AND relkind IN ('r', 'v') GROUP BY c.relname ORDER BY c.relname COLLATE "C";
SELECT enumtypid::regtype, string_agg(enumlabel, ' ' ORDER BY enumsortorder) FROM pg_enum
	WHERE enumtypid IN (SELECT oid FROM pg_type WHERE typnamespace = 'cauce'::regnamespace) GROUP BY 1 ORDER BY enumtypid::regtype::text COLLATE "C";

-- The sealed types: their casts (a, assignment; i, implicit), and that nothing can order, hash or index them.
SELECT format('%s -> %s %s', castsource::regtype, casttarget::regtype, castcontext) FROM pg_cast
	WHERE castsource::regtype::text LIKE 'cauce.encrypted\_%' OR casttarget::regtype::text LIKE 'cauce.encrypted\_%'
	ORDER BY format('%s -> %s', castsource::regtype, casttarget::regtype) COLLATE "C";
SELECT typname, typstorage, typanalyze FROM pg_type WHERE oid::regtype::text LIKE 'cauce.encrypted\_%' AND typelem = 0 ORDER BY typname COLLATE "C";
SELECT oid::regoperator FROM pg_operator
	WHERE oprleft::regtype::text LIKE 'cauce.encrypted\_%' OR oprright::regtype::text LIKE 'cauce.encrypted\_%';
SELECT opcname FROM pg_opclass WHERE opcintype::regtype::text LIKE 'cauce.encrypted\_%';

-- The contract's functions.
SELECT p.proname || '(' || pg_get_function_arguments(p.oid) || ')' || coalesce(' -> ' || pg_get_function_result(p.oid), '') AS function
	FROM pg_proc p JOIN pg_type t ON t.oid = p.prorettype
	WHERE pronamespace = 'cauce'::regnamespace AND t.typname <> 'trigger' ORDER BY p.proname COLLATE "C", 1;

\pset format aligned
\pset tuples_only off

-- Settings, without their values; the token is not among them.
SELECT name, context, vartype, unit FROM pg_settings WHERE name LIKE 'cauce.%' ORDER BY name COLLATE "C";
SELECT count(*) FROM pg_settings WHERE name = 'cauce.token';
SHOW cauce.token;
SELECT boot_val FROM pg_settings WHERE name IN ('cauce.redact_logs', 'cauce.min_tls', 'cauce.allowed_purposes', 'cauce.retention_grace') ORDER BY name COLLATE "C";
SET cauce.keyring_file = '/tmp/other';
SET cauce.tokens = 'x';
SET cauce.min_tls = 'none';
