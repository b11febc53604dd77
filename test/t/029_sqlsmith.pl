# Random SQL as an application with an identity: no crash, no assertion, and no row of another account in
# any result. sqlsmith makes the statements and runs each; it throws results away, so that each is run once
# more, as the same login with the same token, and everything that comes back, rows and errors, is searched for what
# only others have: ids, plain columns, content, sealed forms.
#
# CAUCE_SQLSMITH_QUERIES says how many (`make check-long`: 20,000), CAUCE_SQLSMITH_SEED which ones.
use strict;
use warnings;
use CauceTest;
use IPC::Run qw(run);
use Test::More;

use constant {
	QUERIES => $ENV{CAUCE_SQLSMITH_QUERIES} || 1500,
	SEED => $ENV{CAUCE_SQLSMITH_SEED} || 20260101,
	BATCH => 2500,    # statements of one sqlsmith: it generates along one random walk
	STATEMENT_MS => 500,
};

my $cluster = CauceTest->start;
my @subjects = qw(north-pro north-pro2 north-admin south-pro south-admin solo);
my %token = map { $_ => $cluster->token($_, ttl => 3600) } @subjects;
my $me = 'south-pro';
my @canaries;    # patterns of what only others have

$cluster->superuser(q{CREATE TABLE public.note (id integer PRIMARY KEY, session uuid, label text, body text);
	SELECT cauce.protect('public.note', 'session', '{body}'); GRANT SELECT, INSERT, UPDATE, DELETE ON public.note TO cauce_app});
