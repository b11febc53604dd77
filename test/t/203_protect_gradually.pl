# cauce.protect_gradually() adopts a table that is in use: readers and writers go on as they were, whatever
# they write meanwhile is sealed, killed at any point the same CALL goes on, and at the end nothing differs
# from what protect() makes of it but the plaintext in the files, which VACUUM FULL removes.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use IPC::Run qw(start finish);
use JSON::PP;
use Test::More;

my $cluster = CauceTest->start;
my %token = map { $_ => $cluster->token($_) } qw(north-pro south-pro solo);
my $canary = 'qzgradual';
my %session = map { $_ => $cluster->sql(app => $token{$_}, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id}) } qw(north-pro south-pro solo);
$cluster->superuser('CREATE ROLE legacy LOGIN; CREATE ROLE operator LOGIN IN ROLE cauce_operator; GRANT CREATE ON SCHEMA public TO legacy');

# legacy makes a table; what a row says follows from its number and version, so that any row can be checked.
sub legacy
{
	my ($table, $rows, $partitioned) = @_;
	$cluster->sql(legacy => undef, "CREATE TABLE $table (n int, s uuid, version int NOT NULL DEFAULT 0, words text NOT NULL DEFAULT 'none', other char(99), PRIMARY KEY (n))"
		  . ($partitioned ? " PARTITION BY RANGE (n); CREATE TABLE ${table}_a PARTITION OF $table FOR VALUES FROM (0) TO (500); CREATE TABLE ${table}_b PARTITION OF $table DEFAULT" : ''));
	$cluster->superuser("INSERT INTO $table SELECT n, CASE WHEN n % 2 = 0 THEN '$session{'north-pro'}'::uuid ELSE '$session{'south-pro'}' END, 0,
		'$canary ' || n || ' 0', CASE WHEN n % 3 > 0 THEN '$canary other' END FROM generate_series(1, $rows) n; ANALYZE $table;
		GRANT SELECT (n, s, version, words, other), UPDATE ON $table TO app; GRANT INSERT ON $table TO app; GRANT DELETE ON $table TO app; COMMENT ON COLUMN $table.words IS 'what was said'");
	return;
}

# call begins the adoption and gives the running psql.
sub call
{
	my ($table, $batch) = @_;
	my $run = { err => '', out => '' };
	$run->{psql} = start [ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $cluster->dsn('postgres'),
		'-c', "CALL cauce.protect_gradually('$table', 's', '{words,other}', $batch)" ], '<', \undef, '>', \$run->{out}, '2>', \$run->{err};
	return $run;
}

sub progress { return $cluster->sql(operator => undef, qq{SELECT phase, rows_done, rows_total FROM cauce.protect_progress WHERE "table" = '$_[0]'::regclass}) }

# as_said counts the rows that say, to their owner, something else than they should.
sub astray
{
	my ($table, $who) = @_;
	return $cluster->sql(app => $token{$who}, "SELECT count(*) FROM $table WHERE words <> '$canary ' || n || ' ' || version");
}

subtest 'beside a writer, and killed twice' => sub {
	my $rows = 12000;
	legacy('notes', $rows);
	# The writer knows nothing of cauce: no token, no new column.
	my $writer = CauceSession->open($cluster, legacy => undef);
	my $write = "UPDATE notes SET version = version + 1, words = '$canary ' || n || ' ' || (version + 1) WHERE n %% 97 = %d;
		INSERT INTO notes (n, s, version, words) SELECT m, '$session{'north-pro'}', 7, '$canary ' || m || ' 7' FROM (SELECT max(n) + 1 AS m FROM notes) x";
	my ($written, $killed) = (0, 0);
	my $run = call('notes', 40);
	while ($run->{psql}->pumpable)
	{
		# Once the table is protected, whoever presents no token writes no more.
		my $result = $writer->try(sprintf $write, $written % 97);
		last if $result->{sqlstate} eq '42501';
		is($result->{err}, '', 'the writer is hindered') if $result->{sqlstate};
		$written++;
		my (undef, $done) = split /\|/, progress('notes') || '|0';
		if ($killed < 2 && $done > 3000 * ($killed + 1))
		{
			if (!$killed++)
			{
				$cluster->superuser(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%'});
			}
			else
			{
				$cluster->kill_server;
				$writer = undef;
				$cluster->pg_ctl('start');
				$cluster->poll_until('SELECT 1', '1');
				$writer = CauceSession->open($cluster, legacy => undef);
			}
			finish $run->{psql};
			is($cluster->superuser(q{SELECT adopting FROM cauce.protected_table}), 't', $killed == 1 ? 'the CALL is killed' : 'the server crashes');
			my (undef, $later) = split /\|/, progress('notes');
			ok($later >= $done, 'what was done stays done');
			is($cluster->superuser(q{SELECT * FROM cauce.verify('notes')}), '', 'and is bound');
			is($cluster->sql(legacy => undef, "SELECT count(*) FROM notes WHERE words <> '$canary ' || n || ' ' || version"), '0', 'the application reads all the same');
			$run = call('notes', 40);
		}
		$run->{psql}->pump_nb;
		last if $written > 3000;
	}
	finish $run->{psql};
	is($killed, 2, 'it was killed twice');
	like($run->{err}, qr/^NOTICE.*files hold the plaintext.*HINT.*VACUUM \(FULL\)/s, 'at last it says what is left to do');
	cmp_ok($written, '>', 5, "the writer wrote $written times meanwhile");
	is($cluster->superuser(q{SELECT * FROM cauce.verify('notes')}), '', 'every value is bound to its place');
	is($cluster->superuser("SELECT count(*) FROM (SELECT format('%s', words) AS w FROM notes) x WHERE w COLLATE \"C\" !~ '^cauce1:'"), '0', 'all is sealed');
	is(astray('notes', $_), '0', "$_ reads what was written last") for qw(north-pro south-pro);
	is($cluster->sql(app => $token{'north-pro'}, q{SELECT count(*) FROM notes WHERE other <> 'qzgradual other'}), '0', 'char(n) without its padding');
	my $counts = join '|', map { $cluster->sql(app => $token{$_}, 'SELECT count(*) FROM notes') } qw(north-pro south-pro solo);
	like($counts, qr/^6\d\d\d\|6000\|0$/, "each the own rows: $counts");
	is($cluster->sql(app => $token{'north-pro'}, q{SELECT count(DISTINCT words::text) = count(*) FROM notes}), 't', 'none lost');
	$writer->close;
	like(progress('notes'), qr/^vacuum full pending\|\d+\|12\d\d\d/, 'the progress says that files hold plaintext');
	my @files = sub { $cluster->superuser('CHECKPOINT'); map { $cluster->pgdata . "/$_" } split /\n/, $cluster->superuser(q{SELECT pg_relation_filepath('notes')}) };
	is($cluster->as_postgres('grep', '-lacF', $canary, $files[0]->())->{status}, 0, 'which they do');
	$cluster->superuser('VACUUM (FULL) notes');
	like(progress('notes'), qr/^done/, 'until they are rewritten');
	is($cluster->as_postgres('grep', '-lacF', $canary, $files[0]->())->{status}, 1, 'then they hold none');
	is($cluster->superuser(q{SELECT string_agg(attname || ' ' || format_type(atttypid, -1) || ' ' || attnotnull || coalesce(' ' || pg_get_expr(adbin, adrelid), ''), ', ' ORDER BY attname)
		FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = 'notes'::regclass AND attnum > 0 AND NOT attisdropped}),
		q{account_id uuid true cauce.account_id(), n integer true, other cauce.encrypted_text false, s uuid true, version integer true 0, words cauce.encrypted_text true 'none'::text}, 'types, NOT NULL and defaults are as they should be');
	is($cluster->superuser(q{SELECT col_description('notes'::regclass, attnum), has_column_privilege('app', 'notes', 'words', 'SELECT'), has_column_privilege('app', 'notes', 'other', 'UPDATE'), has_column_privilege('app', 'notes', 'account_id', 'SELECT')
		FROM pg_attribute WHERE attrelid = 'notes'::regclass AND attname = 'words'}), 'what was said|t|t|f', 'so are comments and privileges');
	is($cluster->superuser(q{SELECT string_agg(tgname, ',' ORDER BY tgname), (SELECT count(*) FROM pg_constraint WHERE conrelid = 'notes'::regclass AND NOT convalidated) FROM pg_trigger WHERE tgrelid = 'notes'::regclass AND NOT tgisinternal}),
		'cauce_hold,cauce_truncate,zz_cauce_seal|0', 'and nothing of the way there is left');
	is($cluster->try_sql(postgres => undef, q{CALL cauce.protect_gradually('notes', 's', '{words,other}')})->{sqlstate}, '42710', 'it cannot be adopted twice');
};

subtest 'while it is under way' => sub {
	legacy('slow', 500);
	$cluster->superuser(q{SELECT cauce.adopt_begin('slow', 's', '{words,other}'); SELECT cauce.adopt_batch('slow', 100)});
	is($cluster->try_sql(legacy => undef, "INSERT INTO slow VALUES (1000, gen_random_uuid(), 0, '$canary')")->{sqlstate}, '23503', 'a row of no session is refused');
	is($cluster->try_sql(legacy => undef, "INSERT INTO slow VALUES (1000, '$session{solo}', 0, '$canary 1000 0', 'x'), (1001, '$session{solo}', 0, DEFAULT, NULL)")->{sqlstate}, '', 'one of any session is not, without a token');
	is($cluster->sql(legacy => undef, q{UPDATE slow SET other = NULL WHERE n = 1000; SELECT words, other, account_id IS NOT NULL, "words$cauce" IS NOT NULL, "other$cauce" IS NOT NULL FROM slow WHERE n = 1000}),
		"$canary 1000 0||t|t|f", 'its sealed columns follow the plain ones');
	$cluster->sql(legacy => undef, qq{UPDATE slow SET n = 1002, s = '$session{'south-pro'}', words = '$canary 1002 0' WHERE n = 1001; UPDATE slow SET "words\$cauce" = 'something else' WHERE n = 1000});
	is($cluster->superuser(q{SELECT account_id = (SELECT id FROM cauce.account WHERE subject = 'south-pro'), (SELECT count(*) FROM cauce.verify('slow')) FROM slow WHERE n = 1002}), 't|0', 'and move with their row');
	is($cluster->sql(postgres => $token{solo}, q{SELECT words = "words$cauce" FROM slow WHERE n = 1000}), 't', 'nobody writes anything else there');
	$cluster->sql(legacy => undef, "UPDATE slow SET n = 1001, s = '$session{solo}', words = 'none' WHERE n = 1002");
	is($cluster->try_sql(postgres => undef, q{CALL cauce.protect_gradually('slow', 's', '{words}')})->{sqlstate}, '55000', 'other columns are refused');
	is($cluster->try_sql(postgres => undef, q{SELECT cauce.protect('slow', 's', '{words}')})->{sqlstate}, '42710', 'so is protect()');
	is($cluster->try_sql(app => $token{solo}, "SELECT cauce.archive_session('$session{solo}')")->{sqlstate}, '55000', 'and to archive a session with rows there');
	is($cluster->try_sql(app => $token{'south-pro'}, "DELETE FROM cauce.session WHERE id = '$session{'south-pro'}'")->{sqlstate}, '', 'a session is erased');
	is($cluster->superuser("SELECT count(*) FROM slow WHERE s = '$session{'south-pro'}'"), '0', 'with every row of it, sealed or not yet');
	is(decode_json($cluster->sql(app => $token{'south-pro'}, 'SELECT counts FROM cauce.erasure_certificate ORDER BY erased_at DESC LIMIT 1'))->{'public.slow'}, 250, 'counted');
	is($cluster->superuser('SELECT cauce.unprotect(\'slow\'); SELECT string_agg(attname, \',\' ORDER BY attnum) FROM pg_attribute WHERE attrelid = \'slow\'::regclass AND attnum > 0 AND NOT attisdropped') =~ s/^\n//r,
		'n,s,version,words,other,account_id', 'unprotect() abandons it');
	is($cluster->sql(legacy => undef, "SELECT count(*), count(*) FILTER (WHERE words = '$canary ' || n || ' 0') FROM slow"), '252|251', 'with all that is there');
	is($cluster->superuser(q{SELECT (SELECT count(*) FROM pg_trigger WHERE tgrelid = 'slow'::regclass AND NOT tgisinternal) + (SELECT count(*) FROM pg_constraint WHERE conrelid = 'slow'::regclass AND contype NOT IN ('p', 'n'))
		+ (SELECT count(*) FROM cauce.protect_progress WHERE "table" = 'slow'::regclass)}), '0', 'and nothing more');
};

subtest 'a partitioned table' => sub {
	$session{'south-pro'} = $cluster->sql(app => $token{'south-pro'}, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
	legacy('parted', 1000, 1);
	my $run = call('parted', 100);
	finish $run->{psql};
	like($run->{err}, qr/is protected/, 'is adopted');
	is($cluster->superuser(q{SELECT * FROM cauce.verify('parted')}), '', 'every value is bound');
	is(astray('parted', $_), '0', "$_ reads all") for qw(north-pro south-pro);
	is($cluster->sql(app => $token{'north-pro'}, 'SELECT count(*) FROM parted'), '500', 'and nothing else');
	$cluster->superuser('VACUUM (FULL) parted_a');
	like(progress('parted'), qr/^vacuum full pending/, 'one partition rewritten is not all');
	$cluster->superuser('VACUUM (FULL) parted_b');
	like(progress('parted'), qr/^done/, 'all are');
};

subtest 'refused' => sub {
	legacy('bad', 10);
	$cluster->superuser('UPDATE bad SET s = NULL WHERE n = 3');
	is($cluster->try_sql(postgres => undef, q{CALL cauce.protect_gradually('bad', 's', '{words}')})->{sqlstate}, '23503', 'rows without a session');
	is($cluster->try_sql(postgres => undef, q{CALL cauce.protect_gradually('bad', 's', '{}')})->{sqlstate}, '22023', 'nothing to seal');
	is($cluster->try_sql(app => $token{solo}, q{CALL cauce.protect_gradually('bad', 's', '{words}')})->{sqlstate}, '42501', 'an application');
	is($cluster->superuser(q{SELECT count(*) FROM pg_attribute WHERE attrelid = 'bad'::regclass AND attnum > 0}), '5', 'nothing has changed');
};

unlike($cluster->log, qr/(?<!UPDATE notes SET words = ')$canary \d+ 0/, 'no row reached the log');

done_testing;
