# What the server collects and what executors spill holds no word of content and no token: statistics of
# statements, of columns, of activity; temporary files of sorts, hashes and tuple stores; the NOTIFY queue.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use CauceWire;
use Test::More;

use constant MARK => 'qzcanary';

my $cluster = CauceTest->start(
	settings => <<'CONF');
shared_preload_libraries = 'pg_stat_statements,pg_cron,cauce'
pg_stat_statements.track = 'all'
pg_stat_statements.track_planning = on
pg_stat_statements.save = on
track_activity_query_size = '64kB'
track_functions = 'all'
compute_query_id = on
work_mem = '64kB'
hash_mem_multiplier = 1
log_temp_files = 0
CONF
my $token = $cluster->token('north-pro');
my (undef, $claims) = split /\./, $token;
$cluster->superuser('CREATE EXTENSION pg_stat_statements');

# word makes a word that is nowhere else and begins with MARK.
my %where;
sub word
{
	my ($where) = @_;
	my $word = MARK . join '', map { ('a' .. 'z')[ rand 26 ] } 1 .. 12;
	$where{$word} = $where;
	return $word;
}

# mine runs SQL as the application for north-pro.
sub mine { return $cluster->try_sql(app => $token, @_) }

my $id = $cluster->sql(app => $token, "INSERT INTO cauce.session (title, client) VALUES ('@{[word('title')]}', '@{[word('client')]}') RETURNING id");
my $segment = 'INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)';

# statements runs everything whose text could be kept.
sub statements
{
	my ($from) = @_;
	my $wire = CauceWire->connect($cluster, 'app');
	is($wire->simple("BEGIN; SET LOCAL cauce.token = '$token'; $segment VALUES ('$id', $from, 0, 0, '@{[word('simple message')]}'); COMMIT")->{sqlstate}, '', 'SET LOCAL');
	is($wire->execute(q{SELECT set_config('cauce.token', $1, false)}, [$token])->{sqlstate}, '', 'set_config');
	is($wire->execute("$segment VALUES (\$1, $from + 1, 0, 0, \$2)", [ $id, word('parameter') ])->{sqlstate}, '', 'a parameter');
	$wire->close;
	my @statement = (
		"$segment VALUES ('$id', $from + 2, 0, 0, '@{[word('literal')]}')",
		"PREPARE p (text) AS $segment VALUES ('$id', $from + 3, 0, 0, \$1 || '@{[word('PREPARE')]}'); EXECUTE p ('@{[word('EXECUTE')]}')",
		"DO \$\$ BEGIN $segment VALUES ('$id', $from + 4, 0, 0, '@{[word('DO')]}'); END \$\$",
		"DO \$\$ BEGIN EXECUTE 'EXPLAIN SELECT ''@{[word('utility in DO')]}'''; END \$\$",
		"EXPLAIN (VERBOSE) SELECT * FROM cauce.report WHERE body = '@{[word('EXPLAIN')]}'",
		"BEGIN; DECLARE c CURSOR FOR SELECT * FROM cauce.session WHERE title <> '@{[word('DECLARE')]}'; FETCH ALL FROM c \\g /dev/null\nCOMMIT",
		"BEGIN; DO \$\$ BEGIN EXECUTE 'DECLARE h CURSOR WITH HOLD FOR SELECT * FROM cauce.report WHERE body <> ''@{[word('DECLARE in DO')]}'''; END \$\$; COMMIT",
		"CREATE TEMP TABLE t AS SELECT '@{[word('CREATE TABLE AS')]}'::cauce.encrypted_text AS x",
		"COPY (SELECT 1 FROM cauce.session WHERE title = '@{[word('COPY query')]}') TO STDOUT",
		"SELECT count(*) FROM cauce.session WHERE title ILIKE '%@{[word('search')]}%'",
		"SELECT set_config('cauce.token', '$token', true)",
		"CREATE TEMP VIEW v AS SELECT title FROM cauce.session WHERE title = '@{[word('view')]}'::text",
		"UPDATE cauce.session SET client = '@{[word('UPDATE')]}' WHERE id = '$id'");
	is(mine($_)->{sqlstate}, '', join ' ', (split)[ 0 .. 2 ]) for @statement;
	return;
}

# kept gives every text that pg_stat_statements has, and that its file has.
sub kept
{
	return $cluster->superuser('SELECT query FROM pg_stat_statements') . $cluster->as_postgres('cat', $cluster->pgdata . '/pg_stat_tmp/pgss_query_texts.stat')->{out};
}

