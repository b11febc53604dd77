# A logical subscriber holds the publisher's sealed values and keys, byte for byte, and not a word of content.
# Nothing opens there without the keyring or without an identity; with both, what is the owner's does, until
# the publisher destroys its key. Retention stays the publisher's work.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;

my $publisher = CauceTest->start;
my %token = map { $_ => $publisher->token($_) } qw(north-pro south-pro);
# As docs/operations.md has it: what a server notes of its own retention runs is its own.
my @published = qw(organization account session transcript_segment report alert archived_session data_key
  erasure_certificate audit_log alert_rule);

# fill makes some of everything for both accounts; a word tells when.
sub fill
{
	my ($word) = @_;
	$publisher->sql(app => $token{$_}, qq{INSERT INTO cauce.session (title, client) VALUES ('qzcanary $word', NULL);
		INSERT INTO cauce.session (title, client) VALUES ('', 'qzcanary') RETURNING id AS session \\gset
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) SELECT :'session', n, n, n, 'qzcanary segment ' || n FROM generate_series(1, 50) n;
		INSERT INTO cauce.report (session_id, body) VALUES (:'session', repeat('qzcanary $word ', 500)), (:'session', E'tab\\tbackslash\\\\ é');
		INSERT INTO cauce.alert (session_id, kind, detail) VALUES (:'session', 'x', 'qzcanary $word');
		INSERT INTO cauce.session (title) VALUES ('qzcanary archived') RETURNING id AS session \\gset
		SELECT cauce.archive_session(:'session') \\g /dev/null
		INSERT INTO cauce.session (title) VALUES ('qzcanary erased') RETURNING id AS session \\gset
		DELETE FROM cauce.session WHERE id = :'session'}) for sort keys %token;
	return;
}

# stored gives a digest of each published table, sealed.
sub stored
{
	my ($cluster, $database) = @_;
	my $all = join ' UNION ALL ', map { "SELECT '$_', count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")), '') FROM cauce.$_ t" } @published;
	return { map { split /\|/, $_, 2 } split /\n/, $cluster->superuser($all, database => $database) };
}

# opened gives what an owner reads.
sub opened
{
	my ($cluster, $subject, $database) = @_;
	my $all = join ' UNION ALL ', map { "SELECT to_jsonb(t)::text AS row FROM cauce.$_ t" } qw(session transcript_segment report alert account);
	return $cluster->sql(app => $token{$subject}, "SELECT count(*), md5(string_agg(row, E'\\n' ORDER BY row COLLATE \"C\")) FROM ($all) x", database => $database);
}

# synchronized waits until a subscription has all that the publisher has written.
sub synchronized
{
	my ($subscriber, $database) = @_;
	return 0 if !$subscriber->poll_until(q{SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel}, 't', 90, database => $database);
	my $position = $publisher->superuser('SELECT pg_current_wal_flush_lsn()');
	return $publisher->poll_until("SELECT confirmed_flush_lsn >= '$position' FROM pg_replication_slots WHERE slot_name = 'copy_$database'", 't', 90);
}

# subscribe gives a database of the subscriber's the extension and a subscription.
sub subscribe
{
	my ($subscriber, $database, $options, $publication) = @_;
	$publication //= 'everything';
	my $source = $publisher->dsn('postgres');
	$subscriber->superuser('SET client_min_messages = error; CREATE EXTENSION cauce CASCADE', database => $database);
	# Who sets this up takes longer than the worker does to come by, and that must leave the tables empty.
	$subscriber->poll_until('SELECT count(*) > 1 FROM cauce.retention_run', 't', 30, database => $database) or die "no worker has come to $database";
	$subscriber->superuser("CREATE SUBSCRIPTION copy_$database CONNECTION '$source' PUBLICATION $publication WITH (slot_name = copy_$database$options)",
		database => $database);
	return;
}

fill('before');
$publisher->superuser('CREATE PUBLICATION everything FOR TABLE ' . join ', ', map { "cauce.$_" } @published);

