# The login that is an account cannot be borrowed, nor lost: what counts is the role that authenticated the
# connection, whatever it is called in SET ROLE, SET SESSION AUTHORIZATION, memberships and jobs.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use CauceWire;
use Test::More;

my $cluster = CauceTest->start;
my %id = map { split /\|/ } split /\n/, $cluster->superuser('SELECT subject, id FROM cauce.account');
$cluster->superuser("CREATE ROLE nora LOGIN IN ROLE cauce_app; CREATE ROLE sara LOGIN IN ROLE cauce_app;
	CREATE ROLE member LOGIN IN ROLE cauce_app, nora; GRANT app TO nora; GRANT postgres TO nora;
	SELECT cauce.set_login_role('$id{'north-pro'}', 'nora'); SELECT cauce.set_login_role('$id{'south-pro'}', 'sara')");
my $me = q{SELECT coalesce((SELECT subject FROM cauce.account WHERE id = cauce.account_id()), '-')};
my $session = $cluster->sql(nora => undef, q{INSERT INTO cauce.session (title) VALUES ('hers') RETURNING id});

# A member could have a job started under the role; pg_cron runs it within a minute, and the end of this test looks.
$cluster->superuser('GRANT USAGE ON SCHEMA cron TO nora; CREATE TABLE public.ran (who text, sessions bigint); GRANT ALL ON public.ran TO nora');
$cluster->sql(member => undef, q{SET ROLE nora; SELECT cron.schedule('borrow', '* * * * *',
	$$INSERT INTO public.ran SELECT coalesce(cauce.account_id()::text, '-'), (SELECT count(*) FROM cauce.session)$$)});
is($cluster->superuser(q{SELECT username FROM cron.job WHERE jobname = 'borrow'}), 'nora', 'a member schedules a job that runs as nora');

subtest 'SET ROLE, SET SESSION AUTHORIZATION and membership' => sub {
	is($cluster->sql(member => undef, $me), '-', 'a member of a login_role is not it');
	is($cluster->sql(member => undef, "SET ROLE nora; $me"), '-', 'not by SET ROLE either');
	is($cluster->sql(member => undef, 'SET ROLE nora; SELECT count(*) FROM cauce.session'), '0', 'which opens nothing');
	is($cluster->superuser("SET SESSION AUTHORIZATION nora; $me"), '-', 'nor a superuser by SET SESSION AUTHORIZATION');
	is($cluster->superuser("SET ROLE nora; $me"), '-', 'or SET ROLE');
	is($cluster->try_sql(postgres => undef, 'SET SESSION AUTHORIZATION nora; SELECT title::text FROM cauce.session')->{out}, '', 'which read nothing');
	is($cluster->sql(nora => undef, "SET ROLE app; $me"), 'north-pro', 'nora does not lose it by SET ROLE');
	is($cluster->sql(nora => undef, "SET ROLE postgres; $me"), 'north-pro', 'nor as a superuser for a while');
	is($cluster->sql(nora => undef, "SET SESSION AUTHORIZATION nora; $me"), 'north-pro', 'nor by her own SET SESSION AUTHORIZATION');
	$cluster->superuser('ALTER ROLE nora REPLICATION');
	my $replication = $cluster->try_sql(nora => undef, 'SELECT cauce.account_id(); SELECT title FROM cauce.session', over => 'replication=database');
	is($replication->{out}, '', 'a replication connection, as a subscriber\'s first copy, is nobody') or diag $replication->{err};
	$cluster->superuser('ALTER ROLE nora NOREPLICATION');
	local $ENV{PGOPTIONS} = '-c role=nora';
	is($cluster->sql(member => undef, $me), '-', 'nor is it borrowed in the startup packet');
};

subtest 'functions' => sub {
	$cluster->superuser(qq{CREATE FUNCTION public.definer() RETURNS text LANGUAGE sql SECURITY DEFINER AS \$\$ $me \$\$;
		GRANT CREATE ON SCHEMA public TO nora, sara});
	is($cluster->sql(nora => undef, 'SELECT public.definer()'), 'north-pro', 'SECURITY DEFINER: whoever is connected');
	is($cluster->sql(app => undef, 'SELECT public.definer()'), '-', 'or nobody');
	$cluster->sql(nora => undef, qq{CREATE FUNCTION public.of_nora() RETURNS text LANGUAGE sql SECURITY DEFINER AS \$\$ $me \$\$});
	is($cluster->sql(sara => undef, 'SELECT public.of_nora()'), 'south-pro', 'a function of hers does not carry it');
	$cluster->sql(nora => undef, q{CREATE TABLE public.copied AS SELECT title FROM cauce.session;
		CREATE MATERIALIZED VIEW public.kept AS SELECT title FROM cauce.session; CREATE FUNCTION public.spy(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN RETURN cauce.account_id()::text; END $$; CREATE INDEX ON public.copied (public.spy('x'))});
	like($cluster->superuser('REFRESH MATERIALIZED VIEW public.kept; ANALYZE; SELECT title FROM public.kept'), qr/^(cauce1:.*|)$/, 'what is stored is sealed');
	is($cluster->try_sql(nora => undef, 'CREATE MATERIALIZED VIEW public.opened AS SELECT title::text FROM cauce.session')->{sqlstate}, '28000',
		'a materialized view opens nothing');
};

subtest 'roles that are renamed, or dropped and made anew' => sub {
	my $open = CauceSession->open($cluster, 'nora');
	is($open->query($me), 'north-pro', 'nora is connected');
	$cluster->superuser('ALTER ROLE nora RENAME TO nadia');
	is($open->query($me), '-', 'renamed, she is nobody in the connection that is open');
	is($cluster->sql(nadia => undef, $me), '-', 'and in a new one');
	$cluster->superuser('CREATE ROLE nora LOGIN IN ROLE cauce_app');
	is($cluster->sql(nora => undef, $me), '-', 'a new role of the name is nobody');
	is($open->query($me), '-', 'still');
	is($cluster->sql(nora => undef, 'SELECT count(*) FROM cauce.session'), '0', 'and reads nothing');
	$cluster->superuser('DROP ROLE nora; ALTER ROLE nadia RENAME TO nora');
	is($_->query($me), 'north-pro', 'with the old name she is the account again') for $open;
	my $sara = CauceSession->open($cluster, 'sara');
	is($sara->query($me), 'south-pro', 'sara is connected');
	$cluster->superuser('REVOKE CREATE ON SCHEMA public FROM sara; DROP ROLE sara; CREATE ROLE sara LOGIN IN ROLE cauce_app');
	is($sara->try($me)->{out} =~ /south/ ? 1 : 0, 0, 'dropped, she is nobody in the connection that is open');
	is($cluster->sql(sara => undef, $me), '-', 'nor is the new sara');
	$cluster->superuser("SELECT cauce.set_login_role('$id{'south-pro'}', 'sara')");
	is($cluster->sql(sara => undef, $me), 'south-pro', 'until she is named');
	$_->close for $open, $sara;
};

subtest 'parallel workers are whoever their leader is' => sub {
	$cluster->sql(nora => undef, "INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)
		SELECT '$session', n, n, n, 'segment ' || n FROM generate_series(1, 8000) n");
	$cluster->superuser('CREATE TABLE public.loose AS SELECT body FROM cauce.transcript_segment; GRANT SELECT ON public.loose TO cauce_app; ANALYZE public.loose');
	my $parallel = 'SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off;';
	my $sum = 'SELECT count(*), sum(length(body)) FROM public.loose';
	like($cluster->sql(nora => undef, "$parallel EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) $sum"), qr/Workers Launched: [12]/, 'they run');
	like($cluster->sql(nora => undef, "$parallel $sum"), qr/^8000\|/, 'and open what is hers');
	# Nothing sealed, so a worker that fails has not asked for the account yet.
	$cluster->superuser(q{CREATE TABLE public.plain AS SELECT 'x' AS note FROM generate_series(1, 20000); GRANT SELECT ON public.plain TO nora; ANALYZE public.plain});
	my $wrong = $cluster->try_sql(nora => undef, "$parallel SELECT sum((note || 'qzparallel')::int) FROM public.plain");
	like($wrong->{err}, qr/22P02.*xqzparallel.*parallel worker/s, 'the client is told of an error in one');
	# Of many workers some begin when their leader has failed already, and fail before they do anything.
	$cluster->superuser('ALTER TABLE public.plain SET (parallel_workers = 8)');
	$cluster->try_sql(nora => undef, "$parallel SET max_parallel_workers_per_gather = 8; SELECT sum((note || 'qzparallel')::int) FROM public.plain") for 1 .. 15;
	unlike($cluster->log, qr/qzparallel/, 'but not the log');
	for my $role (qw(sara member app postgres))
	{
		my $result = $cluster->try_sql($role => undef, "$parallel $sum");
		like("$result->{sqlstate} $result->{out}", qr/^(42501|28000) $/, "not for $role");
	}
	is($cluster->try_sql(nora => $cluster->token('south-pro'), "$parallel $sum")->{sqlstate}, '42501', 'a token counts in them, too');
	is($cluster->try_sql(sara => $cluster->token('north-pro'), "$parallel $sum")->{sqlstate}, '', 'both ways');
	is($cluster->try_sql(member => undef, "SET ROLE nora; $parallel $sum")->{sqlstate}, '28000', 'SET ROLE does not');
	is($cluster->try_sql(postgres => undef, "SET SESSION AUTHORIZATION nora; $parallel $sum")->{sqlstate}, '28000', 'nor SET SESSION AUTHORIZATION');
};

subtest 'transactions are what they were' => sub {
	my $first = sub { return $cluster->try_sql(nora => undef, $_[0]) };
	is($first->('BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SHOW transaction_isolation')->{out}, 'serializable', 'the isolation level is chosen first');
	is($first->('BEGIN; SELECT 1/0; SELECT 1; ROLLBACK; SELECT 1')->{sqlstate}, '22012', 'a failed transaction');
	is($first->('\set ON_ERROR_STOP off' . "\nBEGIN; SELECT 1/0; SELECT 1; ROLLBACK; $me")->{out}, 'north-pro', 'and after it');
	is($first->('VACUUM public.loose')->{sqlstate}, '', 'VACUUM');
	is($cluster->try_sql(nora => undef, "SELECT 1", database => 'postgres')->{out}, '1', 'a database without the extension');
	$cluster->superuser('CREATE DATABASE empty');
	my $open = CauceSession->open($cluster, 'nora', undef, database => 'empty');
	is($open->query('SELECT 1'), '1', 'another one');
	$cluster->superuser('SET client_min_messages = warning; CREATE EXTENSION cauce CASCADE', database => 'empty');
	is($open->query('SELECT cauce.account_id()'), '', 'which gets it while she is connected');
	$cluster->superuser(q{SELECT cauce.set_login_role(cauce.create_account('elsewhere'), 'nora')}, database => 'empty');
	is($open->query($me), 'elsewhere', 'a login is an account in each database by itself');
	is($cluster->sql(nora => undef, $me), 'north-pro', 'this one too');
	$cluster->superuser('DROP EXTENSION cauce CASCADE', database => 'empty');
	is($open->try($me)->{sqlstate} =~ /^(3F000|42883|42P01)$/ ? 1 : 0, 1, 'and loses it');
	is($open->query('SELECT 1'), '1', 'while she is connected');
	$open->close;
};

subtest 'one connection for many' => sub {
	my %token = map { $_ => $cluster->token($_) } qw(north-pro south-pro);
	my $pooled = CauceSession->open($cluster, 'nora');
	my $turn = sub {
		my ($who, $sql) = @_;
		my $set = $who ? "SET LOCAL cauce.token = '$token{$who}';" : '';
		my $result = $pooled->try("BEGIN; $set $sql; COMMIT");
		$pooled->try('ROLLBACK') if $result->{sqlstate};
		return $result;
	};
	$pooled->query(q{PREPARE open_session AS INSERT INTO cauce.session (title) VALUES ('a literal') RETURNING title});
	for my $who ('', 'south-pro', '', 'north-pro', 'south-pro')
	{
		is($turn->($who => 'EXECUTE open_session')->{out}, 'a literal', 'a literal in a prepared statement serves ' . ($who || 'the login'));
	}
	my $wire = CauceWire->connect($cluster, 'nora');
	my $insert = q{INSERT INTO cauce.session (title) VALUES ('a literal') RETURNING title};
	for my $who ('', 'south-pro', '')
	{
		$wire->execute($who ? "SELECT set_config('cauce.token', '$token{$who}', false)" : q{SELECT set_config('cauce.token', '', false)}, []);
		my $result = $wire->execute($insert, [], name => 's');
		is_deeply($result->{rows}, [ ['a literal'] ], 'and so through the extended protocol') or diag $result->{error};
	}
	$pooled->close;
};

ok($cluster->poll_until('SELECT count(*) > 0 FROM public.ran', 't', 75), 'the job in a background worker has run');
is($cluster->superuser('SELECT DISTINCT who, sessions FROM public.ran'), '-|0', 'as nobody');

done_testing;
