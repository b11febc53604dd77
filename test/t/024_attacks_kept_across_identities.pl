# What one identity leaves on a connection - plans, cursors, cached keys, temporary tables, settings -
# gives the next one nothing that is not its own: a pooler hands a connection from one to the other.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use CauceWire;
use Test::More;

my $cluster = CauceTest->start;
# PostgreSQL 16 has renamed it.
my $force_parallel = $cluster->superuser(q{SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')});
my @subjects = qw(north-pro south-pro);
my %token = map { $_ => $cluster->token($_) } @subjects, 'north-admin';
my (%session, %account);
for my $who (@subjects)
{
	($account{$who}, $session{$who}) = split /\|/, $cluster->sql(app => $token{$who}, "INSERT INTO cauce.session (title, language) VALUES ('words of $who', 'tongue of $who') RETURNING account_id, id");
	$cluster->sql(app => $token{$who}, "INSERT INTO cauce.transcript_segment (session_id, seq, speaker, start_ms, end_ms, body)
		SELECT '$session{$who}', n, 'speaker of $who', n, n, 'words of $who' FROM generate_series(1, 300) n");
}
$cluster->superuser('ANALYZE');

# switch puts another identity in force on an open connection, as the next client of a pooler does.
sub switch { return $_[0]->query($_[1] eq '' ? 'RESET cauce.token' : "SET cauce.token = '$token{$_[1]}'") }

# heard gives whose words, or tongues, somebody heard.
sub heard
{
	my ($result) = @_;
	my $all = ref $result ? "$result->{out}\n$result->{err}" : $result;
	return join ' ', (map { my $who = $_; map { $all =~ /\b$_ of $who\b/ ? "$_ of $who" : () } qw(words tongue speaker) } @subjects);
}

subtest 'prepared statements and generic plans' => sub {
	for my $mode (qw(auto force_generic_plan force_custom_plan))
	{
		my $pooled = CauceSession->open($cluster, 'app');
		switch($pooled, 'north-pro');
		$pooled->query("SET plan_cache_mode = $mode; PREPARE mine AS SELECT title, language FROM cauce.session; PREPARE of_account (uuid) AS SELECT body, speaker FROM cauce.transcript_segment WHERE account_id = \$1 LIMIT 1;
			PREPARE of_literal AS SELECT title, language FROM cauce.session WHERE account_id = '$account{'north-pro'}'; PREPARE who AS SELECT cauce.account_id(), cauce.readable_account_ids()");
		for (1 .. 7)    # after five executions a plan may become generic
		{
			is(heard($pooled->try('EXECUTE mine')), 'words of north-pro tongue of north-pro', "$mode: the first identity's own") if $_ == 7;
			$pooled->query("EXECUTE mine; EXECUTE of_account ('$account{'north-pro'}'); EXECUTE of_literal; EXECUTE who");
		}
		switch($pooled, 'south-pro');
		is(heard($pooled->try('EXECUTE mine')), 'words of south-pro tongue of south-pro', "$mode: the next one's own");
		is(heard($pooled->try("EXECUTE of_account ('$account{'north-pro'}')")), '', "$mode: a parameter that was the first one's");
		is(heard($pooled->try('EXECUTE of_literal')), '', "$mode: or a literal");
		is($pooled->query('EXECUTE who'), "$account{'south-pro'}|{$account{'south-pro'}}", "$mode: who asks");
		switch($pooled, '');
		is(heard($pooled->try('EXECUTE mine')), '', "$mode: nobody's");
		$pooled->close;
	}
	my $wire = CauceWire->connect($cluster, 'app');
	for my $who (qw(north-pro south-pro north-pro south-pro north-pro north-pro north-pro south-pro))
	{
		$wire->execute(q{SELECT set_config('cauce.token', $1, false)}, [ $token{$who} ], name => 'token');
		my $result = $wire->execute('SELECT title, language FROM cauce.session WHERE length(title) > $1', [1], name => 'mine');
		is_deeply($result->{rows}, [ [ "words of $who", "tongue of $who" ] ], "a driver's prepared statement as $who");
	}
	$wire->close;
};

subtest 'functions whose plans are kept' => sub {
	my $pooled = CauceSession->open($cluster, 'app');
	$pooled->query(q{
		CREATE FUNCTION pg_temp.told() RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT concat_ws(' ', title::text, language) FROM cauce.session; END $$;
		CREATE FUNCTION pg_temp.inlined() RETURNS SETOF text LANGUAGE sql STABLE AS $$ SELECT concat_ws(' ', title::text, language) FROM cauce.session $$;
		CREATE FUNCTION pg_temp.lying() RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT cauce.account_id() $$;
		CREATE FUNCTION pg_temp.lying_text() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN (SELECT string_agg(title::text, ',') FROM cauce.session); END $$;
		PREPARE lie AS SELECT pg_temp.lying(), pg_temp.lying_text() IS NOT NULL});
	for my $who (qw(north-pro north-pro south-pro north-pro south-pro))
	{
		switch($pooled, $who);
		is(heard($pooled->try("SELECT pg_temp.$_()")), "words of $who tongue of $who", "$_ as $who") for qw(told inlined);
		$pooled->query('EXECUTE lie') for 1 .. 2;
	}
	# A function that wrongly says it is IMMUTABLE makes a constant of the first one's answer, in plans that its author made.
	is(heard($pooled->try('SELECT title FROM cauce.session WHERE account_id = pg_temp.lying()')), 'words of south-pro', 'which gives the policy no other identity');
	$pooled->close;
};

subtest 'cached keys' => sub {
	my $pooled = CauceSession->open($cluster, 'postgres');    # whom no policy holds back
	my $read = 'SELECT account_id, body FROM cauce.transcript_segment';
	switch($pooled, 'north-pro');
	is(heard($pooled->try($read)), 'words of north-pro', 'an owner\'s key is in the cache');
	switch($pooled, 'south-pro');
	is(heard($pooled->try($read)), 'words of south-pro', 'and opens nothing for the next');
	is($pooled->try("SELECT body::text FROM cauce.transcript_segment WHERE account_id = '$account{'north-pro'}'")->{sqlstate}, '42501', 'not by a cast');
	switch($pooled, '');
	is(heard($pooled->try($read)), '', 'nor for nobody');
	is($pooled->try('SELECT body::text FROM cauce.transcript_segment')->{sqlstate}, '28000', 'nor by a cast');
	$pooled->query("BEGIN; SET LOCAL cauce.token = '$token{'north-pro'}'");
	$pooled->try("$read; SAVEPOINT a; SET LOCAL cauce.token = '$token{'south-pro'}'; $read");
	$pooled->query('ROLLBACK TO a');
	is(heard($pooled->try($read)), 'words of north-pro', 'ROLLBACK TO brings the identity of before back, with its keys alone');
	$pooled->query('ROLLBACK');
	is(heard($pooled->try($read)), '', 'ROLLBACK takes it away');
	$pooled->try("BEGIN; SET LOCAL cauce.token = '$token{'north-pro'}'; $read; SELECT 1 / 0");
	is(heard($pooled->try($read)), '', 'so does an error');
	$pooled->try('ROLLBACK');
	is(heard($pooled->try($read)), '', 'for good');
	switch($pooled, 'north-pro');
	$pooled->query("$read \\g /dev/null\nDISCARD ALL");
	is(heard($pooled->try($read)), '', 'DISCARD ALL takes it away');
	$pooled->close;
};

subtest 'cursors' => sub {
	my $pooled = CauceSession->open($cluster, 'app');
	my $declare = sub { return "DECLARE $_[0] FOR SELECT title, language FROM cauce.session" };
	$pooled->query("BEGIN; SET LOCAL cauce.token = '$token{'north-pro'}'; " . $declare->('unread CURSOR') . '; ' . $declare->('half_read SCROLL CURSOR') . '; FETCH half_read; MOVE ABSOLUTE 0 IN half_read');
	$pooled->query("SET LOCAL cauce.token = '$token{'south-pro'}'");
	is(heard($pooled->try('FETCH ALL FROM unread')), 'words of south-pro tongue of south-pro', 'one that was not begun is the reader\'s');
	unlike(heard($pooled->try('FETCH ALL FROM half_read')), qr/words of north-pro/, 'one that was begun opens nothing for the next');
	$pooled->query('ROLLBACK');
	$pooled->query("BEGIN; SET LOCAL cauce.token = '$token{'south-pro'}'; " . $declare->('trap SCROLL CURSOR WITH HOLD') . '; COMMIT');
	switch($pooled, 'north-pro');
	is(heard($pooled->try('FETCH ALL FROM trap')), 'tongue of south-pro', 'a held cursor keeps what its maker saw, sealed');
	switch($pooled, 'south-pro');
	is(heard($pooled->try('FETCH BACKWARD ALL FROM trap; CLOSE trap')), 'words of south-pro tongue of south-pro', 'which its maker opens');
	$pooled->query("BEGIN; SET LOCAL cauce.token = '$token{'north-pro'}'; SAVEPOINT a; " . $declare->('undone CURSOR') . '; FETCH undone; ROLLBACK TO a');
	is($pooled->try('FETCH undone')->{sqlstate}, '34000', 'ROLLBACK TO ends a cursor made since');
	$pooled->query('ROLLBACK');
	$pooled->query("BEGIN; SET LOCAL cauce.token = '$token{'north-pro'}'; " . $declare->('ended CURSOR') . '; FETCH ended; COMMIT');
	is($pooled->try('FETCH ended')->{sqlstate}, '34000', 'COMMIT any');
	$pooled->try('ROLLBACK');
	$pooled->close;
	my $wire = CauceWire->connect($cluster, 'app');
	my $refcursor = $wire->simple("BEGIN; SET LOCAL cauce.token = '$token{'north-pro'}'; DECLARE r CURSOR FOR SELECT set_config('cauce.token', '', true), title, language FROM cauce.session; FETCH r; COMMIT");
	unlike(join('', map { join ' ', map { $_ // '' } @$_ } @{ $refcursor->{rows} }), qr/words of/, 'a token that ends within a statement opens nothing more of it');
	$wire->close;
};

subtest 'what is left lying about' => sub {
	my $pooled = CauceSession->open($cluster, 'app');
	switch($pooled, 'north-pro');
	$pooled->query("CREATE TEMP TABLE left_over AS SELECT title, language FROM cauce.session; CREATE TEMP VIEW seen AS SELECT title, language FROM cauce.session; SET search_path = pg_temp, public, cauce;
		CREATE TEMP TABLE session (title text, language text)");
	switch($pooled, 'south-pro');
	is(heard($pooled->try('SELECT * FROM left_over')), 'tongue of north-pro', 'a temporary table keeps what its maker put there, sealed');
	is($pooled->try('SELECT title::text FROM left_over')->{sqlstate}, '42501', 'which opens for nobody else');
	is(heard($pooled->try('SELECT * FROM seen')), 'words of south-pro tongue of south-pro', 'a view is the reader\'s');
	is($pooled->query('SELECT count(*) FROM session') . $pooled->query('SELECT count(*) FROM cauce.session'), '01', 'cauce.session is cauce\'s, whatever is called session');
	is($pooled->try("SELECT current_setting('cauce.token'), count(*) FROM pg_settings WHERE name = 'cauce.token'")->{out}, '(set)|0', 'a token does not come out again');
	is($pooled->query("SELECT count(*) FROM pg_prepared_statements, pg_cursors WHERE concat(pg_prepared_statements.statement, pg_cursors.statement) LIKE '%ey' || 'J%'"), '0', 'nor by a list of statements');
	$pooled->close;
};

subtest 'parallel plans' => sub {
	# Large enough a table, and cheap enough workers; under a role that policies hold and one that they do not.
	my $parallel = "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET enable_indexscan = off; SET enable_bitmapscan = off; SET $force_parallel = on";
	for my $role (qw(app postgres))
	{
		my $pooled = CauceSession->open($cluster, $role);
		$pooled->query("$parallel; PREPARE told AS SELECT DISTINCT account_id, body::text FROM cauce.transcript_segment WHERE account_id = ANY (cauce.readable_account_ids())");
		for my $who (qw(north-pro south-pro north-pro))
		{
			switch($pooled, $who);
			is(heard($pooled->try('EXECUTE told')), "words of $who", "$role as $who");
		}
		switch($pooled, '');
		is(heard($pooled->try('EXECUTE told')), '', "$role as nobody");
			$pooled->close;
	}
	like($cluster->superuser("$parallel; EXPLAIN SELECT account_id FROM cauce.transcript_segment"), qr/Gather/, 'there are parallel plans');
};

subtest 'rights that end while a connection stays' => sub {
	my $pooled = CauceSession->open($cluster, app => $token{'north-admin'});
	$pooled->query('PREPARE told AS SELECT body, speaker FROM cauce.transcript_segment LIMIT 1');
	is(heard($pooled->try('EXECUTE told')), '', 'an admin without content');
	$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'content' WHERE name = 'north'});
	is(heard($pooled->try('EXECUTE told')), 'words of north-pro speaker of north-pro', 'with it');
	$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'sessions' WHERE name = 'north'});
	is(heard($pooled->try('EXECUTE told')), '', 'and without it again, by the same plan and with the key in the cache');
	$pooled->close;
};

done_testing;
