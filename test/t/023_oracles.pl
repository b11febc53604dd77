# What one account may not see it cannot find out either: no error, count, estimate, statistic, lock or
# view of the server's tells whether others have a row of some id or value. What PostgreSQL itself tells
# about whole tables is in docs/threat-model.md.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my %token = map { $_ => $cluster->token($_) } qw(north-pro north-admin south-pro south-admin solo);
my $none = '00000000-0000-4000-8000-000000000000';

# Every account has rows enough that values make it into statistics.
my %has;
for my $who (sort keys %token)
{
	my ($live, $archived, $gone) = split /\n/, $cluster->sql(app => $token{$who},
		"INSERT INTO cauce.session (title, language) SELECT 'session of $who', 'tongue-$who' FROM generate_series(1, 40) RETURNING id");
	$cluster->sql(app => $token{$who}, "INSERT INTO cauce.transcript_segment (session_id, seq, speaker, start_ms, end_ms, body)
			SELECT '$live', n, 'speaker-$who', n, n, 'segment of $who' FROM generate_series(1, 60) n;
		INSERT INTO cauce.alert (session_id, kind, detail) SELECT '$live', 'kind-$who', 'alert of $who' FROM generate_series(1, 40);
		SELECT cauce.archive_session('$archived'); DELETE FROM cauce.session WHERE id = '$gone'");
	$has{$who} = {
		session => $live,
		archive => $archived,
		account => $cluster->sql(app => $token{$who}, 'SELECT cauce.account_id()'),
		organization => $cluster->sql(app => $token{$who}, 'SELECT cauce.organization_id()'),
		report => $cluster->sql(app => $token{$who}, "INSERT INTO cauce.report (session_id, body) VALUES ('$live', 'report of $who') RETURNING id"),
		certificate => $cluster->sql(app => $token{$who}, 'SELECT id FROM cauce.erasure_certificate'),
	};
}
$cluster->superuser(q{CREATE TABLE public.note (id integer PRIMARY KEY, session uuid, label text, body text);
	SELECT cauce.protect('public.note', 'session', '{body}'); GRANT SELECT, INSERT, UPDATE, DELETE ON public.note TO cauce_app});
$cluster->sql(app => $token{'north-pro'}, "INSERT INTO public.note (id, session, label, body) SELECT n, '$has{'north-pro'}{session}', 'label-north-pro', 'x' FROM generate_series(1, 40) n");
$cluster->superuser('VACUUM ANALYZE');

# as_south runs SQL as south-pro in a transaction that is undone, and gives all that it hears.
sub as_south
{
	my ($sql, $before) = @_;
	my $result = $cluster->try_sql(app => $token{'south-pro'}, ($before // '') . "BEGIN; $sql;\nROLLBACK");
	return "$result->{sqlstate} $result->{out}\n$result->{err}";
}

subtest 'ids that others have and ids that nobody has answer alike' => sub {
	my $theirs = $has{'north-pro'};
	my @questions = (
		[ session => "INSERT INTO cauce.session (id) VALUES ('?') RETURNING 'made'" ],
		[ session => "INSERT INTO cauce.session (id) VALUES ('?') ON CONFLICT DO NOTHING RETURNING 'made'" ],
		[ archive => "INSERT INTO cauce.session (id) VALUES ('?') RETURNING 'made'" ],
		[ account => "INSERT INTO cauce.session (account_id) VALUES ('?')" ],
		[ account => "INSERT INTO cauce.session (account_id) VALUES ('?') ON CONFLICT DO NOTHING" ],
		[ account => "INSERT INTO cauce.session (account_id, id) VALUES ('?', '$theirs->{session}') ON CONFLICT (account_id, id) DO UPDATE SET language = 'x' RETURNING language" ],
		[ organization => "INSERT INTO cauce.session (organization_id) VALUES ('?')" ],
		[ organization => "INSERT INTO cauce.alert_rule (organization_id, pattern, kind) VALUES ('?', 'x', 'x')" ],
		[ account => "INSERT INTO cauce.alert_rule (account_id, pattern, kind) VALUES ('?', 'x', 'x')" ],
		[ session => "INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) VALUES ('?', 1, 0, 0, 'x')" ],
		[ session => "INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) VALUES ('?', 1, 0, 0, 'x') ON CONFLICT DO NOTHING" ],
		[ session => "INSERT INTO cauce.transcript_segment (account_id, session_id, seq, start_ms, end_ms, body) VALUES ('$theirs->{account}', '?', 1, 0, 0, 'x') ON CONFLICT DO NOTHING" ],
		[ report => "INSERT INTO cauce.report (id, session_id, body) VALUES ('?', '$has{'south-pro'}{session}', 'x') RETURNING 'made'" ],
		[ report => "INSERT INTO cauce.report (id, account_id, session_id, body) VALUES ('?', '$theirs->{account}', '$theirs->{session}', 'x') ON CONFLICT DO NOTHING" ],
		[ session => "INSERT INTO public.note (id, session, body) VALUES (99, '?', 'x')" ],
		[ session => "UPDATE cauce.session SET status = 'ended' WHERE id = '?' RETURNING 1" ],
		[ session => "DELETE FROM cauce.session WHERE id = '?' RETURNING 1" ],
		[ session => "WITH x AS (DELETE FROM cauce.session WHERE id = '?' RETURNING 1) SELECT count(*) FROM x" ],
		[ archive => "DELETE FROM cauce.archived_session WHERE id = '?' RETURNING 1" ],
		[ session => "MERGE INTO cauce.session s USING (VALUES ('?'::uuid)) v (id) ON s.id = v.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)" ],
		[ session => "SELECT * FROM cauce.session WHERE id = '?' FOR UPDATE" ],
		[ session => "SELECT 1 / count(*) FROM cauce.session WHERE id = '?'" ],
		[ session => "SELECT EXISTS (SELECT FROM cauce.session WHERE id = '?'), (SELECT count(*) FROM cauce.transcript_segment WHERE session_id = '?')" ],
		[ session => "SELECT cauce.stream_token('?')" ],
		[ session => "SELECT cauce.archive_session('?')" ],
		[ archive => "SELECT cauce.restore_session('?')" ],
		[ archive => "SELECT cauce.open_archive('$theirs->{account}', '?', '\\x00')" ],
		[ archive => "SELECT cauce.open_archive(cauce.account_id(), '?', '\\x00')" ],
		[ account => "SELECT cauce.open_archive('?', '$theirs->{archive}', '\\x00')" ],
		[ certificate => "SELECT cauce.verify_certificate('?')" ],
		[ organization => "SELECT cauce.set_organization_retention('?', 30)" ],
	);
	for (@questions)
	{
		my ($what, $sql) = @$_;
		my ($there, $nowhere) = map { my $id = $_; as_south($sql =~ s/\?/$id/gr) =~ s/\Q$id\E/ID/gr } $theirs->{$what}, $none;
		is($there, $nowhere, $sql =~ s/\s+/ /gr =~ s/\?/$what/gr);
		unlike($there, qr/north/, 'and names nobody') if $there =~ /north/;
	}
	my $bundle = $cluster->superuser("SELECT bundle FROM cauce.archived_session WHERE id = '$theirs->{archive}'");
	my $open = "SELECT cauce.open_archive('$theirs->{account}', '$theirs->{archive}', '$bundle')";
	my $there = as_south($open);
	like($there, qr/^42501 /, 'a bundle that leaked opens for its owner only');
	$cluster->sql(app => $token{'north-pro'}, "DELETE FROM cauce.archived_session WHERE id = '$theirs->{archive}'");
	is(as_south($open), $there, 'and does not say whether the archive is still there');
	is($cluster->try_sql(app => $token{'north-pro'}, $open)->{sqlstate}, 'XX001', 'but to its owner');
};

subtest 'what others have locked' => sub {
	my $owner = CauceSession->open($cluster, app => $token{'north-pro'});
	$owner->query("BEGIN; SELECT 1 FROM cauce.session FOR UPDATE; UPDATE cauce.session SET status = 'ended'; UPDATE cauce.account SET display_name = 'x'");
	for my $how ('SKIP LOCKED', 'NOWAIT', '')
	{
		is(as_south("SET LOCAL lock_timeout = '5s'; SELECT count(*) FROM (SELECT 1 FROM cauce.session WHERE id = '$has{'north-pro'}{session}' FOR UPDATE $how) s"), " 0\n",
			"no row, and no wait: FOR UPDATE $how");
	}
	is(as_south("SET LOCAL lock_timeout = '5s'; SELECT count(*) FROM (SELECT 1 FROM cauce.session FOR UPDATE NOWAIT) s"), " 38\n", 'own rows are not in the way of others');
	is(as_south("SET LOCAL lock_timeout = '5s'; INSERT INTO cauce.session (id) VALUES ('$has{'north-pro'}{session}') RETURNING 'made'"), " made\n", 'nor is the same id');
	# Advisory locks of SQL functions are others than those of cauce.
	is(as_south('SELECT bool_and(pg_try_advisory_xact_lock(classid::integer, objid::integer)) FROM (SELECT DISTINCT classid::bigint::integer AS classid, objid::bigint::integer AS objid FROM pg_locks WHERE locktype = \'advisory\') l') =~ /^ (t?)\n/, 1,
		'advisory locks can be neither taken away nor asked for');
	$owner->query('ROLLBACK');
	$owner->close;
};

# estimates gives the numbers of rows that the planner expects.
sub estimates
{
	return join ' ', as_south("EXPLAIN $_[0]", $_[1]) =~ /rows=(\d+)/g;
}

subtest 'the planner\'s estimates' => sub {
	my %column = (
		'cauce.session' => [ 'language', 'tongue-north-pro' ],
		'cauce.transcript_segment' => [ 'speaker', 'speaker-north-pro' ],
		'cauce.alert' => [ 'kind', 'kind-north-pro' ],
		'public.note' => [ 'label', 'label-north-pro' ]);
	for my $table (sort keys %column)
	{
		my ($column, $value) = @{ $column{$table} };
		is($cluster->superuser("SELECT most_common_vals::text LIKE '%$value%' FROM pg_stats WHERE schemaname || '.' || tablename = '$table' AND attname = '$column'"), 't', "$table.$column: the statistics have it");
		for my $condition ("= '?'", "<> '?'", "< '?'", "IN ('?', 'x')", "LIKE '?%'", "IS DISTINCT FROM '?'")
		{
			my ($theirs, $nobodys) = map { estimates("SELECT 1 FROM $table WHERE $column $condition" =~ s/\?/$_/r) } $value, 'aa-nobody';
			is($theirs, $nobodys, "$table.$column $condition");
		}
		is(estimates("SELECT 1 FROM $table WHERE account_id = '$has{'north-pro'}{account}'"), estimates("SELECT 1 FROM $table WHERE account_id = '$none'"), "$table: whose rows are how many");
		is(estimates("SELECT 1 FROM $table WHERE account_id < '$has{'north-pro'}{account}'"), estimates("SELECT 1 FROM $table WHERE account_id < '$none'"), "$table: and which accounts there are");
	}
	is(estimates("SELECT 1 FROM cauce.session WHERE started_at < now() - interval '1 year'"), estimates('SELECT 1 FROM cauce.session WHERE started_at < now()'), 'moments');
	is(estimates("SELECT 1 FROM cauce.session s JOIN (VALUES ('tongue-north-pro')) v (l) ON v.l = s.language"), estimates("SELECT 1 FROM cauce.session s JOIN (VALUES ('nobody')) v (l) ON v.l = s.language"), 'a join');
	is(estimates("SELECT 1 FROM v WHERE language = 'tongue-north-pro'", 'CREATE TEMP VIEW v AS SELECT * FROM cauce.session;'),
		estimates("SELECT 1 FROM v WHERE language = 'nobody'", 'CREATE TEMP VIEW v AS SELECT * FROM cauce.session;'), 'a view of the attacker\'s');
	my $row = sub { return ($cluster->superuser("EXPLAIN SELECT 1 FROM cauce.session WHERE language = '$_[0]'") =~ /rows=(\d+)/)[0] };
	cmp_ok($row->('tongue-north-pro'), '>', $row->('nobody'), 'a superuser\'s plans are as good as ever');
};

subtest 'EXPLAIN ANALYZE' => sub {
	my $query = "SELECT 1 FROM cauce.session WHERE id = '$has{'north-pro'}{session}'";
	for my $sql ("EXPLAIN ANALYZE $query", "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) $query", "PREPARE p AS $query; EXPLAIN ANALYZE EXECUTE p",
		"EXPLAIN ANALYZE CREATE TEMP TABLE t AS $query", "EXPLAIN ANALYZE DECLARE c CURSOR FOR $query", 'EXPLAIN ANALYZE SELECT 1 FROM cauce.transcript',
		"DO \$\$ BEGIN EXECUTE \$q\$EXPLAIN ANALYZE $query\$q\$; END \$\$", 'EXPLAIN ANALYZE UPDATE cauce.report SET kind = kind', 'EXPLAIN ANALYZE DELETE FROM cauce.session',
		'EXPLAIN ANALYZE SELECT label FROM public.note', "EXPLAIN ANALYZE WITH x AS ($query) SELECT (SELECT 1 FROM x)",
		"EXPLAIN ANALYZE INSERT INTO cauce.alert (session_id, kind) SELECT session_id, kind FROM cauce.alert")
	{
		like(as_south($sql), qr/^42501 .*DETAIL:.*HINT:/s, $sql);
	}
	unlike(as_south("EXPLAIN (ANALYZE false) $query"), qr/actual|ERROR/, 'EXPLAIN alone is everybody\'s');
	like(as_south('EXPLAIN ANALYZE SELECT 1'), qr/actual/, 'so is ANALYZE of anything else');
	like($cluster->sql(postgres => $token{'south-pro'}, "EXPLAIN ANALYZE $query"), qr/actual/, 'a superuser may');
	like(as_south("SET client_min_messages = log; SET debug_print_plan = on; $query"), qr/PLANNEDSTMT/, 'a plan that is printed');
	unlike(as_south("SET client_min_messages = log; SET debug_print_plan = on; $query"), qr/actual/, 'counts nothing');
};

subtest 'statistics themselves' => sub {
	is(as_south(q{SELECT count(*) FROM pg_stats WHERE schemaname = 'cauce' OR tablename = 'note'}), " 0\n", 'pg_stats shows none');
	is(as_south(q{SELECT (SELECT count(*) FROM pg_stats_ext) + (SELECT count(*) FROM pg_stats_ext_exprs)}), " 0\n", 'nor do extended ones');
	like(as_south($_), qr/^42501 /, $_) for 'SELECT stavalues1 FROM pg_statistic', 'SELECT stxdmcv FROM pg_statistic_ext_data',
		'CREATE STATISTICS pg_temp.s (mcv) ON language, status FROM cauce.session', 'CREATE INDEX ON cauce.session (language)',
		q{SELECT nextval('cauce.key_rotation_id_seq')}, q{SELECT last_value FROM cauce.retention_run_id_seq};
	like(as_south('ANALYZE cauce.session'), qr/WARNING.*skipping/, 'ANALYZE is the owner\'s');
	like(as_south("ROLLBACK; VACUUM cauce.session"), qr/WARNING.*skipping/, 'so is VACUUM');
};

subtest 'pg_stat_activity' => sub {
	my $busy = CauceSession->open($cluster, app => $token{'north-pro'});
	my $seen = sub { return $cluster->try_sql(app => $token{'south-pro'}, 'SELECT string_agg(query, chr(10)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = \'app\'')->{out} };
	$busy->query(q{INSERT INTO cauce.session (title) VALUES ('told in activity')});
	unlike($seen->(), qr/told|INSERT/, 'a statement that has ended');
	$busy->query(q{BEGIN; SELECT 'told in activity' FROM cauce.session LIMIT 1});
	unlike($seen->(), qr/told|SELECT/, 'one in a transaction that goes on');
	$busy->query('ROLLBACK; RESET cauce.token');
	$busy->query(q{SELECT 'told in activity'});
	unlike($seen->(), qr/told/, 'one of a pooled connection without its token');
	my $running = CauceSession->open($cluster, app => $token{'north-pro'});
	$running->{in} .= "SELECT 'told in activity', pg_sleep(3) FROM cauce.account;\n";
	$running->{run}->pump_nb for 1 .. 5;
	ok($cluster->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'}, '1'), 'one that runs shows what it waits for');
	unlike($seen->(), qr/told/, 'and not what it is');
	is($cluster->superuser(q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%told' || ' in%' OR query LIKE '%ey' || 'J%'}), '0', 'not to a superuser either');
	$running->close;
	$busy->close;
	my $debug = CauceSession->open($cluster, 'postgres');
	$debug->query("SET cauce.hide_activity = off; SET cauce.token = '$token{'north-pro'}'");
	$debug->query(q{SELECT 'told for debugging'});
	is($cluster->superuser(q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%told' || ' for%'}), '1', 'unless a superuser chose it');
	$debug->close;
};

subtest 'notifications' => sub {
	my $listener = CauceSession->open($cluster, app => $token{'south-pro'});
	$listener->query(join ';', map { "LISTEN $_" } qw(cauce session cauce_session report alert account organization));
	$cluster->sql(app => $token{'north-pro'}, "UPDATE cauce.session SET status = 'ended' WHERE id = '$has{'north-pro'}{session}'");
	is($cluster->superuser('SELECT pg_notification_queue_usage() = 0'), 't', 'nothing is ever queued');
	unlike($listener->try('SELECT 1')->{out}, qr/notification/, 'nor heard');
	$listener->close;
};

done_testing;
