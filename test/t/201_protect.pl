# cauce.protect() makes an application's table part of sessions: sealed columns, rows for their owner alone,
# legal hold, erasure; no plaintext stays in its files; and cauce.unprotect() gives it back to an owner only.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use JSON::PP;
use Test::More;

my $cluster = CauceTest->start;
my %token = map { $_ => $cluster->token($_) } qw(north-pro north-pro2 north-admin south-pro solo);
my $canary = 'qzadopted';

my %session = map { $_ => $cluster->sql(app => $token{$_}, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id}) } qw(north-pro south-pro);
$cluster->superuser(q{CREATE ROLE legacy LOGIN; CREATE SCHEMA "The App"; GRANT USAGE, CREATE ON SCHEMA "The App" TO legacy; GRANT USAGE ON SCHEMA "The App" TO app});

# legacy makes a table as an application would have it, with 400 rows, and gives its quoted name.
sub legacy
{
	my ($name, %option) = @_;
	my $table = qq{"The App"."$name"};
	$cluster->sql(legacy => undef, qq{CREATE TABLE $table (n int, tenant text NOT NULL DEFAULT 'a', "session of" uuid, words text NOT NULL DEFAULT 'none',
		short varchar(40), code char(9), "quoted ""col" text, touched int NOT NULL DEFAULT 0, PRIMARY KEY (n, tenant))} . ($option{partitioned} ? ' PARTITION BY LIST (tenant)' : ''));
	$cluster->sql(legacy => undef, qq{CREATE TABLE "The App"."$name b" PARTITION OF $table FOR VALUES IN ('b');
		CREATE TABLE "The App"."$name a" PARTITION OF $table FOR VALUES IN ('a')}) if $option{partitioned};
	$cluster->superuser(qq{INSERT INTO $table (n, tenant, "session of", words, short, code, "quoted ""col")
		SELECT n, CASE WHEN n % 3 = 0 THEN 'b' ELSE 'a' END, CASE WHEN n % 2 = 0 THEN '$session{'north-pro'}'::uuid ELSE '$session{'south-pro'}' END,
			'$canary words ' || n, '$canary short', 'abc', CASE WHEN n % 5 = 0 THEN repeat('$canary long ', 500) END FROM generate_series(1, 400) n});
	$cluster->sql(legacy => undef, qq{CREATE FUNCTION "The App"."$name touch"() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.touched := NEW.touched + 1; RETURN NEW; END';
		CREATE TRIGGER touch BEFORE UPDATE ON $table FOR EACH ROW EXECUTE FUNCTION "The App"."$name touch"();
		GRANT ALL ON $table TO app});
	return $table;
}

# protect adopts all of its texts.
sub protect
{
	my ($table, %option) = @_;
	return $cluster->try_sql(postgres => $option{token}, qq{SELECT cauce.protect('$table', 'session of', ARRAY['words', 'short', 'code', 'quoted "col'])});
}

# files_of gives the files of a table, its partitions, their TOAST tables and indexes.
sub files_of
{
	my ($table) = @_;
	$cluster->superuser('CHECKPOINT');
	return map { $cluster->pgdata . "/$_" } split /\n/, $cluster->superuser(qq{
		WITH part AS (SELECT '$table'::regclass AS r UNION SELECT relid FROM pg_partition_tree('$table')),
			heap AS (SELECT c.oid, c.reltoastrelid FROM pg_class c JOIN part ON oid = r WHERE relkind = 'r'),
			toast AS (SELECT oid FROM heap UNION SELECT reltoastrelid FROM heap WHERE reltoastrelid <> 0)
		SELECT pg_relation_filepath(oid) FROM (SELECT oid FROM toast UNION SELECT indexrelid FROM pg_index WHERE indrelid IN (SELECT oid FROM toast)) f});
}

sub plaintext_in
{
	my $found = $cluster->as_postgres('grep', '-c', '-a', '-F', '-e', $canary, files_of(@_));
	return join ' ', grep { !/^0$|:0$/ } split /\n/, $found->{out};
}

