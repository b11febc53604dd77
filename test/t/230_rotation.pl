# Keys are rotated under load and lose nothing. A new master key re-wraps data keys and touches no content,
# in every database of the server. New data keys seal all content anew, in committed steps that go on
# wherever they were killed, while professionals write; and then the old ones are gone.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use MIME::Base64 qw(decode_base64);
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1s'\ncauce.retention_batch = 7");
my %token = map { $_ => $cluster->token($_) } qw(north-pro south-pro);
my $segment = 'INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)';

sub mine { return $cluster->sql(app => $token{'north-pro'}, @_) }

# masters gives the master keys that data keys lie under.
sub masters
{
	my ($database) = @_;
	return $cluster->superuser(q{SELECT string_agg(DISTINCT cauce.master_of(wrapped)::text, ',') FROM cauce.data_key}, database => $database // 'cauce');
}

# content gives a digest of all that an owner reads.
sub content
{
	my ($subject) = @_;
	my $all = join ' UNION ALL ', map { "SELECT (to_jsonb(t) - 'created_at')::text AS row FROM cauce.$_ t" } qw(session transcript_segment report alert account);
	return $cluster->sql(app => $token{$subject}, "SELECT count(*), md5(string_agg(row, E'\\n' ORDER BY row COLLATE \"C\")) FROM ($all) x");
}

# stored gives all stored values, in their sealed form.
sub stored
{
	my $live = $cluster->superuser(q{SELECT title FROM cauce.session UNION ALL SELECT client FROM cauce.session
		UNION ALL SELECT body FROM cauce.transcript_segment UNION ALL SELECT body FROM cauce.report UNION ALL SELECT detail FROM cauce.alert
		UNION ALL SELECT display_name FROM cauce.account UNION ALL SELECT email FROM cauce.account});
	my $archived = $cluster->superuser(q{SELECT 'cauce1:' || translate(encode(bundle, 'base64'), E'\n', '') FROM cauce.archived_session});
	return map { decode_base64(s/^cauce1://r) } grep { /^cauce1:/ } split /\n/, "$live\n$archived";
}

# generations counts stored values by the generation of their key.
sub generations
{
	my %seen;
	$seen{ unpack 'x2 n', $_ }++ for stored();
	return \%seen;
}

# stale counts stored values that lie under another generation than the newest of their key.
sub stale
{
	my %newest = map { split /\|/ } split /\n/, $cluster->superuser(q{SELECT replace(id::text, '-', ''), max(generation) FROM cauce.data_key GROUP BY id});
	return scalar grep { my ($generation, $id) = unpack 'x2 n H32', $_; $generation != $newest{$id} } stored();
}

# rotated waits until the last rotation is finished.
sub rotated
{
	return $cluster->poll_until(q{SELECT bool_and(finished_at IS NOT NULL) FROM cauce.rotation_status}, 't', 60);
}

for my $subject (sort keys %token)
{
	$cluster->sql(app => $token{$subject}, qq{
		INSERT INTO cauce.session (title, client) SELECT 'title ' || n, 'client ' || n FROM generate_series(1, 20) n;
		$segment SELECT s.id, n, n, n, 'segment ' || n FROM cauce.session s, generate_series(0, 9) n;
		INSERT INTO cauce.report (session_id, body) SELECT id, repeat('a long report ', 100) FROM cauce.session;
		INSERT INTO cauce.alert (session_id, kind, detail) SELECT id, 'x', 'detail' FROM cauce.session;
		SELECT id AS archived FROM cauce.session ORDER BY id LIMIT 1 \\gset
		SELECT cauce.archive_session(:'archived') \\g /dev/null});
}
my $held = mine('SELECT max(id::text) FROM cauce.session');
$cluster->superuser("UPDATE cauce.session SET legal_hold = true WHERE id = '$held'");
my %before = map { $_ => content($_) } keys %token;
my $updated = $cluster->superuser('SELECT md5(string_agg(updated_at::text, $$,$$ ORDER BY id)) FROM cauce.report');

subtest 'a new master key' => sub {
	$cluster->superuser('CREATE DATABASE second');
	$cluster->superuser('SET client_min_messages = warning; CREATE EXTENSION cauce CASCADE', database => 'second');
	$cluster->superuser(q{SELECT cauce.create_account('north-pro', display_name => 'Second')}, database => 'second');
	is($cluster->try_sql(app => $token{'north-pro'}, 'SELECT cauce.rotate_master_key()')->{sqlstate}, '42501', 'is not an application\'s to make');
	my $stored = $cluster->superuser('SELECT md5(string_agg(cauce.encrypted_text_out(body)::text, $$,$$ ORDER BY session_id, seq)) FROM cauce.transcript_segment');

	is($cluster->superuser('SELECT cauce.rotate_master_key(prepare => true)'), '2', 'can be made beforehand');
	is($cluster->superuser('SELECT cauce.rotate_master_key(prepare => true)'), '2', 'once');
	mine('INSERT INTO cauce.session DEFAULT VALUES');
	is(masters(), '1', 'and is not in use until it is asked for');
	my $session = CauceSession->open($cluster, app => $token{'north-pro'});
	$session->query('SELECT count(title) FROM cauce.session');
	is($cluster->superuser('SELECT cauce.rotate_master_key()'), '2', 'it is put in use');
	is(masters(), '2', 'every data key lies under it');
	ok($cluster->poll_until(q{SELECT string_agg(DISTINCT cauce.master_of(wrapped)::text, ',') FROM cauce.data_key}, '2'), 'and stays');
	ok(scalar(grep { masters('second') eq '2' || (select(undef, undef, undef, 0.2), 0) } 1 .. 50), 'those of other databases follow');
	is($session->query('SELECT count(title) FROM cauce.session'), '19', 'a connection that had the old one goes on');
	$session->close;
	mine("DELETE FROM cauce.session WHERE title IS NULL");
	is(content($_), $before{$_}, "$_ reads everything") for sort keys %token;
	is($cluster->superuser('SELECT md5(string_agg(cauce.encrypted_text_out(body)::text, $$,$$ ORDER BY session_id, seq)) FROM cauce.transcript_segment'), $stored, 'no content was touched');

	is($cluster->superuser('SELECT cauce.rotate_master_key()'), '3', 'once more');
	is($cluster->superuser(q{SELECT string_agg(number || ' ' || in_use, ', ' ORDER BY number) FROM cauce.keyring_status() WHERE kind = 'master'}),
		'1 false, 2 false, 3 true', 'old ones are kept: backups lie under them');
	is($cluster->try_sql(postgres => undef, "SELECT cauce.retire_master_key($_)")->{sqlstate}, '22023', "$_ cannot be retired") for 3, 4, 0, -1;
	$cluster->superuser('SELECT cauce.retire_master_key(1)');
	ok($cluster->poll_until(q{SELECT string_agg(number::text, ',' ORDER BY number) FROM cauce.keyring_status() WHERE kind = 'master'}, '2,3'),
		'a retired one is destroyed once no database needs it');
	is(content('north-pro'), $before{'north-pro'}, 'everything still opens');
};

subtest 'a master key that a database needs is not destroyed' => sub {
	# A key that somebody holds is not moved, and keeps the master key that it lies under.
	my $holder = CauceSession->open($cluster, postgres => undef);
	$holder->query('BEGIN; SELECT id FROM cauce.data_key ORDER BY id LIMIT 1 FOR UPDATE');
	is($cluster->superuser('SELECT cauce.rotate_master_key()'), '4', 'rotation waits for nobody');
	is(masters(), '3,4', 'what is held stays where it is');
	$cluster->superuser('SELECT cauce.retire_master_key(3)');
	sleep 3;
	is($cluster->superuser(q{SELECT count(*) FROM cauce.keyring_status() WHERE number = 3}), '1', 'and keeps its master key');
	$holder->query('COMMIT');
	ok($cluster->poll_until(q{SELECT count(*) FROM cauce.keyring_status() WHERE number = 3}, '0'), 'until it can be moved');
	is(masters(), '4', 'which it is');
	$holder->close;
	is(content('north-pro'), $before{'north-pro'}, 'everything opens');
};

subtest 'new data keys' => sub {
	is_deeply([ keys %{ generations() } ], [1], 'at first everything lies under the first generation');
	is($cluster->try_sql(app => $token{'north-pro'}, 'SELECT cauce.rotate_data_keys()')->{sqlstate}, '42501', 'an application does not rotate');
	is($cluster->try_sql(postgres => undef, q{SELECT cauce.rotate_data_keys(older_than => '-1 day')}, )->{sqlstate}, '22023', 'nor into the future');
	like($cluster->superuser('SELECT cauce.rotate_data_keys()'), qr/^\d+$/, 'it is asked for');
	ok(rotated(), 'and done in the background') or diag $cluster->superuser('SELECT * FROM cauce.rotation_status');
	is_deeply([ keys %{ generations() } ], [2], 'everything lies under the second generation: live, held, archived, profiles');
	is($cluster->superuser('SELECT count(*) FROM cauce.data_key WHERE (generation = 1) = (resealed_at IS NULL)'), '0', 'and nothing under the first');
	is(content($_), $before{$_}, "$_ reads everything") for sort keys %token;
	is($cluster->superuser('SELECT md5(string_agg(updated_at::text, $$,$$ ORDER BY id)) FROM cauce.report'), $updated, 'no report looks as if it had been changed');
	is($cluster->superuser(q{SELECT count(*) FROM cauce.audit_log WHERE action = 'open'}), '0', 'nobody opened anything');
	$cluster->superuser(q{SELECT cauce.rotate_data_keys(older_than => '1 day')});
	ok(rotated(), 'a rotation of old keys');
	is_deeply([ keys %{ generations() } ], [2], 'leaves young ones');
	my $account = mine('SELECT cauce.account_id()');
	$cluster->superuser("SELECT cauce.rotate_data_keys('$account')");
	ok(rotated(), 'a rotation of one account\'s keys');
	is(join(',', sort keys %{ generations() }), '2,3', 'leaves others\'');
	is(content($_), $before{$_}, "$_ reads everything") for sort keys %token;
	my $archive = mine('SELECT id FROM cauce.archived_session');
	mine("SELECT cauce.restore_session('$archive')");
	is(mine("SELECT count(body) FROM cauce.transcript_segment WHERE session_id = '$archive'"), '10', 'an archive restores');
	mine("SELECT cauce.archive_session('$archive')");
};

subtest 'a reader with an old snapshot' => sub {
	my $reader = CauceSession->open($cluster, app => $token{'south-pro'});
	$reader->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM cauce.report');
	$cluster->superuser('SELECT cauce.rotate_data_keys()');
	ok($cluster->poll_until('SELECT bool_and(to_renew = 0) FROM cauce.rotation_status', 't', 60), 'stops no new keys');
	is($reader->query('SELECT count(*) FROM cauce.transcript_segment WHERE length(body) > 0'), '190', 'opens what it sees');
	is($cluster->superuser('SELECT sum(to_reseal) > 0 FROM cauce.rotation_status'), 't', 'and is waited for by nobody: the rest has its turn later');
	$reader->query('COMMIT');
	ok(rotated(), 'when it has ended');
	$reader->close;
	is(stale(), 0, 'nothing lies under an old key');
};

subtest 'a writer that was under way' => sub {
	my $writer = CauceSession->open($cluster, app => $token{'south-pro'});
	my $id = $writer->query(q{SELECT id FROM cauce.session WHERE title LIKE 'title%' ORDER BY id LIMIT 1});
	$writer->query("BEGIN; $segment VALUES ('$id', 500, 500, 500, 'under way'); SAVEPOINT a; $segment VALUES ('$id', 501, 501, 501, 'given up'); ROLLBACK TO a");
	my $generation = $cluster->superuser("SELECT max(generation) FROM cauce.data_key WHERE session_id = '$id'");
	$cluster->superuser('SELECT cauce.rotate_data_keys()');
	ok($cluster->poll_until("SELECT max(generation) > $generation FROM cauce.data_key WHERE session_id = '$id'", 't'), 'does not stop new keys');
	$writer->query("$segment VALUES ('$id', 502, 502, 502, 'and goes on'); COMMIT");
	ok(rotated(), 'is waited for');
	is($writer->query("SELECT string_agg(body, ',' ORDER BY seq) FROM cauce.transcript_segment WHERE session_id = '$id' AND seq >= 500"), 'under way,and goes on',
		'and what it wrote opens');
	is(stale(), 0, 'under the new key');
	$writer->query("DELETE FROM cauce.transcript_segment WHERE session_id = '$id' AND seq >= 500");
	$writer->close;
};

subtest 'a writer that comes while new keys are being made' => sub {
	# The worker waits for somebody who makes the last of them; the writer finds the first as it was.
	$cluster->configure('cauce.retention_batch = 1000');
	$cluster->pg_ctl('reload');
	$cluster->poll_until('SHOW cauce.retention_batch', '1000') or die 'no reload';
	my @session = split /\n/, $cluster->superuser(q{SELECT k.session_id FROM cauce.data_key k JOIN cauce.session s ON s.account_id = k.account_id AND s.id = k.session_id
		JOIN cauce.account a ON a.id = k.account_id WHERE superseded_at IS NULL AND subject = 'south-pro' ORDER BY k.created_at});
	my ($first, $last) = @session[ 0, -1 ];
	my $blocker = CauceSession->open($cluster, postgres => undef);
	$blocker->query("BEGIN; INSERT INTO cauce.data_key (id, account_id, organization_id, session_id, epoch, generation, wrapped)
		SELECT id, account_id, organization_id, session_id, epoch, generation + 1, wrapped FROM cauce.data_key WHERE session_id = '$last' ORDER BY generation DESC LIMIT 1");
	$cluster->superuser('SELECT cauce.rotate_data_keys()');
	ok($cluster->poll_until(q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'cauce retention worker' AND wait_event = 'transactionid'}, 't'),
		'the worker is at it');
	my $writer = CauceSession->open($cluster, app => $token{'south-pro'});
	$writer->query("BEGIN; $segment VALUES ('$first', 600, 600, 600, 'in between')");
	$blocker->query('ROLLBACK');
	$blocker->close;
	ok($cluster->poll_until('SELECT bool_and(to_renew = 0) FROM cauce.rotation_status', 't'), 'and goes on');
	sleep 3;
	$writer->query('COMMIT');
	ok(rotated(), 'the rotation ends');
	is(stale(), 0, 'nothing lies under an old key');
	is($writer->query("DELETE FROM cauce.transcript_segment WHERE session_id = '$first' AND seq = 600 RETURNING body"), 'in between', 'what was written opens');
	$writer->close;
	$cluster->configure('cauce.retention_batch = 7');
	$cluster->pg_ctl('reload');
};

subtest 'what a rotation cannot see' => sub {
	# A copy, a part that is detached, a table that is made in a transaction of its own: each is there again later.
	$cluster->superuser(q{CREATE TABLE public.hoard (body cauce.encrypted_text); GRANT SELECT, INSERT ON public.hoard TO app});
	my $account = mine('SELECT cauce.account_id()');
	$cluster->superuser("CREATE TABLE public.row_hoard AS SELECT r FROM cauce.report r WHERE account_id = '$account'; GRANT SELECT ON public.row_hoard TO app");
	mine('INSERT INTO public.hoard SELECT body FROM cauce.transcript_segment');
	my $maker = CauceSession->open($cluster, postgres => undef);
	$maker->query("BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE TABLE public.late AS SELECT body FROM cauce.transcript_segment
		WHERE account_id = '$account'; GRANT SELECT ON public.late TO app");
	$cluster->superuser('SELECT cauce.rotate_data_keys()');
	$cluster->poll_until('SELECT bool_and(to_renew = 0) FROM cauce.rotation_status', 't', 60);
	$maker->query('COMMIT');
	$maker->close;
	ok(rotated(), 'does not stop it');
	is(mine("SELECT count(*) FROM public.$_ WHERE body LIKE 'segment%'"), '190', "and opens: $_") for qw(hoard late);
	is(mine(q{SELECT count(*) FROM public.row_hoard WHERE (r).body LIKE 'a long%'}), '19', 'and inside of rows');
	$cluster->superuser('DROP TABLE public.hoard, public.late, public.row_hoard');
};

subtest 'an application that holds rows' => sub {
	my $holder = CauceSession->open($cluster, app => $token{'south-pro'});
	$holder->query(q{BEGIN; SELECT id FROM cauce.session FOR UPDATE; SELECT id FROM cauce.report FOR UPDATE});
	my $runs = $cluster->superuser('SELECT count(*) FROM cauce.retention_run');
	$cluster->superuser('SELECT cauce.rotate_data_keys()');
	ok($cluster->poll_until("SELECT count(*) > $runs + 2 FROM cauce.retention_run WHERE finished_at IS NOT NULL", 't', 20), 'stops neither the worker nor retention');
	$holder->query('COMMIT');
	$holder->close;
	ok(rotated(), 'and its rows have their turn');
	is(stale(), 0, 'all of them');
};

subtest 'under load, and killed at any time' => sub {
	my $start = $cluster->superuser('SELECT max(generation) FROM cauce.data_key');
	my @writer;
	for my $n (1 .. 2)
	{
		my $pid = fork // die "fork: $!";
		if ($pid == 0)
		{
			my ($count, $stop) = (0, time + 12);
			while (time < $stop)
			{
				# A transaction in which the server was killed has not happened; its text tells.
				my $text = "writer $n text " . ($count + 1);
				my $result = $cluster->try_sql(app => $token{'south-pro'}, "BEGIN;
					INSERT INTO cauce.session (title) VALUES ('$text') RETURNING id AS id \\gset
					$segment SELECT :'id', s, 0, 0, '$text' FROM generate_series(1, 5) s;
					UPDATE cauce.report SET body = '$text' WHERE id = (SELECT id FROM cauce.report ORDER BY id OFFSET $n LIMIT 1);
					COMMIT; SELECT 'committed'");
				$count++ if $result->{out} =~ /committed/;
				select undef, undef, undef, 0.02;
			}
			open my $out, '>', $cluster->dir . "/writer$n" or die;
			print {$out} $count;
			close $out;
			require POSIX;
			POSIX::_exit(0);
		}
		push @writer, $pid;
	}
	for (1 .. 6)
	{
		$cluster->superuser('SELECT cauce.rotate_data_keys()');
		select undef, undef, undef, 0.7 + rand 0.9;
		$cluster->as_postgres('pkill', '-9', '-f', 'cauce retention worker', '-P', $cluster->superuser(q{SELECT pg_read_file('postmaster.pid', 0, 100)}) =~ /^(\d+)/);
		$cluster->poll_until('SELECT 1', '1', 30) or die 'the server does not come back';
	}
	waitpid $_, 0 for @writer;
	my $count = 0;
	for my $n (1 .. 2)
	{
		open my $in, '<', $cluster->dir . "/writer$n" or die "writer $n: $!";
		$count += <$in>;
	}
	cmp_ok($count, '>', 5, "writers committed $count transactions");
	ok(rotated(), 'the rotations come to their end') or diag $cluster->superuser('SELECT * FROM cauce.rotation_status');
	$cluster->superuser('SELECT cauce.rotate_data_keys()');
	ok(rotated(), 'and one more');
	cmp_ok($cluster->sql(app => $token{'south-pro'}, q{SELECT count(*) FROM cauce.session WHERE title LIKE 'writer%'}), '>=', $count, 'every session that was committed is there');
	is($cluster->sql(app => $token{'south-pro'}, q{SELECT count(*) FROM cauce.session s WHERE title LIKE 'writer%' AND 5 <> (SELECT count(*)
		FROM cauce.transcript_segment t WHERE t.session_id = s.id AND t.body = s.title)}), '0', 'whole, and opens');
	my $generation = $cluster->superuser('SELECT max(generation) FROM cauce.data_key');
	cmp_ok($generation, '>', $start + 3, 'rotations took place meanwhile');
	is(stale(), 0, 'nothing lies under an old key');
	is(content('north-pro'), $before{'north-pro'}, 'nobody else\'s content changed');
};

subtest 'erasure while a rotation is under way' => sub {
	my $session = CauceSession->open($cluster, app => $token{'south-pro'});
	my @id = split /\n/, $session->query(q{SELECT id FROM cauce.session WHERE title LIKE 'title%' LIMIT 10});
	$cluster->superuser('SELECT cauce.rotate_data_keys()');
	$session->query("DELETE FROM cauce.session WHERE id = '$_'") for @id;
	ok(rotated(), 'the rotation ends');
	is($cluster->superuser("SELECT count(*) FROM cauce.data_key WHERE session_id IN ('" . join("','", @id) . "')"), '0', 'no generation of an erased key is left');
	is($session->query(q{SELECT bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate}), 't', 'the certificates hold');
	is($session->query(q{SELECT count(*) FROM cauce.erasure_certificate c, LATERAL jsonb_array_elements(cauce.open_certificate(jws)->'keys') WHERE subject = 'session'}),
		'10', 'each names its key once');
	$session->close;
};

unlike($cluster->log =~ s/duration: .*//gr, qr/seal anew what lies under|cannot be wrapped anew/, 'nothing could not be sealed anew');

done_testing;
