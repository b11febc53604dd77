# No word of content and no token is ever found at rest or in the server's log, by whatever way it
# came in, with the most talkative settings there are; and the same search does find a word that was
# written into a plain table.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use CauceWire;
use Test::More;

use constant MARK => 'qzcanary';

my $cluster = CauceTest->start(
	settings => <<'CONF');
shared_preload_libraries = 'pg_cron,cauce,auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_verbose = on
auto_explain.log_nested_statements = on
log_statement = 'all'
log_min_duration_statement = 0
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
log_error_verbosity = verbose
log_min_error_statement = debug5
log_temp_files = 0
log_lock_waits = on
log_replication_commands = on
debug_print_parse = on
debug_print_rewritten = on
debug_print_plan = on
work_mem = '64kB'
restart_after_crash = on
CONF
my $token = $cluster->token('north-pro');
my ($head, $claims, $signature) = split /\./, $token;

# word makes a word that is nowhere else and begins with MARK; %where tells what it was for.
my %where;
sub word
{
	my ($where) = @_;
	my $word = MARK . join '', map { ('a' .. 'z')[ rand 26 ] } 1 .. 12;
	$where{$word} = $where;
	return $word;
}

# mine runs SQL as the application for north-pro; errors are part of the test.
sub mine { return $cluster->try_sql(app => $token, @_) }

my $id = $cluster->sql(app => $token, "INSERT INTO cauce.session (title, client) VALUES ('@{[word('title')]}', '@{[word('client')]}') RETURNING id");
my $segment = 'INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)';