for my $kind (qw(ordinary partitioned))
{
	subtest "the table is $kind" => sub {
		my $table = legacy($kind, partitioned => $kind eq 'partitioned');
		isnt(plaintext_in($table), '', 'its files hold what was said');
		my $done = protect($table);
		is($done->{status}, 0, 'it is protected') or diag $done->{err};
		like($done->{err}, qr/NOTICE.*is protected.*HINT:.*adoption\.md/s, 'and what remains elsewhere is told');
		is(plaintext_in($table), '', 'none of its files does any more');
		is($cluster->superuser("SELECT * FROM cauce.verify('$table')"), '', 'every value opens and is bound to its place');
		is($cluster->superuser(qq{SELECT count(*), count(*) FILTER (WHERE words::text COLLATE "C" ~ '^cauce1:') FROM (SELECT format('%s', words) AS words FROM $table) t}), '400|400', 'for a superuser all of it is sealed');
		is($cluster->superuser("SELECT max(touched) FROM $table"), '0', q{the application's triggers did not run});

		my $read = qq{SELECT count(*), min(n), min(words::text), min(short::text), min(code::text), max(length("quoted ""col")), count(*) FILTER (WHERE "quoted ""col" IS NULL) FROM $table};
		is($cluster->sql(app => $token{'north-pro'}, $read), "200|2|$canary words 10|$canary short|abc|7000|160" =~ s/7000/length("$canary long ") * 500/er, 'its owner reads it as it was');
		is($cluster->sql(app => $token{'south-pro'}, $read) =~ /^200\|1\|/, 1, 'so does another, another half');
		is($cluster->sql(app => $token{$_}, "SELECT count(*) FROM $table"), '0', "$_ sees nothing") for qw(north-pro2 north-admin solo);
		is($cluster->sql(app => undef, "SELECT count(*) FROM $table"), '0', 'nor does nobody');
		is($cluster->sql(legacy => undef, "SELECT count(*) FROM $table"), '0', q{nor the table's owner});
		$cluster->superuser(q{CREATE POLICY IF_ANY ON } . $table . q{ USING (true)});
		is($cluster->sql(app => $token{solo}, "SELECT count(*) FROM $table"), '0', 'whatever other policies say');
		$cluster->superuser("DROP POLICY if_any ON $table");
		$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'content' WHERE name = 'north'});
		is($cluster->sql(app => $token{'north-admin'}, "SELECT count(words::text) FROM $table"), '200', 'an admin who may read content reads it');
		is($cluster->sql(app => $token{'north-admin'}, "WITH d AS (DELETE FROM $table RETURNING 1) SELECT count(*) FROM d"), '0', 'and deletes none');
		$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'sessions' WHERE name = 'north'});

		my $insert = qq{INSERT INTO $table (n, tenant, "session of", words) VALUES (1000, 'b', '%s', '$canary new') RETURNING words};
		is($cluster->sql(app => $token{'north-pro'}, sprintf $insert, $session{'north-pro'}), "$canary new", 'its owner writes');
		is($cluster->sql(app => $token{'north-pro'}, qq{INSERT INTO $table (n, "session of") VALUES (1001, '$session{'north-pro'}') RETURNING words}), 'none', 'defaults and all');
		is($cluster->try_sql(app => $token{'north-pro'}, sprintf $insert, $session{'south-pro'})->{sqlstate}, '23503', q{into nobody else's session});
		is($cluster->try_sql(app => undef, sprintf $insert, $session{'north-pro'})->{sqlstate}, '28000', 'and nobody without identity');
		is($cluster->try_sql(postgres => undef, "TRUNCATE $_")->{sqlstate}, '0A000', 'TRUNCATE is refused')
		  for $table, $kind eq 'partitioned' ? qq{"The App"."partitioned a"} : ();

		$cluster->superuser("UPDATE cauce.session SET legal_hold = true WHERE id = '$session{'north-pro'}'");
		is($cluster->try_sql(app => $token{'north-pro'}, "UPDATE $table SET words = 'x' WHERE n = 2")->{sqlstate}, '55006', 'under legal hold nothing is rewritten');
		is($cluster->try_sql(app => $token{'north-pro'}, "DELETE FROM $table WHERE n = 2")->{sqlstate}, '55006', 'nor deleted');
		is($cluster->try_sql(app => $token{'north-pro'}, "DELETE FROM cauce.session WHERE id = '$session{'north-pro'}'")->{sqlstate}, '55006', 'nor erased');
		is($cluster->sql(app => $token{'south-pro'}, "UPDATE $table SET words = '$canary again' WHERE n = 1 RETURNING words, touched"), "$canary again|1", 'other sessions are free');
		$cluster->superuser("UPDATE cauce.session SET legal_hold = false WHERE id = '$session{'north-pro'}'");
		is($cluster->sql(app => $token{'north-pro'}, "UPDATE $table SET words = '$canary two' WHERE n = 2 RETURNING words"), "$canary two", 'and this one when the hold is released');

		my $archive = $cluster->try_sql(app => $token{'north-pro'}, "SELECT cauce.archive_session('$session{'north-pro'}')");
		is($archive->{sqlstate}, '', 'it is archived with its rows');
		is($cluster->sql(app => $token{'north-pro'}, "SELECT cauce.restore_session('$session{'north-pro'}') \\g /dev/null\nSELECT words FROM $table WHERE n = 2"), "$canary two", 'and restored');

		my $own = $cluster->sql(app => $token{'north-pro'}, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
		$cluster->sql(app => $token{'north-pro'}, qq{INSERT INTO $table (n, tenant, "session of", words) SELECT 2000 + n, 'b', '$own', '$canary' FROM generate_series(1, 7) n;
			DELETE FROM cauce.session WHERE id = '$own'});
		is($cluster->superuser("SELECT count(*) FROM $table WHERE n > 2000"), '0', 'erasing a session erases its rows');
		is_deeply(decode_json($cluster->sql(app => $token{'north-pro'}, 'SELECT counts FROM cauce.erasure_certificate ORDER BY erased_at DESC LIMIT 1')),
			{ sessions => 1, segments => 0, reports => 0, alerts => 0, $table =~ s/\."(\w+)"/.$1/r => 7 }, 'and the certificate counts them');

		is($cluster->try_sql(postgres => $token{'north-pro'}, "SELECT cauce.unprotect('$table')")->{sqlstate}, '42501', 'one of two owners cannot have it all in the clear');
		is($cluster->try_sql(postgres => undef, "SELECT cauce.unprotect('$table')")->{sqlstate}, '28000', 'nor nobody');
		is($cluster->superuser("SELECT * FROM cauce.verify('$table')"), '', 'and nothing has changed');
		is($cluster->superuser(qq{SELECT "table"::text = '$table'::regclass::text, account_column, session_column, sealed_columns, adopting FROM cauce.protected_table}),
			qq(t|account_id|session of|{words,short,code,"quoted \\"col"}|f), 'it is listed as protected');
		$cluster->superuser(qq{DELETE FROM $table WHERE "session of" = '$session{'south-pro'}'});
		my $rows = $cluster->sql(app => $token{'north-pro'}, "SELECT count(*) FROM $table");
		is($cluster->try_sql(postgres => $token{'north-pro'}, "SELECT cauce.unprotect('$table')")->{status}, 0, 'the only owner can');
		is($cluster->superuser(qq{SELECT count(*), count(*) FILTER (WHERE words LIKE '$canary%'), min(pg_typeof(words)::text), min(pg_typeof(code)::text) FROM $table}),
			"$rows|" . ($rows - 1) . '|text|text', 'and the table is as plain as it was');
		is($cluster->superuser('SELECT count(*) FROM cauce.protected_table'), '0', 'listed no more');
		is($cluster->superuser("SELECT relrowsecurity, relforcerowsecurity, (SELECT count(*) FROM pg_policy WHERE polrelid = '$table'::regclass),
			(SELECT string_agg(tgname, ',') FROM pg_trigger WHERE tgrelid = '$table'::regclass AND NOT tgisinternal) FROM pg_class WHERE oid = '$table'::regclass"), 'f|f|0|touch', 'nothing of cauce stays');
		is($cluster->sql(app => undef, qq{INSERT INTO $table (n, "session of") VALUES (3000, gen_random_uuid()) RETURNING words}), 'none', 'and the application writes as it did');
		$cluster->superuser("DROP TABLE $table");
	};
}

subtest 'text that looks like a sealed value is text' => sub {
	my $stolen = $cluster->superuser("SELECT title FROM cauce.session WHERE id = '$session{'south-pro'}'");
	$cluster->superuser(qq{CREATE TABLE public.trap (n int PRIMARY KEY, s uuid, words text);
		INSERT INTO public.trap VALUES (1, '$session{'north-pro'}', '$stolen'), (2, '$session{'north-pro'}', 'cauce1:nonsense'), (3, '$session{'north-pro'}', '');
		GRANT ALL ON public.trap TO app; SELECT cauce.protect('public.trap', 's', '{words}')});
	is($cluster->sql(app => $token{'north-pro'}, 'SELECT words FROM public.trap ORDER BY n'), "$stolen\ncauce1:nonsense\n", 'and stays so');
	$cluster->superuser('DROP TABLE public.trap');
};

subtest 'types other than text' => sub {
	my $row = q{('%s', '{"b": [1, 2], "a": "cauce1:x"}', '{"k": "x"}', '\\xff00fe', ARRAY['one', NULL, 'two,"three"'], ARRAY['\\x00'::bytea])};
	my $all = q{SELECT kept || '', doc, raw, length(bin), encode(bin, 'hex'), list::text[], bins::bytea[] FROM public.mixed ORDER BY n};
	$cluster->superuser(q{CREATE TABLE public.mixed (n int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, s uuid, kept varchar(5) DEFAULT 'k', doc jsonb NOT NULL DEFAULT '{}', raw json, bin bytea, list text[], bins bytea[]);
		GRANT ALL ON public.mixed TO app; INSERT INTO public.mixed (s, doc, raw, bin, list, bins) VALUES } . sprintf $row, $session{'north-pro'});
	my $was = $cluster->superuser($all);
	$cluster->superuser(q{SELECT cauce.protect('public.mixed', 's', '{kept,doc,raw,bin,list,bins}')});
	is($cluster->superuser(q{SELECT string_agg(format_type(atttypid, -1), ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'public.mixed'::regclass AND attnum > 2 AND atttypid <> 'uuid'::regtype}),
		'cauce.encrypted_text cauce.encrypted_jsonb cauce.encrypted_jsonb cauce.encrypted_bytea cauce.encrypted_text[] cauce.encrypted_bytea[]', 'each becomes its sealed type');
	is($cluster->superuser(q{SELECT * FROM cauce.verify('public.mixed')}), '', 'bound to its place');
	is($cluster->sql(app => $token{'north-pro'}, $all), $was, 'and says what it said');
	$cluster->sql(app => $token{'north-pro'}, qq{INSERT INTO public.mixed (s) VALUES ('$session{'north-pro'}')});
	is($cluster->sql(app => $token{'north-pro'}, q{SELECT kept, doc->'x' IS NULL FROM public.mixed WHERE raw IS NULL}), 'k|t', 'defaults are sealed, too');
	$cluster->superuser(q{ALTER TABLE public.mixed RENAME list TO items; SELECT cauce.rebind('public.mixed', "column" => 'items', former_column => 'list')});
	is($cluster->superuser(q{SELECT * FROM cauce.verify('public.mixed')}), '', 'an array is bound to its new name');
	$cluster->superuser('ALTER TABLE public.mixed RENAME items TO list');
	$cluster->sql(app => $token{'north-pro'}, 'DELETE FROM public.mixed WHERE raw IS NULL');
	is($cluster->try_sql(postgres => $token{'north-pro'}, q{SELECT cauce.unprotect('public.mixed')})->{err} =~ /ERROR.*/ ? $& : '', '', 'unprotect()');
	is($cluster->superuser($all), $was, 'gives it all back');
	is($cluster->superuser(q{SELECT string_agg(format_type(atttypid, -1) || coalesce(' ' || pg_get_expr(adbin, adrelid), ''), ', ' ORDER BY attnum) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
		WHERE attrelid = 'public.mixed'::regclass AND attnum > 2 AND atttypid <> 'uuid'::regtype}), q{text 'k'::character varying, jsonb '{}'::jsonb, jsonb, bytea, text[], bytea[]}, 'defaults among it');
	$cluster->superuser('DROP TABLE public.mixed');
};

subtest 'an account_id that is there is used' => sub {
	my ($north, $south) = map { $cluster->superuser("SELECT id FROM cauce.account WHERE subject = '$_'") } qw(north-pro south-pro);
	$cluster->superuser(qq{CREATE TABLE public.mine (n int PRIMARY KEY, account_id uuid, s uuid, words text);
		CREATE INDEX by_session ON public.mine (s, account_id);
		INSERT INTO public.mine VALUES (1, '$north', '$session{'north-pro'}', 'a'), (2, NULL, '$session{'north-pro'}', 'b'), (3, '$south', '$session{'north-pro'}', 'c')});
	my $wrong = $cluster->try_sql(postgres => undef, "SELECT cauce.protect('public.mine', 's', '{words}')");
	is($wrong->{sqlstate}, '23503', 'a row of one account in the session of another');
	like($wrong->{err}, qr/1 of the 3 rows/, 'is counted');
	$cluster->superuser("DELETE FROM public.mine WHERE n = 3; SELECT cauce.protect('public.mine', 's', '{words}')");
	is($cluster->superuser("SELECT count(*), count(DISTINCT account_id) FROM public.mine"), '2|1', 'where it is missing it is filled');
	is($cluster->superuser("SELECT count(*) FROM pg_index WHERE indrelid = 'public.mine'::regclass"), '2', 'an index that serves is not made twice');
	$cluster->superuser('DROP TABLE public.mine');
};

subtest 'refused, with nothing changed' => sub {
	$cluster->superuser(qq{CREATE TABLE public.t (n int PRIMARY KEY, s uuid, words text, more text, number int, other int);
		INSERT INTO public.t VALUES (1, '$session{'north-pro'}', 'a'), (2, gen_random_uuid(), 'b'), (3, NULL, 'c');
		CREATE TABLE public.keyless (s uuid, words text); CREATE UNLOGGED TABLE public.unlogged (n int PRIMARY KEY, s uuid, words text);
		CREATE VIEW public.v AS SELECT n, s, words FROM public.t WHERE false;
		CREATE TABLE public.parent (n int PRIMARY KEY, s uuid); CREATE TABLE public.child (PRIMARY KEY (n)) INHERITS (public.parent);
		CREATE TABLE public.parted (n int PRIMARY KEY, s uuid) PARTITION BY RANGE (n); CREATE TABLE public.part PARTITION OF public.parted DEFAULT});
	my $before = $cluster->superuser(q{SELECT md5(string_agg(a::text, ',' ORDER BY attnum)) FROM pg_attribute a WHERE attrelid = 'public.t'::regclass});
	my $refused = sub {
		my ($sqlstate, $what, $arguments, $setup) = @_;
		my $result = $cluster->try_sql(postgres => undef, 'BEGIN; ' . ($setup ? "$setup; " : '') . "SELECT cauce.protect($arguments)");
		is($result->{sqlstate}, $sqlstate, $what) or diag $result->{err};
		return $result->{err};
	};
	like($refused->('23503', 'rows without a session', q{'public.t', 's', '{more}'}), qr/2 of the 3 rows.*DETAIL.*HINT/s, 'are counted');
	is($cluster->superuser(q{SELECT md5(string_agg(a::text, ',' ORDER BY attnum)) FROM pg_attribute a WHERE attrelid = 'public.t'::regclass}), $before, 'and nothing has changed');
	my $good = "DELETE FROM public.t WHERE n > 1";
	$refused->('42809', 'a view', q{'public.v', 's'});
	$refused->('42809', 'no primary key', q{'public.keyless', 's'});
	$refused->('42809', 'an unlogged table', q{'public.unlogged', 's'});
	$refused->('42809', 'a temporary table', q{'pg_temp.t', 's'}, 'CREATE TEMP TABLE t (n int PRIMARY KEY, s uuid)');
	$refused->('42809', 'a partition by itself', q{'public.part', 's'});
	$refused->('42809', "an inheritance $_", qq{'public.$_', 's'}) for qw(parent child);
	$refused->('42809', "$_", qq{'$_', 'id'}) for qw(cauce.report pg_catalog.pg_authid cron.job);
	$refused->('42809', 'a trigger that would fire', q{'public.t', 's'}, q{CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER f BEFORE UPDATE ON public.t FOR EACH ROW EXECUTE FUNCTION pg_temp.f(); ALTER TABLE public.t ENABLE ALWAYS TRIGGER f});
	$refused->('42809', 'a rule', q{'public.t', 's'}, 'CREATE RULE r AS ON UPDATE TO public.t DO INSTEAD NOTHING');
	$refused->('25001', 'an older snapshot', q{'public.t', 's'}, 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ');
	$refused->('42703', 'no such column', q{'public.t', 'nowhere', '{words}'});
	$refused->('42703', 'no such column to seal', q{'public.t', 's', '{nowhere}'});
	$refused->('42804', 'a session that is no uuid', q{'public.t', 'n', '{words}'});
	$refused->('42804', 'a number to seal', q{'public.t', 's', '{number}'}, $good);
	$refused->('42804', 'the session itself', q{'public.t', 's', '{s}'}, $good);
	$refused->('22004', 'no session', q{'public.t', NULL, '{words}'});
	like($refused->('2BP01', 'a column of a view', q{'public.t', 's', '{words}'}, $good), qr/view public\.v/, 'which is named');
	$refused->('2BP01', 'of an index', q{'public.t', 's', '{more}'}, "$good; CREATE INDEX ON public.t (number) WHERE more IS NULL");
	$refused->('2BP01', 'of a check', q{'public.t', 's', '{more}'}, "$good; ALTER TABLE public.t ADD CHECK (more <> '')");
	$refused->('2BP01', 'of statistics', q{'public.t', 's', '{more}'}, "$good; CREATE STATISTICS public.st ON more, number FROM public.t");
	$refused->('2BP01', 'of a generated column', q{'public.t', 's', '{more}'}, "$good; ALTER TABLE public.t ADD g int GENERATED ALWAYS AS (length(more)) STORED");
	$refused->('2BP01', 'of a policy', q{'public.t', 's', '{more}'}, "$good; CREATE POLICY p ON public.t USING (more = 'x')");
	$refused->('42710', 'what is protected already', q{'public.t', 's', '{more}'}, "$good; SELECT cauce.protect('public.t', 's')");
	$cluster->superuser('CREATE ROLE dba LOGIN CREATEROLE CREATEDB; GRANT USAGE ON SCHEMA cauce TO dba; ALTER TABLE public.t OWNER TO dba;
		GRANT EXECUTE ON FUNCTION cauce.protect, cauce.require_superuser TO dba; GRANT EXECUTE ON FUNCTION cauce.unprotect TO dba');
	is($cluster->try_sql(dba => undef, "SELECT cauce.protect('public.t', 's')")->{sqlstate}, '42501', 'who is no superuser protects nothing');
	is($cluster->try_sql(dba => undef, "SELECT cauce.unprotect('public.t')")->{sqlstate}, '42501', 'nor unprotects');
	is($cluster->try_sql(app => $token{'north-pro'}, "SELECT cauce.protect('public.t', 's')")->{sqlstate}, '42501', 'let alone an application');
	is($cluster->try_sql(postgres => undef, "SELECT cauce.unprotect('public.t')")->{sqlstate}, '42704', 'what is not protected cannot be unprotected');
};

unlike($cluster->log, qr/$canary/, 'the log has none of what was said');

done_testing;