my $subscriber = CauceTest->sibling_of($publisher, settings => <<'CONF');
cauce.retention_naptime = 1
wal_retrieve_retry_interval = '200ms'
max_logical_replication_workers = 8
CONF
$subscriber->as_postgres('mv', $subscriber->keyring_file, $subscriber->keyring_file . '.away');
subscribe($subscriber, 'cauce', '');
$subscriber->superuser('CREATE ROLE app LOGIN IN ROLE cauce_app');

subtest 'without the keyring' => sub {
	ok(synchronized($subscriber, 'cauce'), 'what was there is copied');
	is_deeply(stored($subscriber), stored($publisher), 'byte for byte');
	fill('after');
	$publisher->sql(app => $token{'north-pro'}, q{UPDATE cauce.report SET body = 'qzcanary rewritten' WHERE body LIKE '%tab%';
		UPDATE cauce.session SET title = 'qzcanary renamed', status = 'ended' WHERE title LIKE '%before';
		DELETE FROM cauce.transcript_segment WHERE seq > 40; UPDATE cauce.account SET display_name = 'qzcanary new name' WHERE id = cauce.account_id()});
	ok(synchronized($subscriber, 'cauce'), 'what changes is streamed: INSERT, UPDATE, DELETE');
	is_deeply(stored($subscriber), stored($publisher), 'byte for byte');
	is_deeply([ $subscriber->files_with('qzcanary') ], [], 'no word of content is in its data directory');
	is($subscriber->try_sql(app => $token{'north-pro'}, 'SELECT body FROM cauce.report')->{sqlstate}, '55000', 'the owner opens nothing');
	is($subscriber->try_sql(app => undef, 'SELECT count(*) FROM cauce.report')->{out}, '0', 'an application without identity sees no row');
	like($subscriber->superuser('SELECT body FROM cauce.report LIMIT 1'), qr/^cauce1:/, 'a superuser the sealed form');
};

subtest 'with a copy of the keyring' => sub {
	$subscriber->as_postgres('mv', $subscriber->keyring_file . '.away', $subscriber->keyring_file);
	is(opened($subscriber, $_), opened($publisher, $_), "$_ opens everything of theirs") for sort keys %token;
	like(opened($subscriber, 'north-pro'), qr/^9\d\|/, 'and that is a lot');
	is($subscriber->try_sql(postgres => undef, 'SELECT body::text FROM cauce.report')->{sqlstate}, '28000', 'without identity nothing opens');
	is($subscriber->sql(app => $token{'north-pro'}, 'SELECT count(*), bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate WHERE subject = \'session\''),
		'2|t', 'certificates verify');
};

subtest 'a key destroyed at the publisher' => sub {
	my $id = $publisher->sql(app => $token{'north-pro'}, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id AS session \gset
		INSERT INTO cauce.report (session_id, body) VALUES (:'session', 'soon to be erased'); SELECT :'session'});
	ok(synchronized($subscriber, 'cauce'), 'its session arrives');
	$subscriber->superuser("CREATE TABLE public.copied AS SELECT body FROM cauce.report WHERE session_id = '$id'; GRANT SELECT ON public.copied TO app");
	my $open = CauceSession->open($subscriber, app => $token{'north-pro'});
	is($open->query('SELECT body FROM public.copied'), 'soon to be erased', 'a session of the subscriber\'s opens a copy, and holds the key');
	$publisher->sql(app => $token{'north-pro'}, "DELETE FROM cauce.session WHERE id = '$id'");
	ok(synchronized($subscriber, 'cauce'), 'the erasure arrives');
	my $next = $open->try('SELECT body FROM public.copied');
	is($next->{sqlstate}, 'XX001', 'the very next statement does not open it');
	unlike($next->{out} . $next->{err}, qr/soon/, 'and shows nothing');
	$open->close;
};

subtest 'an audit log that is the publisher\'s' => sub {
	is($subscriber->try_sql(app => $publisher->token('mallory'), 'SELECT count(*) FROM cauce.report')->{sqlstate}, '28000', 'an identity is refused');
	my $altered = $subscriber->try_sql(postgres => undef, 'ALTER TABLE cauce.alert FORCE ROW LEVEL SECURITY');
	is($altered->{sqlstate}, '55000', 'what would be an entry is refused');
	sleep 1;
	$publisher->sql(app => $token{'north-pro'}, q{SELECT cauce.set_retention(80)});
	$publisher->superuser('ALTER TABLE cauce.alert FORCE ROW LEVEL SECURITY');
	ok(synchronized($subscriber, 'cauce'), 'the publisher\'s entries arrive');
	is_deeply(stored($subscriber), stored($publisher), 'byte for byte');
	is($subscriber->superuser('SELECT count(*) FROM cauce.verify_audit()'), 0, 'and verify');
};