subtest 'ways in that succeed' => sub {
	my $local = $cluster->try_sql(app => undef, "BEGIN; SET LOCAL cauce.token = '$token';
		INSERT INTO cauce.report (session_id, body) VALUES ('$id', '@{[word('after SET LOCAL')]}'); COMMIT");
	is($local->{sqlstate}, '', 'SET LOCAL');
	my $wire = CauceWire->connect($cluster, 'app');
	is($wire->execute(q{SELECT set_config('cauce.token', $1, false)}, [$token])->{sqlstate}, '', 'the token as a parameter');
	is($wire->simple("BEGIN; SET LOCAL cauce.token = '$token'; $segment VALUES ('$id', 1, 0, 0, '@{[word('one simple message')]}'); COMMIT")->{sqlstate},
		'', 'everything in one message');
	is($wire->execute("$segment VALUES (\$1, 2, 0, 0, \$2)", [ $id, word('parameter') ])->{sqlstate}, '', 'a parameter');
	is($wire->execute("$segment VALUES (\$1, \$2, 0, 0, \$3)", [ $id, $_, word('prepared') ], name => 'add')->{sqlstate}, '', 'prepared')
	  for 3 .. 9;
	is($wire->execute("$segment VALUES ('$id', 10, 0, 0, \$1)", [ word('binary') ], binary => 1)->{sqlstate}, '', 'in binary');
	$wire->close;
	is(mine("PREPARE p (text) AS $segment VALUES ('$id', 11, 0, 0, \$1); EXECUTE p ('@{[word('EXECUTE')]}')")->{sqlstate}, '', 'EXECUTE');
	is(mine("DO \$\$ BEGIN $segment VALUES ('$id', 12, 0, 0, '@{[word('DO')]}'); END \$\$")->{sqlstate}, '', 'DO');
	my $account = $cluster->sql(app => $token, 'SELECT cauce.account_id()');
	is($cluster->try_sql(postgres => $token, "COPY cauce.transcript_segment (account_id, session_id, seq, start_ms, end_ms, body) FROM STDIN;
$account	$id	13	0	0	@{[word('COPY')]}
\\.")->{sqlstate}, '', 'COPY');
	is(mine("UPDATE cauce.transcript_segment SET body = '@{[word('UPDATE')]} ' || body WHERE seq = 13")->{sqlstate}, '', 'UPDATE');
	is(mine("$segment SELECT '$id', 14, 0, 0, '" . word('long') . "' || repeat('x', 9000)")->{sqlstate}, '', 'a long value');
	is(mine("INSERT INTO cauce.alert (session_id, kind, detail) VALUES ('$id', 'x', '@{[word('alert')]}')")->{sqlstate}, '', 'an alert');
	is(mine("UPDATE cauce.account SET display_name = '@{[word('profile')]}' WHERE id = cauce.account_id()")->{sqlstate}, '', 'a profile');
	is(mine("SELECT count(*) FROM cauce.transcript_segment WHERE body ILIKE '%@{[word('search')]}%'")->{out}, '0', 'a search');
	is(mine("SELECT body FROM cauce.transcript_segment; EXPLAIN (VERBOSE) SELECT * FROM cauce.report WHERE body = '@{[word('EXPLAIN')]}'")->{sqlstate},
		'', 'reading and EXPLAIN');
	is(mine("DO \$\$ BEGIN RAISE LOG '%', '@{[word('RAISE LOG')]}'; END \$\$")->{sqlstate}, '', 'RAISE LOG');
	# Without the schema's name, and with the end of the transaction in the same message.
	my $plain = CauceWire->connect($cluster, 'app');
	$plain->simple('SET search_path = cauce');
	for my $end ('COMMIT', 'ROLLBACK')
	{
		$plain->simple('BEGIN');
		$plain->execute(q{SELECT set_config('cauce.token', $1, true)}, [$token]);
		is($plain->simple("INSERT INTO report (session_id, body) VALUES ('$id', '@{[word($end)]}'); $end")->{sqlstate}, '', "$end in the same message");
	}
	$plain->simple('BEGIN');
	$plain->execute(q{SELECT set_config('cauce.token', $1, true)}, [$token]);
	$plain->simple("PREPARE later AS INSERT INTO report (session_id, body) VALUES ('$id', '@{[word('PREPARE')]}')");
	$plain->simple('COMMIT');
	is($plain->simple('EXECUTE later')->{sqlstate}, '28000', 'EXECUTE of what was prepared under an identity');
	$plain->close;
	my $gone = $cluster->sql(app => $token, "INSERT INTO cauce.session (title) VALUES ('@{[word('archive')]}') RETURNING id");
	is(mine("SELECT cauce.archive_session('$gone'); SELECT cauce.restore_session('$gone')")->{sqlstate}, '', 'archive and restore');
	is($cluster->try_sql(postgres => undef, "SELECT cauce.create_account('new', display_name => '@{[word('create_account')]}')")->{sqlstate}, '', 'a new account');
};

subtest 'ways in that fail' => sub {
	my %fail = (
		'23505' => "$segment VALUES ('$id', 1, 0, 0, '@{[word('duplicate key')]}')",
		'23502' => "$segment VALUES ('$id', NULL, 0, 0, '@{[word('not null')]}')",
		'23514' => "INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, speaker, body) VALUES ('$id', -1, 0, 0, '@{[word('failing row')]}', '@{[word('check')]}')",
		'22P02' => "$segment VALUES ('$id', '@{[word('bad integer')]}', 0, 0, 'x')",
		'22012' => "SELECT 1 / 0, '@{[word('division by zero')]}'",
		'42601' => "SELEC '@{[word('syntax error')]}'",
		'42P01' => "INSERT INTO cauce.reports VALUES ('@{[word('no such table')]}')",
		'42703' => "SELECT @{[word('no such column')]} FROM cauce.report",
		'P0001' => "DO \$\$ BEGIN RAISE EXCEPTION '%', '@{[word('exception')]}' USING DETAIL = '@{[word('detail')]}', HINT = '@{[word('hint')]}'; END \$\$",
		'22023' => "DO \$\$ DECLARE n int; BEGIN SELECT setseed(2), '@{[word('an error in a function')]}' INTO n; END \$\$",
		'42883' => "DO \$\$ BEGIN PERFORM nothing('@{[word('an error at a position in a function')]}'); END \$\$",
		'57014' => "SET statement_timeout = 50; SELECT pg_sleep(2), '@{[word('timeout')]}'");
	for my $sqlstate (sort keys %fail)
	{
		my $result = mine($fail{$sqlstate});
		is($result->{sqlstate}, $sqlstate, "SQLSTATE $sqlstate");
	}
	like(mine("SELECT '@{[word('told')]}'::integer")->{err}, qr/@{[MARK]}/, 'the client is told everything');

	my $wire = CauceWire->connect($cluster, 'app');
	$wire->execute(q{SELECT set_config('cauce.token', $1, false)}, [$token]);
	is($wire->execute("$segment VALUES (\$1, 1, 0, 0, \$2)", [ $id, word('parameter of a failed statement') ])->{sqlstate}, '23505', 'parameters');
	is($wire->execute('SELECT $1::integer', [ word('malformed parameter') ])->{sqlstate}, '22P02', 'a malformed parameter');
	is($wire->execute('SELECT 1 / $1::integer', [0])->{sqlstate}, '22012', 'an error while it runs');
	$wire->simple('BEGIN');
	$wire->execute("$segment VALUES (\$1, 1, 0, 0, \$2)", [ $id, word('first error') ]);
	is($wire->execute("$segment VALUES (\$1, 50, 0, 0, \$2)", [ $id, word('parameter after the error') ])->{sqlstate}, '25P02', 'after an error');
	is($wire->simple("$segment VALUES ('$id', 51, 0, 0, '@{[word('statement after the error')]}')")->{sqlstate}, '25P02', 'and another statement');
	$wire->simple('ROLLBACK');
	$wire->close;

	# The identity is undone with the transaction that failed; the client sends on.
	my $local = CauceWire->connect($cluster, 'app');
	$local->simple("BEGIN; SET LOCAL cauce.token = '$token'");
	is($local->simple("SELECT 1 / 0, '@{[word('error under SET LOCAL')]}'")->{sqlstate}, '22012', 'an error under SET LOCAL');
	is($local->simple("SELECT '@{[word('first after it')]}'")->{sqlstate}, '25P02', 'the statement after it');
	is($local->execute('SELECT $1::text', [ word('second after it') ])->{sqlstate}, '25P02', 'and the one after that');
	$local->simple('ROLLBACK');
	$local->close;

	my $account = $cluster->sql(app => $token, 'SELECT cauce.account_id()');
	is($cluster->try_sql(postgres => $token, "COPY cauce.transcript_segment (account_id, session_id, seq, start_ms, end_ms, body) FROM STDIN;
$account	$id	60	0	0	@{[word('COPY that fails later')]}
$account	$id	x	0	0	@{[word('COPY line')]}
\\.")->{sqlstate}, '22P02', 'a line of COPY');
	is($cluster->try_sql(app => undef, "INSERT INTO cauce.report (session_id, body) VALUES ('$id', '@{[word('no identity')]}')")->{sqlstate}, '28000',
		'content without identity');
	is($cluster->try_sql(app => undef, "SET LOCAL cauce.token '$token'")->{sqlstate}, '42601', 'a token in a syntax error');
	is($cluster->try_sql(app => undef, "SELECT set_config('cauce.tokens', '$token', false), 1 / 0")->{sqlstate}, '22012', 'or in the wrong setting');
	is($cluster->try_sql(app => undef, "SET LOCAL cauce.token = '$head.$claims." . reverse($signature) . "'")->{sqlstate}, '28000', 'or refused');
};

subtest 'a process that dies under an identity' => sub {
	my $session = CauceSession->open($cluster, app => $token);
	my $pid = $session->query('SELECT pg_backend_pid()');
	$session->{in} .= "SELECT pg_sleep(20), '@{[word('a killed process')]}';\n";
	$session->{run}->pump_nb for 1 .. 3;
	ok($cluster->poll_until("SELECT wait_event FROM pg_stat_activity WHERE pid = $pid", 'PgSleep', 10), 'it runs');
	$cluster->as_postgres('kill', '-9', $pid);
	$session->{run}->kill_kill;
	ok($cluster->poll_until('SELECT 1', '1', 20), 'the server is back');
	ok($cluster->log =~ /(?:server process|client backend) \(PID $pid\) was terminated by signal 9/, 'the log says what happened');
};

subtest 'what spills, and what is collected' => sub {
	$cluster->sql(app => $token, "$segment SELECT '$id', 1000 + n, n, n, '@{[word('spilled')]} ' || n FROM generate_series(1, 3000) n");
	my $session = CauceSession->open($cluster, app => $token);
	$session->query(q{BEGIN; DECLARE c CURSOR FOR SELECT body FROM cauce.transcript_segment ORDER BY md5(seq::text);
		FETCH 10 FROM c \\g /dev/null});
	my $temporary = $cluster->as_postgres('find', $cluster->pgdata, '-path', '*pgsql_tmp*', '-type', 'f', '-size', '+50k')->{out};
	like($temporary, qr/pgsql_tmp/, 'a sort has spilled into a file');
	is_deeply([ $cluster->files_with(MARK) ], [], 'which holds no word');
	$session->query(q{ROLLBACK; DECLARE h CURSOR WITH HOLD FOR SELECT body FROM cauce.transcript_segment; FETCH 10 FROM h \\g /dev/null});
	is_deeply([ $cluster->files_with(MARK) ], [], 'nor does the file of a held cursor');
	$session->close;
	$cluster->superuser('ANALYZE; VACUUM cauce.transcript_segment');
	is($cluster->superuser(q{SELECT count(*) FROM pg_stats WHERE schemaname = 'cauce' AND attname IN ('body', 'title', 'client', 'detail', 'display_name', 'email')}),
		'0', 'ANALYZE collects nothing of content');
};

subtest 'copies' => sub {
	for my $format (qw(plain custom))
	{
		# Not compressed, so that words would be found.
		my $dump = $cluster->as_postgres('pg_dump', '-Z0', "-F$format", '-d', $cluster->dsn('postgres'));
		is($dump->{status}, 0, "pg_dump, $format") or diag $dump->{err};
		like($dump->{out}, qr/cauce1:/, 'holds sealed values');
		unlike($dump->{out}, qr/@{[MARK]}/i, 'and no word');
	}
	my $slot = 'SELECT data FROM pg_logical_slot_peek_changes(\'watch\', NULL, NULL)';
	$cluster->superuser(q{SELECT pg_create_logical_replication_slot('watch', 'test_decoding')});
	mine("$segment VALUES ('$id', 5000, 0, 0, '@{[word('decoded')]}')");
	for ([ 'without identity', undef ], [ 'under the owner\'s identity', $token ])
	{
		my $changes = $cluster->sql(postgres => $_->[1], $slot);
		like($changes, qr/cauce1:/, "logical decoding $_->[0]: sealed values");
		unlike($changes, qr/@{[MARK]}/i, 'and no word');
	}
	$cluster->superuser(q{SELECT pg_drop_replication_slot('watch')});
};

# Known to be found: the search works.
my $plain = word('plain table');
$cluster->superuser("CREATE TABLE public.plain (words text); INSERT INTO public.plain SELECT '$plain' FROM generate_series(1, 3); CHECKPOINT");
$cluster->superuser("SELECT 'log $plain'");

subtest 'the data directory' => sub {
	my @files = $cluster->files_with($plain);
	ok((grep { m{/base/} } @files) && (grep { m{/pg_wal/} } @files), 'a word in a plain table is found, in heap and WAL');
	my $words = $cluster->as_postgres('grep', '-rhoaE', MARK . '[a-z]+', $cluster->pgdata)->{out};
	my %found = map { $_ => 1 } split /\n/, $words;
	# A page of the WAL may end in the middle of a word.
	is_deeply([ grep { index($plain, $_) != 0 } keys %found ], [], 'and no other');
	is_deeply([ $cluster->files_with($_) ], [], 'nor a token') for $claims, $signature;
};

subtest 'the server log' => sub {
	my $log = $cluster->log;
	ok($log =~ /log $plain/, 'a statement without identity on a plain table is there');
	ok($log =~ /cauce: .* with SQLSTATE 23505, its text withheld/, 'errors under an identity are there without their text');
	ok($log =~ /withheld; duration: [\d.]+ ms/, 'and durations');
	for my $word (sort { $where{$a} cmp $where{$b} } grep { $_ ne $plain } keys %where)
	{
		# debug_print_parse prints a constant's bytes as numbers.
		my $bytes = join ' ', map { ord } split //, $word;
		my $found = index($log, $word) >= 0 ? 'a word' : index($log, $bytes) >= 0 ? 'its bytes' : 'nothing';
		is($found, 'nothing', $where{$word});
	}
	is(index($log, $_), -1, 'no token') for $claims, $signature, scalar reverse $signature;
	is(index($log, 'eyJ'), -1, 'nor the beginning of one');
};

done_testing;