my $serial = 0;
for my $who (@subjects)
{
	my @sessions = split /\n/, $cluster->sql(app => $token{$who}, "INSERT INTO cauce.session (title, client, language) SELECT 'canary-$who-t', 'canary-$who-c', 'canary-$who-l' FROM generate_series(1, 6) RETURNING id");
	for my $session (@sessions)
	{
		$serial++;
		$cluster->sql(app => $token{$who}, "INSERT INTO cauce.transcript_segment (session_id, seq, speaker, start_ms, end_ms, body) SELECT '$session', n, 'canary-$who-s', n, n, 'canary-$who-b' FROM generate_series(1, 5) n;
			INSERT INTO cauce.report (session_id, kind, body) VALUES ('$session', 'canary-$who-k', 'canary-$who-b');
			INSERT INTO cauce.alert (session_id, kind, detail) VALUES ('$session', 'canary-$who-k', 'canary-$who-d');
			INSERT INTO cauce.alert_rule (account_id, pattern, kind) VALUES (cauce.account_id(), 'canary-$who-p', 'x');
			INSERT INTO public.note (id, session, label, body) VALUES ($serial, '$session', 'canary-$who-l', 'canary-$who-b')");
	}
	$cluster->sql(app => $token{$who}, "DELETE FROM public.note WHERE session = '$sessions[0]'; SELECT cauce.archive_session('$sessions[0]'); DELETE FROM cauce.session WHERE id = '$sessions[1]'");
}
# My own organization's id and its admin are known to me; nothing else of anybody's is.
@canaries = split /\n/, $cluster->superuser(qq{
	SELECT id FROM cauce.account WHERE subject <> '$me' UNION SELECT id FROM cauce.organization WHERE name <> 'south'
	UNION SELECT id FROM cauce.session WHERE account_id <> a UNION SELECT id FROM cauce.archived_session WHERE account_id <> a
	UNION SELECT id FROM cauce.report WHERE account_id <> a UNION SELECT id FROM cauce.alert WHERE account_id <> a
	UNION SELECT id FROM cauce.alert_rule WHERE account_id <> a UNION SELECT id FROM cauce.erasure_certificate WHERE account_id <> a
	UNION SELECT id FROM cauce.data_key WHERE account_id <> a}
	=~ s/ account_id <> a/ account_id <> (SELECT id FROM cauce.account WHERE subject = '$me')/gr);
cmp_ok(scalar @canaries, '>', 100, 'others have ids');
# Whatever a value is turned into: as it is, without dashes, in hexadecimal, backwards.
my @patterns = map { my $dense = s/-//gr; ($_, $dense, unpack('H*', $_), scalar reverse $_) } @canaries;
push @patterns, map { ($_, unpack('H*', $_), scalar reverse $_) } map { "canary-$_-" } grep { $_ ne $me } @subjects;
my $foreign = join '|', map { quotemeta } @patterns, 'cauce1:', unpack('H*', 'cauce1:');
$foreign = qr/$foreign/i;

# sqlsmith chooses among all that it finds, most of which the application may not use, or is not about cauce.
$cluster->superuser(q{REVOKE ALL ON cron.job, cron.job_run_details FROM PUBLIC; CREATE SCHEMA narrow; GRANT USAGE ON SCHEMA narrow TO app;
	CREATE VIEW narrow.pg_proc AS SELECT * FROM pg_catalog.pg_proc p WHERE has_function_privilege('app', oid, 'EXECUTE')
		AND (pronamespace = 'cauce'::regnamespace OR (proname !~ '^(pg_|lo_|txid|binary_upgrade)'
			AND NOT EXISTS (SELECT FROM unnest(proargtypes::oid[] || prorettype) t WHERE t <> ALL ('{text,bytea,jsonb,uuid,integer,bigint,boolean,timestamptz,interval,real}'::regtype[]))));
	GRANT SELECT ON narrow.pg_proc TO app});

# generate has sqlsmith make and run statements, and gives them with what it says itself.
sub generate
{
	my ($seed, $queries) = @_;
	local $ENV{PGOPTIONS} = "-c cauce.token=$token{$me} -c search_path=narrow,pg_catalog";
	run [ 'sqlsmith', '--target=' . $cluster->dsn('app'), "--seed=$seed", "--max-queries=$queries", '--exclude-catalog', '--dump-all-queries', '--verbose' ],
	  '<', \undef, '>', \my $out, '2>', \my $err;
	my $status = $?;
	return ($status, $err, grep { /\S/ } split /;\n/, "$out\n");
}

# replay runs statements once more and gives what each returned: [statement, SQLSTATE, rows, text].
sub replay
{
	my (@statements) = @_;
	my $n = 0;
	my $script = join "\n", '\set ON_ERROR_STOP off', 'SET statement_timeout = ' . STATEMENT_MS, '; SET search_path = narrow, pg_catalog;',
	  map { ("\\echo \@\@ $n", "\\warn \@\@ " . $n++, 'BEGIN;', "$_;", '\echo == :SQLSTATE :ROW_COUNT', 'ROLLBACK;') } @statements;
	my $result = $cluster->try_sql(app => $token{$me}, $script);
	my %heard = map { /^(\d+)\n(.*)/s ? ($1, $2) : () } split /^@@ /m, $result->{out};
	my %told = map { /^(\d+)\n(.*)/s ? ($1, $2) : () } split /^@@ /m, $result->{err};

	return map {
		my ($rows, $sqlstate, $count) = ($heard{$_} // '') =~ /^(.*)^== (\S+) (\d+)$/ms;
		# An error quotes the statement, in which there is nothing of others.
		[ $statements[$_], $sqlstate // 'none', $count // 0, ($rows // '') . ($told{$_} // '') ]
	} 0 .. $#statements;
}

my %total = (made => 0, succeeded => 0, cauce => 0, returned => 0);
my %used;
for (my $batch = 0; $batch * BATCH < QUERIES; $batch++)
{
	my $queries = QUERIES - $batch * BATCH;
	$queries = BATCH if $queries > BATCH;
	my ($status, $said, @statements) = generate(SEED + $batch, $queries);
	is($status, 0, 'sqlsmith ends as it should, seed ' . (SEED + $batch)) or diag substr($said, -500);
	my @results = replay(@statements);
	my @leaks = grep { $_->[3] =~ $foreign } @results;
	is(scalar @leaks, 0, "nothing of others in what came back of " . @results . ' statements');
	diag "$leaks[0][0]\n", $leaks[0][3] =~ /(.{0,80}$foreign.{0,80})/s if @leaks;
	is(scalar(grep { $_->[1] eq 'none' } @results), 0, 'all of them were run');
	for (@results)
	{
		my ($sql, $sqlstate, $count) = @$_;
		my @names = $sql =~ /\b((?:cauce|public)\.\w+)/g;
		$total{made}++;
		next if $sqlstate ne '00000';
		$total{succeeded}++;
		$total{cauce}++ if @names;
		$total{returned}++ if @names && $count > 0;
		$used{$_}++ for @names;
	}
}
is($total{made}, QUERIES, QUERIES . ' statements');
cmp_ok($total{cauce}, '>', QUERIES / 10, "$total{succeeded} succeeded, $total{cauce} of them with tables or functions of cauce's, $total{returned} of these gave rows");
my @tables = split /\n/, $cluster->superuser(q{SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'cauce'::regnamespace AND relkind IN ('r', 'v') AND has_any_column_privilege('app', c.oid, 'SELECT')});
is(join(' ', grep { !$used{$_} } @tables), '', 'every table that the application may read was read');
cmp_ok(scalar(grep { !/^cauce\.(?:encrypted|open)_/ && /^cauce\./ } keys %used), '>', @tables, 'and functions were called');

# What it may not find it would find: the same search, where there is something.
my ($found) = replay('SELECT language FROM cauce.session');
unlike($found->[3], $foreign, 'own rows are nobody else\'s');
like($cluster->superuser('SELECT * FROM cauce.session'), $foreign, 'others\' rows are found');

my $log = $cluster->log;
unlike($log, qr/terminated by signal|PANIC|TRAP:|Assert|stack depth|server process.*exited/, 'no process of the server died');
is(scalar(() = $log =~ /database system is ready to accept connections/g), 1, 'nor did the server start anew');
is($cluster->superuser(q{SELECT count(*) FROM cauce.session WHERE language NOT LIKE 'canary-%'}), '0', 'nothing was left behind');

done_testing;
