# An attacker with an application's login, a token of their own and any SQL they like gets no row, no
# value and no right beyond their own: whatever they define, override, attach to, or ask the server to do.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use IPC::Run qw(run);
use Test::More;

my $cluster = CauceTest->start(settings => "max_prepared_transactions = 5\n");
# PostgreSQL 16 has renamed it.
my $force_parallel = $cluster->superuser(q{SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')});
my @subjects = qw(north-pro north-pro2 north-admin south-pro solo);
my %token = map { $_ => $cluster->token($_) } @subjects;
my (%session, %account);

# The attacker owns a schema, which is more than an application's login needs, and has a protected table there.
$cluster->superuser(q{CREATE SCHEMA lair AUTHORIZATION app; CREATE ROLE rival LOGIN; GRANT CREATE ON SCHEMA public TO app;
	CREATE TABLE public.note (id integer PRIMARY KEY, session uuid, label text, body text);
	SELECT cauce.protect('public.note', 'session', '{body}'); GRANT SELECT, INSERT, UPDATE, DELETE ON public.note TO cauce_app});
my $serial = 0;
for my $who (@subjects)
{
	# A canary in every column, sealed or not.
	($account{$who}, $session{$who}) = split /\|/, $cluster->sql(app => $token{$who},
		"INSERT INTO cauce.session (title, language) VALUES ('canary-$who', 'canary-$who') RETURNING account_id, id");
	$serial++;
	$cluster->sql(app => $token{$who}, "INSERT INTO cauce.transcript_segment (session_id, seq, speaker, start_ms, end_ms, body) VALUES ('$session{$who}', 0, 'canary-$who', 0, 1, 'canary-$who');
		INSERT INTO cauce.report (session_id, kind, body) VALUES ('$session{$who}', 'canary-$who', 'canary-$who');
		INSERT INTO cauce.alert (session_id, kind, detail) VALUES ('$session{$who}', 'canary-$who', 'canary-$who');
		INSERT INTO cauce.alert_rule (account_id, pattern, kind) VALUES (cauce.account_id(), 'canary-$who', 'x');
		INSERT INTO public.note (id, session, label, body) VALUES ($serial, '$session{$who}', 'canary-$who', 'canary-$who')");
}
my ($mine, $theirs) = @session{qw(south-pro north-pro)};
my $their_account = $account{'north-pro'};
$cluster->superuser('CREATE TABLE public.loot (note text); GRANT ALL ON public.loot TO app');

# attack runs SQL as south-pro, and gives what try_sql does and all that was heard of others.
sub attack
{
	my ($sql, %option) = @_;
	my $result = $cluster->try_sql(($option{role} // 'app') => $token{ $option{who} // 'south-pro' }, $sql, %option);
	my $mine = $option{who} // 'south-pro';
	my $heard = "$result->{out}$result->{err}";
	$result->{loot} = join ' ', sort grep { $_ ne $mine && $heard =~ /canary-\Q$_\E\b/ } @subjects;
	return $result;
}

# refused wants each statement refused, with one of the states given. What it did before is undone.
sub refused
{
	my ($states, @sql) = @_;
	for my $sql (@sql)
	{
		my $result = attack("BEGIN; $sql");
		my $label = $sql =~ s/\s+/ /gr =~ s/[0-9a-f-]{36}/…/gr;
		like($result->{sqlstate}, qr/^(?:$states)$/, $label) or diag $result->{out}, $result->{err};
		is($result->{loot}, '', '… and tells nothing') if $result->{loot};
	}
	return;
}

# unharmed checks that everybody's rows are as they were.
sub unharmed
{
	my $seen = $cluster->superuser(q{SELECT string_agg(concat_ws(' ', a.subject, s.language, g.speaker, r.kind, l.kind, n.label, s.status), ',' ORDER BY a.subject)
		FROM cauce.account a JOIN cauce.session s ON s.account_id = a.id JOIN cauce.transcript_segment g ON g.account_id = a.id JOIN cauce.report r ON r.account_id = a.id
		JOIN cauce.alert l ON l.account_id = a.id JOIN public.note n ON n.account_id = a.id WHERE a.subject <> 'south-pro'});
	is($seen, join(',', map { join ' ', $_, ("canary-$_") x 5, 'live' } sort grep { $_ ne 'south-pro' } @subjects), 'and everybody\'s rows are as they were');
	return;
}

subtest 'functions and operators in WHERE' => sub {
	my $define = q{
		CREATE FUNCTION lair.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'leaked %', $1; RETURN true; END $$;
		CREATE FUNCTION lair.leak2(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'leaked %', $1; RETURN true; END $$;
		CREATE OPERATOR lair.<<< (LEFTARG = text, RIGHTARG = text, FUNCTION = lair.leak2, RESTRICT = eqsel, JOIN = eqjoinsel);
		CREATE FUNCTION lair.leak_sealed(cauce.encrypted_text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'leaked %', $1; RETURN true; END $$;
		CREATE FUNCTION lair.boom(text) RETURNS integer LANGUAGE sql IMMUTABLE COST 0.0000001 AS 'SELECT $1::integer';
		CREATE FUNCTION lair.leak_row(record) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN RAISE NOTICE 'leaked %', $1; RETURN true; END $$;};
	is(attack($define)->{sqlstate}, '', 'an attacker\'s own');
	my %columns = ('cauce.session' => [qw(language title)], 'cauce.transcript_segment' => [qw(speaker body)], 'cauce.report' => [qw(kind body)],
		'cauce.alert' => [qw(kind detail)], 'public.note' => [qw(label body)]);
	for my $table (sort keys %columns)
	{
		my ($plain, $sealed) = @{ $columns{$table} };
		for my $where ("lair.leak($plain)", "lair.leak($sealed)", "lair.leak_sealed($sealed)", "$plain OPERATOR(lair.<<<) 'x'", "lair.boom($plain) > 0",
			"$plain = 'x' OR lair.leak($plain)", "CASE WHEN lair.leak($plain) THEN true END", "lair.leak_row(t)", "EXISTS (SELECT FROM cauce.session s WHERE lair.leak(s.language))",
			"NOT lair.leak($plain) AND account_id = '$their_account'", "1 / length($plain) IS NULL AND lair.leak($plain)", "(t.*)::text LIKE '%x' AND lair.leak($plain)",
			"$plain IN (SELECT t2.$plain FROM $table t2 WHERE lair.leak(t2.$plain))", "row_number_of IS NOT NULL")
		{
			next if $where =~ /row_number_of/;
			my $result = attack("SELECT count(*) FROM $table t WHERE $where");
			is($result->{loot}, '', "$table: $where");
			like($result->{err}, qr/leaked|22P02/, 'where it was called at all') if $where eq "lair.leak($plain)";
		}
		for my $sql ("SELECT count(*) FROM (SELECT *, row_number() OVER (ORDER BY $plain) FROM $table) t WHERE lair.leak($plain)",
			"SELECT count(*) FROM $table t JOIN $table u ON lair.leak2(t.$plain, u.$plain)", "SELECT count(*) FROM $table t LEFT JOIN LATERAL (SELECT lair.leak(t.$plain)) l ON true",
			"SELECT max($plain) FILTER (WHERE lair.leak($plain)) FROM $table", "SELECT $plain FROM $table TABLESAMPLE SYSTEM (100) WHERE lair.leak($plain)",
			"SELECT $plain FROM $table WHERE ctid = ANY (ARRAY(SELECT format('(0,%s)', n)::tid FROM generate_series(1, 60) n)) AND lair.leak($plain)",
			"SELECT $plain FROM ONLY $table ORDER BY lair.leak($plain)", "UPDATE $table SET $plain = $plain WHERE lair.leak($plain)", "DELETE FROM $table WHERE NOT lair.leak($plain)",
			"UPDATE $table t SET $plain = u.$plain FROM $table u WHERE lair.leak(u.$plain) RETURNING u.$plain",
			"MERGE INTO $table t USING (SELECT 1) v ON lair.leak($plain) WHEN MATCHED THEN DO NOTHING",
			"COPY (SELECT * FROM $table WHERE lair.leak($plain)) TO STDOUT", "TABLE $table", "SELECT query_to_xml('SELECT * FROM $table WHERE lair.leak($plain)', true, true, '')",
			"SELECT table_to_xml('$table', true, true, '')", "SELECT * FROM ts_stat('SELECT to_tsvector($plain) FROM $table')",
			"SET enable_seqscan = off; SELECT count(*) FROM $table WHERE lair.leak($plain) AND account_id = '$their_account'",
			"SET plan_cache_mode = force_generic_plan; PREPARE p (uuid) AS SELECT $plain FROM $table WHERE account_id = \$1 AND lair.leak($plain); EXECUTE p ('$their_account')",
			"SET max_parallel_workers_per_gather = 4; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SELECT * FROM $table WHERE lair.leak($plain)",
			"SET $force_parallel = on; SELECT $plain FROM $table")
		{
			is(attack("BEGIN; $sql; ROLLBACK")->{loot}, '', $sql =~ s/\Q$their_account\E/…/r);
		}
	}
	refused('42501', 'CREATE FUNCTION lair.trusted(text) RETURNS boolean LANGUAGE sql LEAKPROOF AS \'SELECT true\'', 'ALTER FUNCTION lair.leak(text) LEAKPROOF',
		'CREATE FUNCTION lair.c(text) RETURNS boolean LANGUAGE c AS \'cauce\', \'cauce_account_id\'', 'CREATE CAST (cauce.encrypted_text AS bytea) WITHOUT FUNCTION',
		'CREATE OPERATOR CLASS lair.ops FOR TYPE cauce.encrypted_text USING btree AS STORAGE text', 'CREATE LANGUAGE x HANDLER plpgsql_call_handler');
	is($cluster->superuser(q{SELECT count(*) FROM pg_proc WHERE pronamespace = 'cauce'::regnamespace AND proleakproof}), '0', 'nothing of cauce\'s is leakproof');
	unharmed();
};

subtest 'moving and forging rows' => sub {
	my $north = $cluster->superuser(q{SELECT id FROM cauce.organization WHERE name = 'north'});
	refused('42501',
		"MERGE INTO cauce.session s USING (SELECT 1) v ON s.id = '$mine' WHEN MATCHED THEN UPDATE SET account_id = '$their_account'",
		"MERGE INTO cauce.session s USING (SELECT 1) v ON s.id = '$mine' WHEN MATCHED THEN UPDATE SET organization_id = '$north'",
		"MERGE INTO cauce.session s USING (SELECT 1) v ON false WHEN NOT MATCHED THEN INSERT (account_id, title) VALUES ('$their_account', 'x')",
		"MERGE INTO cauce.session s USING (SELECT 1) v ON false WHEN NOT MATCHED THEN INSERT (organization_id) VALUES ('$north')",
		"MERGE INTO cauce.report s USING (SELECT 1) v ON false WHEN NOT MATCHED THEN INSERT (account_id, session_id, body) VALUES ('$their_account', '$theirs', 'x')",
		"INSERT INTO cauce.session (id) VALUES ('$mine') ON CONFLICT (account_id, id) DO UPDATE SET account_id = '$their_account'",
		"INSERT INTO cauce.session (id) VALUES ('$mine') ON CONFLICT (account_id, id) DO UPDATE SET organization_id = '$north'",
		"INSERT INTO cauce.session (account_id, id) VALUES ('$their_account', '$theirs') ON CONFLICT (account_id, id) DO UPDATE SET title = 'mine'",
		"INSERT INTO cauce.session (account_id, id) OVERRIDING USER VALUE VALUES ('$their_account', gen_random_uuid())",
		"BEGIN; DECLARE c CURSOR FOR SELECT * FROM cauce.session WHERE id = '$mine' FOR UPDATE; MOVE c; UPDATE cauce.session SET account_id = '$their_account' WHERE CURRENT OF c",
		"CREATE TEMP VIEW v AS SELECT * FROM cauce.session; UPDATE v SET account_id = '$their_account'",
		"CREATE TEMP VIEW v AS SELECT * FROM cauce.session; INSERT INTO v (account_id) VALUES ('$their_account')",
		"CREATE TEMP VIEW v AS SELECT * FROM cauce.report; INSERT INTO v (account_id, session_id, body) VALUES ('$their_account', '$theirs', 'x')",
		"UPDATE public.note SET session = '$theirs', account_id = '$their_account'", "INSERT INTO public.note (id, account_id, session, body) VALUES (99, '$their_account', '$theirs', 'x')",
		"UPDATE cauce.session SET id = '$theirs' WHERE id = '$mine'", "UPDATE cauce.transcript_segment SET session_id = '$theirs'",
		"UPDATE cauce.account SET subject = 'north-pro'", "UPDATE cauce.account SET login_role = 'postgres'", "UPDATE cauce.organization SET admin_access = 'content'");
	refused('0A000', "COPY cauce.session (account_id) FROM STDIN;\n$their_account\n\\.", "COPY cauce.report (session_id, body) FROM STDIN;\n$mine\tx\n\\.");
	refused('42501', "COPY cauce.session FROM '/etc/passwd'", "COPY cauce.session TO '/tmp/loot'", "COPY cauce.session TO PROGRAM 'cat >/tmp/loot'", "COPY public.loot FROM PROGRAM 'id'");
	my $cursor = attack("BEGIN; DECLARE c CURSOR FOR SELECT * FROM cauce.session; MOVE ALL c; MOVE BACKWARD 1 IN c; UPDATE cauce.session SET language = 'canary-south-pro' WHERE CURRENT OF c; COMMIT");
	is($cursor->{sqlstate}, '', 'WHERE CURRENT OF reaches own rows only');
	unharmed();
};

subtest 'becoming somebody else' => sub {
	refused('42501|0LP01', map { ("SET ROLE $_", "SET SESSION AUTHORIZATION $_", "GRANT $_ TO app", "ALTER ROLE $_ LOGIN") } qw(postgres cauce_operator cauce_auditor cauce_stream rival));
	refused('42501|0LP01', 'CREATE ROLE x', 'ALTER ROLE app BYPASSRLS', 'ALTER ROLE app SUPERUSER', 'ALTER ROLE app REPLICATION', 'GRANT cauce_app TO rival', 'ALTER ROLE cauce_app SET row_security = off',
		'COMMIT; ALTER SYSTEM SET cauce.token_keys_file = \'/tmp/x\'', 'ALTER DATABASE cauce SET cauce.allowed_purposes = \'training\'', 'DROP ROLE cauce_app', 'REASSIGN OWNED BY postgres TO app');
	is(attack("SET ROLE cauce_app; SELECT count(*) FROM cauce.session")->{out}, '1', 'SET ROLE to the role one is in changes nothing');
	my $before = $cluster->superuser(q{SELECT md5(string_agg(relacl::text, ',' ORDER BY oid)) FROM pg_class WHERE relnamespace = 'cauce'::regnamespace});
	refused('42501', 'DROP OWNED BY cauce_app', 'DROP OWNED BY app, cauce_app CASCADE', 'SET ROLE cauce_app; DROP OWNED BY CURRENT_ROLE', q{DO $$ BEGIN DROP OWNED BY cauce_app; END $$});
	attack('DROP OWNED BY cauce_app');
	is($cluster->superuser(q{SELECT md5(string_agg(relacl::text, ',' ORDER BY oid)) FROM pg_class WHERE relnamespace = 'cauce'::regnamespace}), $before, 'DROP OWNED BY cauce_app takes no right from anybody');
	is($cluster->superuser(q{SELECT count(*) FROM pg_policies WHERE schemaname = 'cauce' AND 'cauce_app' = ANY (roles)}) > 10, 1, 'nor a policy');
	is(attack('SELECT cauce.account_id()')->{out}, $account{'south-pro'}, 'the attacker is who they were');
};

subtest 'settings' => sub {
	for my $setting (split /\n/, $cluster->superuser(q{SELECT name FROM pg_settings WHERE name LIKE 'cauce.%'}))
	{
		refused('42501|55P02|22023', "SET $setting = '1'") if $setting ne 'cauce.token';
		my $option = attack('SELECT 1', env => { PGOPTIONS => "-c $setting=1" });
		isnt($option->{out}, '1', "$setting from PGOPTIONS") if $setting ne 'cauce.token';
	}
	my $forged = $token{'north-pro'} =~ s/\.[^.]*$/.AAAA/r;
	my $option = $cluster->try_sql(app => undef, 'SELECT cauce.account_id()', env => { PGOPTIONS => "-c cauce.token=$forged" });
	like($option->{err}, qr/identity token is refused/, 'a forged token from PGOPTIONS opens no connection');
	unlike($option->{err}, qr/eyJ/, 'and is not shown');
	is($cluster->try_sql(app => undef, 'SELECT cauce.account_id()', env => { PGOPTIONS => "-c cauce.token=$token{solo}" })->{out}, $account{solo}, 'one\'s own is taken from there');
	refused('42501', 'SET session_replication_role = replica', 'SET session_preload_libraries = \'x\'', 'SET log_min_messages = debug5', 'LOAD \'/tmp/x.so\'', 'SET zero_damaged_pages = on',
		'SET allow_system_table_mods = on');
	refused('42501', 'SET row_security = off; SELECT * FROM cauce.session', 'SET row_security = off; SELECT * FROM public.note');
	is(attack('SET check_function_bodies = off; SET quote_all_identifiers = on; SET transform_null_equals = on; SET standard_conforming_strings = off; SET constraint_exclusion = on;
		SET enable_seqscan = off; SET from_collapse_limit = 1; SET join_collapse_limit = 1; SET DateStyle = German; SET search_path = lair, cauce; SELECT count(*) FROM session')->{out}, '1', 'the others change nothing');
	my $result = attack('CREATE FUNCTION lair.f() RETURNS uuid LANGUAGE sql SET cauce.token FROM CURRENT AS \'SELECT cauce.account_id()\'');
	is($result->{sqlstate}, '28000', 'a function keeps no token');
};

subtest 'cauce\'s own objects' => sub {
	for my $table (qw(cauce.session cauce.data_key public.note))
	{
		refused('42501|42809|0A000', "ALTER TABLE $table DISABLE ROW LEVEL SECURITY", "ALTER TABLE $table NO FORCE ROW LEVEL SECURITY", "CREATE POLICY mine2 ON $table USING (true)", "ALTER TABLE $table OWNER TO app",
			"CREATE TRIGGER t BEFORE INSERT ON $table FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", "CREATE RULE r AS ON SELECT TO $table DO INSTEAD SELECT 1", "DROP TABLE $table CASCADE",
			"ALTER TABLE $table DISABLE TRIGGER ALL", "CREATE PUBLICATION p FOR TABLE $table", "CREATE TABLE lair.child () INHERITS ($table)", "ALTER TABLE $table INHERIT public.loot", "COMMENT ON TABLE $table IS 'x'",
			"CREATE TABLE lair.p (LIKE $table) PARTITION BY LIST (account_id); ALTER TABLE lair.p ATTACH PARTITION $table DEFAULT", "ALTER TABLE $table SET SCHEMA lair");
	}
	refused('42501', 'LOCK TABLE cauce.data_key IN ACCESS SHARE MODE', 'LOCK TABLE cauce.organization IN ACCESS EXCLUSIVE MODE');
	refused('42501', 'DROP POLICY visible ON cauce.session', 'ALTER POLICY visible ON cauce.session USING (true)', 'CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION cauce.seal_row()',
		'CREATE FUNCTION cauce.account_id(integer) RETURNS uuid LANGUAGE sql AS \'SELECT NULL::uuid\'', 'CREATE OR REPLACE FUNCTION cauce.account_id() RETURNS uuid LANGUAGE sql AS \'SELECT NULL::uuid\'',
		'CREATE OPERATOR cauce.= (LEFTARG = uuid, RIGHTARG = text, FUNCTION = texteq)', 'CREATE TABLE cauce.t ()', 'CREATE VIEW cauce.v AS SELECT 1', 'CREATE TYPE cauce.t AS ENUM ()', 'ALTER SCHEMA cauce RENAME TO x', 'DROP EXTENSION cauce',
		'ALTER EXTENSION cauce UPDATE', 'CREATE EXTENSION dblink', 'ALTER FUNCTION cauce.account_id() OWNER TO app', 'CREATE TABLE lair.t (a uuid, b uuid, FOREIGN KEY (a, b) REFERENCES cauce.session)',
		'CREATE TABLE lair.t (a uuid REFERENCES cauce.account)', 'CREATE TABLE lair.t (a uuid REFERENCES cauce.organization)');
	my @triggers = split /\n/, $cluster->superuser(q{SELECT proname FROM pg_proc WHERE pronamespace = 'cauce'::regnamespace AND prorettype = 'trigger'::regtype ORDER BY 1});
	cmp_ok(scalar @triggers, '>=', 12, 'there are trigger functions');
	refused('42501', map { "CREATE TABLE lair.t (account_id uuid, id uuid); CREATE TRIGGER t AFTER DELETE ON lair.t FOR EACH ROW EXECUTE FUNCTION cauce.$_()" } @triggers);
	unharmed();
};

subtest 'definer functions, with everything shadowed' => sub {
	# Whatever a definer function of cauce's might look up, the attacker has one of in the session's own schema and in public.
	my $trap = join ';', map { my $schema = $_; (
		"CREATE TABLE $schema.account AS SELECT * FROM cauce.account", "CREATE TABLE $schema.session AS SELECT * FROM cauce.session", "CREATE TABLE $schema.pg_class (x integer)", "CREATE TABLE $schema.pg_roles (rolname name, rolsuper boolean)",
		"CREATE FUNCTION $schema.trap() RETURNS boolean LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO public.loot VALUES (current_user); RETURN true; END \$\$",
		"CREATE FUNCTION $schema.trap(uuid, uuid) RETURNS boolean LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO public.loot VALUES (current_user); RETURN true; END \$\$",
		"CREATE FUNCTION $schema.trap(integer, integer) RETURNS boolean LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO public.loot VALUES (current_user); RETURN true; END \$\$",
		"CREATE FUNCTION $schema.now() RETURNS timestamptz LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO public.loot VALUES (current_user); RETURN clock_timestamp(); END \$\$",
		"CREATE FUNCTION $schema.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO public.loot VALUES (current_user); RETURN 'x'; END \$\$",
		"CREATE FUNCTION $schema.length(text) RETURNS integer LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO public.loot VALUES (current_user); RETURN 1; END \$\$",
		"CREATE OPERATOR $schema.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = $schema.trap)", "CREATE OPERATOR $schema.<= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = $schema.trap)") } qw(pg_temp public);
	my @calls = ('cauce.set_retention(30)', 'cauce.set_retention(99999)', "cauce.set_organization_retention('$their_account', 30)", "cauce.stream_token('$mine')", "cauce.archive_session('$mine')", "cauce.restore_session('$mine')",
		'cauce.export_my_data()', 'cauce.certificate_jwks()', "cauce.verify_certificate('$mine')", "cauce.create_account('x')", "cauce.create_organization('x')", 'cauce.run_retention()', "cauce.schedule_retention('* * * * *')",
		'cauce.unschedule_retention()', "cauce.delete_my_data('x')", 'cauce.account_id()', 'cauce.readable_account_ids()');
	my $script = join "\n", '\set ON_ERROR_STOP off', "$trap;", 'SET search_path = pg_temp, public, pg_catalog;', map { "SELECT $_ \\g /dev/null" } @calls;
	my $result = attack("BEGIN;\n$script\nSELECT 1;\nROLLBACK; ", role => 'app');
	# Each by itself, as an error ends a transaction.
	my $session = CauceSession->open($cluster, app => $token{'south-pro'});
	is($session->try($trap)->{sqlstate}, '', 'traps are set');
	$session->query('SET search_path = pg_temp, public, pg_catalog');
	$session->try("SELECT $_") for @calls;
	$session->try("INSERT INTO cauce.report (session_id, body) VALUES ('$mine', 'x')");
	$session->try("DELETE FROM cauce.report WHERE body::text OPERATOR(pg_catalog.=) 'x'");
	is($cluster->superuser(q{SELECT string_agg(DISTINCT note, ' ') FROM public.loot WHERE note <> 'app'}), '', 'none is stepped into with more rights than the attacker\'s');
	is($session->query('SELECT pg_catalog.count(*) FROM cauce.session'), '1', 'and no look-alike is read');
	$session->close;
	$cluster->superuser('DROP OPERATOR public.= (uuid, uuid); DROP OPERATOR public.<= (integer, integer); DROP FUNCTION public.trap(), public.trap(uuid, uuid), public.trap(integer, integer), public.now(), public.format(text, text[]), public.length(text);
		DROP TABLE public.account, public.session, public.pg_class, public.pg_roles; TRUNCATE public.loot');
	my $careless = $cluster->superuser(q{SELECT string_agg(p.oid::regprocedure::text, ' ') FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
		WHERE p.pronamespace = 'cauce'::regnamespace AND l.lanname <> 'c' AND p.prokind = 'f' AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)});
	is($careless, '', 'every function in SQL has a search_path of its own, whoever\'s rights it has');
	unharmed();
};

subtest 'views, rules and triggers of the attacker\'s' => sub {
	attack("CREATE VIEW lair.v AS SELECT * FROM cauce.session; CREATE VIEW lair.i WITH (security_invoker) AS SELECT * FROM cauce.transcript; CREATE MATERIALIZED VIEW lair.m AS SELECT * FROM cauce.session;
		CREATE TABLE lair.t (x text); CREATE RULE r AS ON INSERT TO lair.t DO ALSO SELECT language FROM cauce.session; GRANT SELECT ON lair.v, lair.i, lair.m TO PUBLIC; GRANT USAGE ON SCHEMA lair TO PUBLIC");
	for my $sql ('SELECT * FROM lair.v', 'SELECT * FROM lair.i', 'SELECT * FROM lair.m', "INSERT INTO lair.t VALUES ('x')", 'REFRESH MATERIALIZED VIEW lair.m; SELECT * FROM lair.m')
	{
		my $result = attack($sql);
		is($result->{loot}, '', $sql);
	}
	unlike($cluster->superuser('SELECT title FROM lair.m'), qr/canary/, 'what a materialized view keeps is sealed');
	is($cluster->try_sql(rival => $token{'south-pro'}, 'SELECT count(*) FROM lair.v')->{sqlstate}, '42501', 'a view lent to a login without rights: its policies may not be asked');
	is($cluster->try_sql(rival => $token{'south-pro'}, 'SELECT count(*) FROM lair.i')->{sqlstate}, '42501', 'nor one of the invoker\'s rights');
	$cluster->superuser('CREATE VIEW public.careless AS SELECT * FROM cauce.session; CREATE VIEW public.careful WITH (security_invoker) AS SELECT * FROM cauce.session; GRANT SELECT ON public.careless, public.careful TO app');
	is(attack('SELECT * FROM public.careful')->{loot}, '', 'a superuser\'s view with security_invoker');
	my $careless = attack('SELECT account_id, title FROM public.careless');
	is($careless->{loot}, '', 'one without gets round the policies, and to sealed content only');
	is(() = $careless->{out} =~ /cauce1:/g, @subjects - 1, 'of all others');
};

subtest 'a protected table that the attacker owns' => sub {
	$cluster->superuser('ALTER TABLE public.note OWNER TO app');
	is(attack('SELECT * FROM public.note')->{loot}, '', 'the owner is under its policies');
	is(attack('ALTER TABLE public.note DISABLE ROW LEVEL SECURITY; SELECT id, body FROM public.note')->{loot}, '', 'and finds content sealed when they are lifted');
	is(attack('ALTER TABLE public.note DISABLE TRIGGER USER; UPDATE public.note SET body = body; SELECT body FROM public.note')->{loot}, '', 'also without triggers');
	is(attack("CREATE FUNCTION lair.spy() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO public.loot VALUES (OLD.body::text); RETURN OLD; END \$\$;
		ALTER TABLE public.note ENABLE TRIGGER USER; CREATE TRIGGER spy AFTER DELETE ON public.note FOR EACH ROW EXECUTE FUNCTION lair.spy(); DELETE FROM public.note RETURNING body::text")->{sqlstate}, '42501', 'a trigger opens what the token opens');
	$cluster->superuser('DROP TRIGGER spy ON public.note; ALTER TABLE public.note OWNER TO postgres; ALTER TABLE public.note ENABLE ROW LEVEL SECURITY');
	unharmed();
};

subtest 'copies of everything' => sub {
	my %env = (PGOPTIONS => "-c cauce.token=$token{'south-pro'}");
	for my $options ([], ['--enable-row-security'], [ '--enable-row-security', '--data-only', '--inserts' ])
	{
		local @ENV{ keys %env } = values %env;
		run [ 'pg_dump', '-d', $cluster->dsn('app'), @$options, '-t', 'cauce.session', '-t', 'cauce.report', '-t', 'public.note' ], '<', \undef, '>', \my $out, '2>', \my $err;
		unlike("$out$err", qr/canary-(?!south-pro)/, "pg_dump @$options");
	}
	refused('42501', q{SELECT pg_create_logical_replication_slot('s', 'test_decoding')}, q{SELECT * FROM pg_logical_slot_get_changes('s', NULL, NULL)}, q{SELECT pg_read_file('postgresql.conf')},
		q{SELECT lo_import('/etc/passwd')}, q{SELECT pg_ls_dir('.')}, q{SELECT pg_export_snapshot() FROM pg_read_binary_file('global/pg_control')}, 'COMMIT; CREATE SUBSCRIPTION s CONNECTION \'dbname=cauce\' PUBLICATION p', 'CHECKPOINT',
		'SELECT * FROM pg_replication_slots, pg_stat_get_wal_senders() w, pg_show_all_file_settings()', 'SELECT * FROM pg_authid', 'SELECT * FROM pg_user_mapping', 'SELECT pg_current_logfile()');
	is(attack('SELECT count(*) FROM pg_largeobject_metadata')->{out}, '0', 'cauce keeps no large objects');
	my $wal = $cluster->try_sql(app => $token{'south-pro'}, 'IDENTIFY_SYSTEM', database => 'cauce replication=database');
	isnt($wal->{status}, 0, 'no replication connection');
};

subtest 'an admin of the other organization' => sub {
	$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'content' WHERE name = 'south'});
	my $admin = $cluster->token('south-admin');
	$token{'south-admin'} = $admin;
	for my $sql ('SELECT * FROM cauce.session', 'SELECT * FROM cauce.transcript', 'SELECT * FROM public.note', 'SELECT * FROM cauce.account', "SELECT * FROM cauce.report WHERE account_id = '$their_account'",
		"SELECT cauce.set_organization_retention((SELECT organization_id FROM cauce.account WHERE id = '$their_account'), 1)", 'SELECT * FROM cauce.alert_rule')
	{
		my $result = $cluster->try_sql(app => $admin, $sql);
		unlike("$result->{out}$result->{err}", qr/canary-(north|solo)/, $sql =~ s/\Q$their_account\E/…/r);
	}
	unharmed();
};

done_testing;