# Hooks run in the order in which modules are loaded, or the other way round.
for my $order ('pg_stat_statements,pg_cron,cauce', 'pg_cron,cauce,pg_stat_statements')
{
	subtest "pg_stat_statements, loaded as $order" => sub {
		$cluster->configure("shared_preload_libraries = '$order'");
		$cluster->restart;
		$cluster->superuser('SELECT pg_stat_statements_reset()');
		statements($order =~ /^pg_stat/ ? 100 : 200);
		$cluster->superuser("DO \$\$ BEGIN PERFORM 'without identity, elsewhere'; END \$\$");
		my $kept = kept();
		like($kept, qr/transcript_segment \(session_id, seq, start_ms, end_ms, body\)\s+VALUES \(\$1/, 'statements are kept, normalised');
		like($kept, qr/without identity, elsewhere/, 'so are utility statements of others');
		is_deeply([ map { $where{$_} } grep { index($kept, $_) >= 0 } sort keys %where ], [], 'no word of content');
		is(index($kept, 'eyJ'), -1, 'and no token');
	};
}

subtest 'pg_stat_activity' => sub {
	my $wire = CauceWire->connect($cluster, 'app');
	$wire->execute(q{SELECT set_config('cauce.token', $1, false)}, [$token]);
	$wire->execute("$segment VALUES (\$1, 300, 0, 0, \$2)", [ $id, word('parameter, activity') ]);
	my $seen = $cluster->superuser(q{SELECT string_agg(query, ' ') FROM pg_stat_activity WHERE usename = 'app'});
	is($seen, '', 'shows no statement of an application under an identity');
	$cluster->superuser('CREATE ROLE other LOGIN IN ROLE cauce_app');
	is($cluster->sql(other => undef, q{SELECT string_agg(DISTINCT query, ' ') FROM pg_stat_activity WHERE usename = 'app'}), '<insufficient privilege>',
		'and to other roles nothing');
	$wire->close;
};

subtest 'statistics, indexes, generated columns' => sub {
	my $statistics = q{SELECT count(*) FROM pg_stats WHERE schemaname = 'cauce' AND attname IN ('body', 'title', 'client', 'detail', 'display_name', 'email')};
	$cluster->sql(postgres => $token, 'SET client_min_messages = error; ANALYZE');
	is($cluster->superuser($statistics), '0', 'ANALYZE collects none, even under an identity');
	is($cluster->try_sql(postgres => $token, 'CREATE STATISTICS cauce.both ON title, client FROM cauce.session')->{sqlstate}, '0A000',
		'there are no extended ones of sealed columns');
	my $index = $cluster->try_sql(postgres => $token, 'CREATE INDEX ON cauce.session ((title::text))');
	is($index->{sqlstate}, '42P17', 'there is no index on what is opened');
	is($cluster->try_sql(postgres => $token, 'CREATE INDEX ON cauce.session (title)')->{sqlstate}, '42704', 'nor on what is sealed');
	$cluster->superuser('CREATE TABLE public.noted (note cauce.encrypted_text)');
	is($cluster->try_sql(postgres => $token, 'ALTER TABLE public.noted ADD opened text GENERATED ALWAYS AS (note::text) STORED')->{sqlstate}, '42P17',
		'nor a generated column');
};

subtest 'what executors spill' => sub {
	$cluster->sql(app => $token, "$segment SELECT '$id', 1000 + n, n, n, '@{[word('spilled')]} ' || n FROM generate_series(1, 4000) n");
	my %query = (
		'a sort' => 'SELECT body FROM cauce.transcript_segment ORDER BY md5(seq::text)',
		'a hash join' => 'SELECT a.body, b.body FROM cauce.transcript_segment a JOIN cauce.transcript_segment b ON a.seq = b.seq + 0',
		'a merge join' => 'SELECT a.body, b.body FROM cauce.transcript_segment a JOIN cauce.transcript_segment b ON md5(a.seq::text) = md5(b.seq::text)',
		'a hash aggregate' => 'SELECT seq + 0, count(body), (array_agg(body))[1] FROM cauce.transcript_segment GROUP BY 1',
		'a window' => 'SELECT body, count(*) OVER () FROM cauce.transcript_segment',
		'a materialized WITH' => 'WITH w AS MATERIALIZED (SELECT * FROM cauce.transcript_segment) SELECT body FROM w WHERE seq > 4900',
		'a UNION ALL that is sorted' => 'SELECT body FROM (SELECT seq, body FROM cauce.transcript_segment UNION ALL SELECT seq, body FROM cauce.transcript_segment) u ORDER BY md5(seq::text)');
	my %setting = ('a hash join' => 'SET LOCAL enable_mergejoin = off; SET LOCAL enable_nestloop = off;',
		'a merge join' => 'SET LOCAL enable_hashjoin = off; SET LOCAL enable_nestloop = off;',
		'a hash aggregate' => 'SET LOCAL enable_sort = off;');
	my $session = CauceSession->open($cluster, app => $token);
	for my $name (sort keys %query)
	{
		$session->query("BEGIN; SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0; @{[$setting{$name} // '']} DECLARE c CURSOR FOR $query{$name};
			FETCH 10 FROM c \\g /dev/null");
		my $files = $cluster->as_postgres('find', $cluster->pgdata, '-path', '*pgsql_tmp*', '-type', 'f', '-size', '+20k')->{out};
		like($files, qr/pgsql_tmp/, "$name has spilled");
		is_deeply([ $cluster->files_with(MARK) ], [], 'no word');
		$session->query('ROLLBACK');
	}
	$session->close;
};

subtest 'NOTIFY' => sub {
	is($cluster->superuser(q{SELECT count(*) FROM pg_proc WHERE pronamespace = 'cauce'::regnamespace AND prosrc ~* 'notify'}), '0', 'no function of cauce\'s notifies');
	my $session = CauceSession->open($cluster, app => $token);
	$session->query("LISTEN cauce; INSERT INTO cauce.report (session_id, body) VALUES ('$id', '@{[word('report')]}'); DELETE FROM cauce.session WHERE id = '$id'");
	unlike($session->try('SELECT 1')->{out}, qr/notification/, 'nor do its triggers');
	$session->close;
};

# Known to be found: the search works.
my $plain = word('plain table');
$cluster->superuser("CREATE TABLE public.plain AS SELECT '$plain'::text AS words");
$cluster->restart;    # statistics of statements and of tables are written at shutdown

subtest 'the data directory' => sub {
	my $words = $cluster->as_postgres('grep', '-rhoaE', MARK . '[a-z]+', $cluster->pgdata)->{out};
	my %found = map { $_ => 1 } split /\n/, $words;
	ok($found{$plain}, 'a word in a plain table is found');
	# A page of the WAL may end in the middle of a word.
	is_deeply([ map { $where{$_} // $_ } grep { index($plain, $_) != 0 } sort keys %found ], [], 'and no other');
	is_deeply([ $cluster->files_with($claims) ], [], 'nor a token');
};

done_testing;