subtest 'retention' => sub {
	$publisher->sql(app => $token{'north-pro'}, q{INSERT INTO cauce.session (title, started_at) VALUES ('due', now() - interval '100 days')});
	ok(synchronized($subscriber, 'cauce'), 'a session that is due arrives');
	sleep 3;
	is($subscriber->superuser(q{SELECT count(*) FROM cauce.due_session}), '1', 'the subscriber\'s worker, which comes once a second, leaves it alone');
	is($subscriber->superuser(q{SELECT count(*) > 0, sum(archived + deleted + failed) FROM cauce.retention_run}), 't|0', 'at each of its visits');
	is($publisher->superuser('SELECT archived FROM cauce.run_retention()'), '1', 'the publisher archives it');
	ok(synchronized($subscriber, 'cauce'), 'which arrives');
	is_deeply(stored($subscriber), stored($publisher), 'byte for byte');
};

subtest 'in binary' => sub {
	$subscriber->superuser('CREATE DATABASE bin');
	subscribe($subscriber, 'bin', ', binary = true');
	ok(synchronized($subscriber, 'bin'), 'what was there is copied');
	fill('binary');
	ok(synchronized($subscriber, $_), "what changes is streamed to $_") for qw(bin cauce);
	is_deeply(stored($subscriber, 'bin'), stored($publisher), 'byte for byte');
	is(opened($subscriber, 'north-pro', 'bin'), opened($publisher, 'north-pro'), 'and opens');
	is_deeply([ $subscriber->files_with('qzcanary') ], [], 'no word of content is in the data directory');
};

subtest 'an analyst\'s copy, without the keys' => sub {
	$publisher->superuser('CREATE PUBLICATION keyless FOR TABLE ' . join ', ', map { "cauce.$_" } grep { $_ ne 'data_key' } @published);
	$subscriber->superuser('DROP SUBSCRIPTION copy_bin', database => 'bin');
	$subscriber->superuser('CREATE DATABASE analyst');
	subscribe($subscriber, 'analyst', '', 'keyless');
	ok(synchronized($subscriber, 'analyst'), 'is made');
	is($subscriber->superuser('SELECT count(*) > 100 FROM cauce.transcript_segment', database => 'analyst'), 't', 'with all rows');
	is($subscriber->try_sql(app => $token{'north-pro'}, 'SELECT body FROM cauce.report', database => 'analyst')->{sqlstate}, 'XX001',
		'and opens for nobody, keyring or not');
};

# In the words of PostgreSQL 15, and of 18.
my $conflict = qr/duplicate key value|conflict detected on relation/;
unlike($subscriber->log, qr/$conflict|SQLSTATE 23/, 'no conflict came of all this');

subtest 'a conflict' => sub {
	# Somebody wrote at the subscriber what the publisher comes to write.
	my $row = q{INSERT INTO cauce.organization (id, name) VALUES ('11111111-2222-4333-8444-555555555555', 'the same')};
	$_->superuser($row) for $subscriber, $publisher;
	my $log = '';
	for (1 .. 100)
	{
		last if ($log = $subscriber->log) =~ $conflict;
		select undef, undef, undef, 0.1;
	}
	like($log, qr/$conflict.*"organization_pkey"/s, 'is told in the log: what');
	like($log, qr/Key \(id\)=\(11111111-2222-4333-8444-555555555555\)(?: already exists|; existing local row)/, 'and which row');
	$subscriber->superuser(q{DELETE FROM cauce.organization WHERE name = 'the same'});
	ok(synchronized($subscriber, 'cauce'), 'so that it can be resolved');
	is_deeply(stored($subscriber), stored($publisher), 'and all is as at the publisher');
};
unlike($subscriber->log, qr/qzcanary|eyJ/, 'the log has no word of content and no token');

done_testing;
