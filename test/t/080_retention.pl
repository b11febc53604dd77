# Retention does what was chosen, exactly when it is due, and loses nothing: an archive restores as
# it was, a session that fails stops nobody else, and a run that is killed leaves every session whole
# in exactly one place.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;

use constant MANY => 400;

# The worker sleeps until its own subtest wakes it.
my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'");
my $token = $cluster->token('north-pro');

# The owner and the superuser stay connected.
my $owner = CauceSession->open($cluster, app => $token);
my $superuser = CauceSession->open($cluster, 'postgres');

sub mine { return $owner->query(@_) }

# new_session opens a session whose retention ends at the moment due, an expression; it gives the id.
sub new_session
{
	my ($due) = @_;
	my $id = mine(
		"INSERT INTO cauce.session (title) VALUES ('a title') RETURNING id AS session \\gset
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) VALUES (:'session', 0, 0, 1, 'words');
		SELECT :'session'");
	due($id, $due) if defined $due;
	return $id;
}

# due moves a session so that its retention ends at a moment.
sub due
{
	my ($id, $moment) = @_;
	$superuser->query("UPDATE cauce.session SET started_at = $moment - (retain_until - started_at) WHERE id = '$id'");
	return;
}

# run_retention runs it once and gives archived, deleted and failed.
sub run_retention
{
	return $superuser->query('SELECT archived, deleted, failed FROM cauce.run_retention()');
}

# where_is says in which tables a session is.
sub where_is
{
	my ($id) = @_;
	return $superuser->query("SELECT concat_ws(' ', (SELECT 'live' FROM cauce.session WHERE id = '$id'),
		(SELECT 'archived' FROM cauce.archived_session WHERE id = '$id'), (SELECT DISTINCT 'key' FROM cauce.data_key WHERE session_id = '$id'),
		(SELECT count(*) || ' segments' FROM cauce.transcript_segment WHERE session_id = '$id'))");
}

# same compares long texts line by line and shows the first difference alone.
sub same
{
	my ($got, $expected, $name) = @_;
	my @got = split /\n/, $got;
	my @expected = split /\n/, $expected;
	my ($at) = grep { ($got[$_] // '') ne ($expected[$_] // '') } 0 .. ($#got > $#expected ? $#got : $#expected);

	ok(!defined $at, $name) or diag 'got ' . substr($got[$at] // '', -300) . "\ninstead of " . substr($expected[$at] // '', -300);
	return;
}

my $certificates = q{SELECT subject || ' ' || reason FROM cauce.erasure_certificate ORDER BY erased_at DESC LIMIT 1};

subtest 'due to the microsecond' => sub {
	my $id = new_session();
	for ([ "interval '1 microsecond'", '0|0|0', 'a microsecond before' ], [ "interval '0'", '1|0|0', 'exactly then' ])
	{
		my ($later, $expected, $name) = @$_;
		is(
			$cluster->superuser("BEGIN; UPDATE cauce.session SET started_at = now() - interval '90 days' + $later WHERE id = '$id';
				SELECT archived, deleted, failed FROM cauce.run_retention(); ROLLBACK"),
			$expected, $name);
	}
	is(
		$cluster->superuser("BEGIN; UPDATE cauce.session SET started_at = now() - interval '90 days' WHERE id = '$id';
			SELECT subject, action, reason, due_at = now() FROM cauce.due_session; ROLLBACK"),
		'session|archive|default retention|t', 'due_session says so, and why');
	is($cluster->sql(app => $token, qq{SET timezone = 'America/New_York'; INSERT INTO cauce.session (title, started_at) VALUES ('over a change of clocks', '2026-10-20 12:00+00')
		RETURNING extract(epoch FROM retain_until - started_at) / 86400}) + 0, 90, 'a day has 24 hours');
	mine('DELETE FROM cauce.session');
};

subtest 'whose choice counts' => sub {
	my $days = sub { return mine("INSERT INTO cauce.session (retention_days) VALUES ($_[0])
		RETURNING extract(epoch FROM retain_until - started_at) / 86400") + 0 };
	my $admin = $cluster->token('north-admin');
	is($days->('NULL'), 90, '90 days where nobody chose');
	$cluster->sql(app => $admin, q{SELECT cauce.set_organization_retention(cauce.organization_id(), 30, 'delete')});
	is($days->('NULL'), 30, 'the organization\'s');
	mine(q{SELECT cauce.set_retention(20, 'archive')});
	is($days->('NULL'), 20, 'the account\'s before that');
	is($days->('10'), 10, 'the session\'s before that');
	is($cluster->try_sql(app => $token, "INSERT INTO cauce.session (retention_days) VALUES ($_)")->{sqlstate}, '22023', "$_ days are refused")
	  for 0, -1, 3651;
	is($cluster->try_sql(app => $token, q{SELECT cauce.set_organization_retention(cauce.organization_id(), 1)})->{sqlstate},
		'42501', 'only an admin chooses for the organization');
	is($cluster->try_sql(app => $cluster->token('south-admin'), "SELECT cauce.set_organization_retention(
		(SELECT organization_id FROM (VALUES ('@{[mine('SELECT cauce.organization_id()')]}'::uuid)) v (organization_id)), 1)")->{sqlstate},
		'42501', 'and none of another organization');
	is($cluster->try_sql(app => undef, 'SELECT cauce.set_retention(1)')->{sqlstate}, '28000', 'nobody chooses nothing');
	mine('DELETE FROM cauce.session');

	my $id = new_session('now()');
	is(run_retention(), '1|0|0', 'action archive, of the account');
	is(where_is($id), 'archived key 0 segments', 'it is archived');
	mine(q{SELECT cauce.set_retention(20, 'delete')});
	$id = new_session('now()');
	is(run_retention(), '0|1|0', 'action delete, of the account');
	is(where_is($id), '0 segments', 'it is gone, with its key');
	is(mine($certificates), 'session retention', 'and certified');
	mine(q{SELECT cauce.set_retention(NULL, NULL)});
	$id = new_session('now()');
	is(run_retention(), '0|1|0', 'action delete, of the organization');
	$cluster->sql(app => $admin, q{SELECT cauce.set_organization_retention(cauce.organization_id(), NULL, NULL)});
	$cluster->superuser('UPDATE cauce.archived_session SET delete_after = now()');
	is(run_retention(), '0|1|0', 'an archive is erased when its own time has passed');
	is(mine($certificates), 'archive retention', 'and certified');
	is(mine('SELECT bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate'), 't', 'all certificates verify');
};

subtest 'restore is lossless' => sub {
	my $id = mine(q{INSERT INTO cauce.session (title, client, language, started_at, status) VALUES
		(E'Quote " \\\\ tab\t newline\n', '', 'ca', '2026-01-02 03:04:05.678901+02', 'ended') RETURNING id AS session \gset
		INSERT INTO cauce.transcript_segment (session_id, channel, seq, speaker, start_ms, end_ms, confidence, body)
			SELECT :'session', n % 3, n, CASE WHEN n % 4 > 0 THEN 'speaker ' || n END, n, 9007199254740993 + n, (1 / (n + 1)::float8)::real,
				repeat(chr(300 + n) || n || E'\n', n * n) FROM generate_series(0, 60) n;
		INSERT INTO cauce.report (session_id, kind, body) VALUES (:'session', 'summary', repeat('long ', 100000)), (:'session', '', 'null'), (:'session', 'x', '');
		INSERT INTO cauce.alert (session_id, kind, severity, at_ms, detail) VALUES (:'session', 'a', 'b', NULL, NULL), (:'session', 'a', 'b', 7, '{"json": [1]}');
		UPDATE cauce.report SET kind = 'touched' WHERE kind = 'x';
		SELECT :'session'});
	# everything gives all that the owner sees of the session, but for what restoring may change.
	my $everything = sub {
		my %table = (session => 'id', map { $_ => 'session_id' } qw(transcript_segment report alert));
		return { map { $_ => mine("SELECT to_jsonb(t) - 'retention_days' - 'retain_until' FROM cauce.$_ t WHERE $table{$_} = '$id' ORDER BY t::text") } keys %table };
	};
	my $before = $everything->();
	like($before->{report}, qr/"body": "long long/, 'there is something to compare');
	my $key = $cluster->superuser("SELECT id FROM cauce.data_key WHERE session_id = '$id'");
	mine("SELECT cauce.archive_session('$id')");
	is(where_is($id), 'archived key 0 segments', 'archived: one row, and the key');
	is(mine('SELECT count(*) FROM cauce.session'), '0', 'nothing live');
	is(mine("SELECT id, started_at, archived_at <= now(), delete_after > now() + interval '3649 days' FROM cauce.archived_session"),
		"$id|2026-01-02 01:04:05.678901+00|t|t", 'the owner sees the archive');
	is($cluster->sql(app => $cluster->token('south-pro'), 'SELECT count(*) FROM cauce.archived_session'), '0', 'nobody else does');
	cmp_ok($cluster->superuser('SELECT octet_length(bundle) FROM cauce.archived_session'), '<', 100_000, 'the bundle is compressed');
	for ([ 'north-admin', '42501' ], [ 'south-pro', '42501' ])
	{
		is($cluster->try_sql(app => $cluster->token($_->[0]), "SELECT cauce.restore_session('$id')")->{sqlstate}, $_->[1], "$_->[0] cannot restore it");
	}
	is($cluster->try_sql(app => undef, "SELECT cauce.restore_session('$id')")->{sqlstate}, '28000', 'nobody cannot, either');
	mine("SELECT cauce.restore_session('$id')");
	my $after = $everything->();
	same($after->{$_}, $before->{$_}, "$_: every column of every row") for sort keys %$before;
	is(where_is($id), 'live key 61 segments', 'live again, and only there');
	is($cluster->superuser("SELECT id FROM cauce.data_key WHERE session_id = '$id'"), $key, 'under its own key');
	is(run_retention(), '0|0|0', 'it is not due at once');
	is(mine('SELECT retain_until > now() + interval \'89 days\' FROM cauce.session'), 't', 'but kept as long as a new one');
	is(mine('SELECT count(*) FROM cauce.erasure_certificate WHERE subject IN (\'session\', \'transcript\', \'report\') AND reason <> \'retention\'
		AND erased_at > (SELECT max(archived_at) FROM cauce.archived_session)'), '0', 'moving is no erasure: no certificate');

	# What the client has set must not change what is kept.
	$cluster->sql(app => $token, "SET extra_float_digits = -15; SET timezone = 'Asia/Tokyo'; SET datestyle = 'SQL, DMY'; SET intervalstyle = sql_standard;
		SELECT cauce.archive_session('$id')");
	$cluster->sql(app => $token, "SET extra_float_digits = 0; SET timezone = 'America/St_Johns'; SET datestyle = 'German'; SELECT cauce.restore_session('$id')");
	$after = $everything->();
	same($after->{$_}, $before->{$_}, "$_: whatever the client's settings") for sort keys %$before;

	# Retention moves rows in a way of its own; what it makes is the same.
	my $opened = "SELECT jsonb_pretty(cauce.open_archive(account_id, id, bundle) #- '{session,started_at}' #- '{session,retain_until}' #- '{session,retention_days}')
		FROM cauce.archived_session WHERE id = '$id'";
	mine("SELECT cauce.archive_session('$id')");
	my $bundle = mine($opened);
	mine("SELECT cauce.restore_session('$id')");
	my $began = mine("SELECT started_at FROM cauce.session WHERE id = '$id'");
	due($id, 'now()');
	is(run_retention(), '1|0|0', 'retention archives it');
	same(mine($opened), $bundle, 'to the same bundle');
	mine("SELECT cauce.restore_session('$id')");
	$superuser->query("UPDATE cauce.session SET started_at = '$began' WHERE id = '$id'");
	$after = $everything->();
	same($after->{$_}, $before->{$_}, "$_: archived by retention") for sort keys %$before;

	mine("SELECT cauce.archive_session('$id')");
	is($cluster->try_sql(app => $token, "SELECT cauce.archive_session('$id')")->{sqlstate}, '42501', 'an archive is not archived again');
	mine("DELETE FROM cauce.archived_session WHERE id = '$id'");
	is(where_is($id), '0 segments', 'DELETE erases an archive');
	is(mine($certificates), 'archive request', 'and is certified');
	is($cluster->try_sql(app => $token, "SELECT cauce.restore_session('$id')")->{sqlstate}, '42501', 'there is nothing to restore');
};

subtest 'an archive is bound to its place' => sub {
	my $id = new_session();
	my $other = new_session();
	mine("SELECT cauce.archive_session('$id'); SELECT cauce.archive_session('$other')");
	$cluster->superuser("UPDATE cauce.archived_session a SET bundle = b.bundle FROM cauce.archived_session b WHERE a.id = '$id' AND b.id = '$other'");
	is($cluster->try_sql(app => $token, "SELECT cauce.restore_session('$id')")->{sqlstate}, 'XX001', 'another session\'s bundle does not restore');
	is(where_is($id), 'archived key 0 segments', 'and nothing is half done');
	mine("DELETE FROM cauce.archived_session");
};

subtest 'a legal hold' => sub {
	my $id = new_session('now()');
	$cluster->superuser("UPDATE cauce.session SET legal_hold = true WHERE id = '$id'");
	my $delete = $cluster->try_sql(app => $token, "DELETE FROM cauce.session WHERE id = '$id'");
	is($delete->{sqlstate}, '55006', 'forbids DELETE');
	like($delete->{err}, qr/DETAIL:.*HINT:/s, 'with DETAIL and HINT');
	is($cluster->try_sql(app => $token, "SELECT cauce.archive_session('$id')")->{sqlstate}, '55006', 'and archiving');
	is($cluster->try_sql(postgres => undef, 'DELETE FROM cauce.session')->{sqlstate}, '55006', 'for a superuser, too');
	is(run_retention(), '0|0|0', 'retention leaves it alone');
	is($cluster->superuser('SELECT count(*) FROM cauce.due_session'), '0', 'and does not list it');
	mine("INSERT INTO cauce.report (session_id, body) VALUES ('$id', 'x'); INSERT INTO cauce.alert (session_id, kind) VALUES ('$id', 'x')");
	is($cluster->try_sql(app => $token, "BEGIN; DELETE FROM cauce.$_; ROLLBACK")->{sqlstate}, '55006', "no $_ of it goes")
	  for qw(transcript_segment report alert);
	is(where_is($id), 'live key 1 segments', 'all is there');
	$cluster->superuser("UPDATE cauce.session SET legal_hold = false WHERE id = '$id'");
	is(run_retention(), '1|0|0', 'once released it is archived');
};

subtest 'a session that fails stops nobody else' => sub {
	my ($good, $bad, $other) = map { new_session("now() - interval '$_ hours'") } 1, 2, 3;
	my $save = $cluster->superuser("SELECT wrapped FROM cauce.data_key WHERE session_id = '$bad'");
	$cluster->superuser("SET session_replication_role = replica;
		UPDATE cauce.data_key SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1) WHERE session_id = '$bad'");
	is(run_retention(), '2|0|1', 'the others are archived');
	is(where_is($bad), 'live key 1 segments', 'it stays as it was');
	is($cluster->superuser("SELECT session_id, sqlstate, attempts, retry_at > now() FROM cauce.retention_failure"), "$bad|XX001|1|t", 'and is recorded');
	is($cluster->superuser('SELECT message FROM cauce.retention_run WHERE failed = 1'), 'last failure: SQLSTATE XX001', 'with the run');
	is($cluster->superuser('SELECT backlog, failing FROM cauce.retention_status'), '1|1', 'retention_status shows it');
	is(run_retention(), '0|0|0', 'it is not tried again at once');
	$cluster->superuser('UPDATE cauce.retention_failure SET retry_at = now()');
	is(run_retention(), '0|0|1', 'but later');
	is($cluster->superuser("SELECT attempts, retry_at > now() + interval '80 seconds' FROM cauce.retention_failure"), '2|t', 'and then even later');
	$cluster->superuser("SET session_replication_role = replica; UPDATE cauce.data_key SET wrapped = '$save' WHERE session_id = '$bad'");
	$cluster->superuser('UPDATE cauce.retention_failure SET retry_at = now()');
	is(run_retention(), '1|0|0', 'repaired, it is archived');
	is($cluster->superuser('SELECT count(*) FROM cauce.retention_failure'), '0', 'and forgotten as a failure');
	mine("SELECT cauce.restore_session('$_')") for $good, $bad, $other;
	is(mine(q{SELECT count(*) FROM cauce.transcript_segment WHERE body = 'words'}), '3', 'all restore');
	mine('DELETE FROM cauce.session');
};

subtest 'whoever watches cauce\'s tables is told by retention, too' => sub {
	my $gone = { archive => '1|0|0', delete => '0|1|0' };
	my $heal = 'UPDATE cauce.retention_failure SET retry_at = now()';
	$superuser->query(q{CREATE TABLE public.watched (a text); CREATE FUNCTION public.watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.watched VALUES ('x'); RETURN NULL; END $$});
	for my $action (qw(archive delete))
	{
		mine("SELECT cauce.set_retention(90, '$action')");
		$superuser->query('CREATE TRIGGER watch AFTER DELETE ON cauce.transcript_segment FOR EACH ROW EXECUTE FUNCTION public.watch()');
		new_session('now()');
		is(run_retention(), $gone->{$action}, "$action: it goes");
		is($superuser->query('SELECT count(*) FROM public.watched'), 1, 'a trigger sees it');
		$superuser->query('DROP TRIGGER watch ON cauce.transcript_segment; TRUNCATE public.watched');

		$superuser->query(q{CREATE RULE watch AS ON DELETE TO cauce.transcript_segment DO ALSO INSERT INTO public.watched VALUES ('x')});
		new_session('now()');
		# PostgreSQL has no such rules on a DELETE in a WITH, which archiving is.
		is(run_retention(), $action eq 'archive' ? '0|0|1' : '0|1|0', "$action: a rule is not passed by");
		is($superuser->query('SELECT count(*) > 0 FROM public.watched'), $action eq 'archive' ? 'f' : 't', 'it runs, or nothing goes');
		$superuser->query("DROP RULE watch ON cauce.transcript_segment; $heal");
		is(run_retention(), '1|0|0', 'without it, it goes') if $action eq 'archive';

		$superuser->query('CREATE TABLE public.follows (a uuid, s uuid, FOREIGN KEY (a, s) REFERENCES cauce.session)');
		my $id = new_session('now()');
		$superuser->query("INSERT INTO public.follows SELECT account_id, id FROM cauce.session WHERE id = '$id'");
		is(run_retention(), '0|0|1', "$action: what a row of another table refers to stays");
		is($superuser->query('SELECT sqlstate FROM cauce.retention_failure'), $action eq 'archive' ? '0A000' : '23503', 'and is recorded');
		is(where_is($id), 'live key 1 segments', 'whole');
		$superuser->query("DROP TABLE public.follows; $heal");
		is(run_retention(), $gone->{$action}, 'without that row it goes');
	}
	for my $watched ('DELETE ON cauce.data_key FOR EACH ROW', 'INSERT ON cauce.erasure_certificate FOR EACH ROW',
		'INSERT ON cauce.audit_log FOR EACH STATEMENT')
	{
		my ($table) = $watched =~ / ON (\S+)/;
		$superuser->query("TRUNCATE public.watched; CREATE TRIGGER watch AFTER $watched EXECUTE FUNCTION public.watch()");
		new_session('now()');
		is(run_retention(), '0|1|0', "a trigger AFTER $watched");
		is($superuser->query('SELECT count(*) > 0 FROM public.watched'), 't', 'sees it');
		$superuser->query("DROP TRIGGER watch ON $table");
	}
	$superuser->query(q{ALTER TABLE cauce.erasure_certificate ADD CONSTRAINT watch CHECK (counts->>'segments' <> '1') NOT VALID});
	my $id = new_session('now()');
	is(run_retention(), '0|0|1', 'a CHECK on certificates is heard');
	is($superuser->query('SELECT sqlstate FROM cauce.retention_failure'), '23514', 'and is recorded');
	is(where_is($id), 'live key 1 segments', 'its session stays whole');
	$superuser->query("ALTER TABLE cauce.erasure_certificate DROP CONSTRAINT watch; $heal");
	is(run_retention(), '0|1|0', 'without it, it goes');
	is(mine('SELECT bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate'), 't', 'in one chain');
	is($superuser->query('SELECT count(*) FROM cauce.retention_failure'), 0, 'no failure is left');
	$superuser->query('DROP TABLE public.watched; DROP FUNCTION public.watch()');
	mine('SELECT cauce.set_retention(NULL, NULL); DELETE FROM cauce.archived_session');
};

subtest 'a run erases each session whole, or not at all' => sub {
	my $verified = 'SELECT count(*), bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate WHERE reason = \'retention\'';
	my $before = (split /\|/, mine($verified))[0];
	mine("SELECT cauce.set_retention(90, 'delete')");
	my @id = map { new_session("now() - interval '$_ hours'") } 3, 2, 1;
	$superuser->query("CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RAISE 'not this one'; END \$\$;
		CREATE TRIGGER refuse BEFORE INSERT ON cauce.erasure_certificate FOR EACH ROW WHEN (NEW.counts ->> 'segments' = '2') EXECUTE FUNCTION public.refuse()");
	mine("INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) VALUES ('$id[1]', 1, 0, 1, 'more')");
	is(run_retention(), '0|2|1', 'the one in the middle cannot be certified');
	is(where_is($id[1]), 'live key 2 segments', 'and stays as it was');
	is(mine($verified), ($before + 2) . '|t', 'the others have a certificate each, without a gap');
	$superuser->query('DROP TRIGGER refuse ON cauce.erasure_certificate; DROP FUNCTION public.refuse(); UPDATE cauce.retention_failure SET retry_at = now()');

	# Of a key with two generations, which a connection has cached, and of whose content somebody has a copy.
	$superuser->query("CREATE TABLE public.hoard (body cauce.encrypted_text); GRANT SELECT ON public.hoard TO app;
		INSERT INTO public.hoard SELECT body FROM cauce.transcript_segment WHERE session_id = '$id[1]' AND seq = 1");
	is(mine('SELECT body FROM public.hoard'), 'more', 'a connection has its key');
	$superuser->query("INSERT INTO cauce.data_key (id, account_id, organization_id, session_id, epoch, generation, wrapped)
		SELECT id, account_id, organization_id, session_id, epoch, 2, wrapped FROM cauce.data_key WHERE session_id = '$id[1]'");
	is(run_retention(), '0|1|0', 'the next time it goes');
	is(where_is($id[1]), '0 segments', 'with each generation of its key');
	is($owner->try('SELECT body FROM public.hoard')->{sqlstate}, 'XX001', 'and the connection forgets it');
	is(mine("SELECT jsonb_array_length(cauce.open_certificate(jws) -> 'keys') FROM cauce.erasure_certificate ORDER BY erased_at DESC LIMIT 1"), 1, 'which is one key');
	is(mine($verified), ($before + 3) . '|t', 'the chain is whole');

	$superuser->query(q{TRUNCATE public.hoard; CREATE FUNCTION public.watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.hoard VALUES (NULL); RETURN NULL; END $$;
		CREATE TRIGGER watch AFTER DELETE ON cauce.data_key FOR EACH ROW EXECUTE FUNCTION public.watch()});
	new_session('now()');
	is(run_retention(), '0|1|0', 'beside a trigger on keys');
	is($superuser->query('SELECT count(*) FROM public.hoard'), 1, 'which sees it');
	$superuser->query('DROP TRIGGER watch ON cauce.data_key; DROP FUNCTION public.watch(); DROP TABLE public.hoard');
	mine('SELECT cauce.set_retention(NULL, NULL)');
};

subtest 'a shorter retention waits' => sub {
	my $left = "SELECT round(extract(epoch FROM retain_until - now()) / 3600) FROM cauce.session";
	my $id = new_session();
	$cluster->superuser("UPDATE cauce.session SET started_at = now() - interval '10 days'");
	mine('SELECT cauce.set_retention(1)');
	is(mine($left), '24', 'a day, where it would have ended already');
	is(run_retention(), '0|0|0', 'nothing is lost at once');
	mine('SELECT cauce.set_retention(60)');
	is(mine($left), 50 * 24, 'a longer one holds at once');
	mine("UPDATE cauce.session SET retention_days = 5");
	is(mine($left), '24', 'a session\'s own waits, too');
	mine("UPDATE cauce.session SET retention_days = 10");
	cmp_ok(mine($left), '<=', 24, 'changing it again does not add to the wait');
	mine("UPDATE cauce.session SET retention_days = NULL");
	is(mine($left), 50 * 24, 'taken back, it is as before');
	$cluster->configure('cauce.retention_grace = 0');
	$cluster->pg_ctl('reload');
	$cluster->poll_until('SHOW cauce.retention_grace', '0');
	mine('SELECT cauce.set_retention(1)');
	is(run_retention(), '1|0|0', 'without grace it is due at once');
	mine('SELECT cauce.set_retention(NULL); DELETE FROM cauce.archived_session');
	is($cluster->superuser("SELECT count(*) FROM cauce.data_key WHERE session_id = '$id'"), '0', 'no key is left behind');
};

subtest 'a key lies under the epoch in which its retention ends' => sub {
	my $id = new_session();
	my $epoch = "SELECT k.epoch - (s.retain_until AT TIME ZONE 'UTC')::date BETWEEN 0 AND 6 FROM cauce.data_key k JOIN cauce.session s ON s.id = k.session_id";
	is($cluster->superuser($epoch), 't', 'a new session\'s');
	mine('UPDATE cauce.session SET retention_days = 400');
	is($cluster->superuser($epoch), 't', 'kept longer: wrapped anew');
	mine('UPDATE cauce.session SET retention_days = 3');
	is($cluster->superuser($epoch), 't', 'kept shorter: wrapped anew');
	mine("SELECT cauce.archive_session('$id')");
	is($cluster->superuser("SELECT k.epoch - (a.delete_after AT TIME ZONE 'UTC')::date BETWEEN 0 AND 6 FROM cauce.data_key k
		JOIN cauce.archived_session a ON a.id = k.session_id"), 't', 'archived: as long as the archive is kept');
	mine('DELETE FROM cauce.archived_session');
};

subtest 'pg_cron runs it when told to' => sub {
	$cluster->superuser('CREATE ROLE ops LOGIN IN ROLE cauce_operator');
	like($cluster->sql(ops => undef, q{SELECT cauce.schedule_retention('30 2 * * *')}), qr/^\d+$/, 'scheduled');
	is($cluster->superuser('SELECT schedule, command, active FROM cron.job'), '30 2 * * *|SELECT cauce.run_retention()|t', 'the job');
	is($cluster->sql(ops => undef, 'SELECT cauce.unschedule_retention(), cauce.unschedule_retention()'), 't|f', 'unscheduled, once');
	is($cluster->superuser('SELECT count(*) FROM cron.job'), '0', 'and gone');
	is($cluster->sql(ops => undef, 'SELECT archived FROM cauce.run_retention(10)'), '0', 'an operator may run it');
	is($cluster->try_sql(ops => undef, "SELECT cauce.run_retention($_)")->{sqlstate}, '22023', "but not over $_ sessions") for 0, -1, 1_000_000;
};

subtest 'the worker runs it, and may be killed at any moment' => sub {
	# A plain account with its own key; MANY sessions of three segments each, all due.
	mine(q{INSERT INTO cauce.session (title) SELECT 'title ' || n FROM generate_series(1, } . MANY . q{) n;
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)
			SELECT s.id, n, n, n, 'words ' || n FROM cauce.session s, generate_series(1, 3) n});
	$cluster->superuser("UPDATE cauce.session SET started_at = now() - interval '90 days'");
	my $whole = 'SELECT count(*), count(*) FILTER (WHERE live AND NOT archived AND segments = 3 AND keys = 1
			OR archived AND NOT live AND segments = 0 AND keys = 1)
		FROM (SELECT i.id, EXISTS (SELECT FROM cauce.session s WHERE s.id = i.id) AS live,
				EXISTS (SELECT FROM cauce.archived_session a WHERE a.id = i.id) AS archived,
				(SELECT count(*) FROM cauce.transcript_segment t WHERE t.session_id = i.id) AS segments,
				(SELECT count(*) FROM cauce.data_key k WHERE k.session_id = i.id) AS keys
			FROM (SELECT id FROM cauce.session UNION SELECT id FROM cauce.archived_session) i) x';
	$cluster->configure("cauce.retention_naptime = 1\ncauce.retention_batch = 5");
	$cluster->pg_ctl('reload');
	$cluster->poll_until('SELECT count(*) > 20 FROM cauce.archived_session', 't', 20);
	$_->close for $owner, $superuser;
	$cluster->kill_server;
	$cluster->configure("cauce.retention_naptime = '1d'");
	$cluster->pg_ctl('start');
	$cluster->poll_until('SELECT 1', '1');
	$owner = CauceSession->open($cluster, app => $token);
	my $archived = $cluster->superuser('SELECT count(*) FROM cauce.archived_session');
	ok($archived >= 20 && $archived < MANY, "killed in the middle ($archived of " . MANY . ')');
	is($cluster->superuser($whole), join('|', MANY, MANY), 'every session is whole, in exactly one place');
	is($cluster->superuser('SELECT sum(archived) FROM cauce.retention_run WHERE started_at > (SELECT min(archived_at) - interval \'1 minute\' FROM cauce.archived_session)
		AND archived = 5') % 5, 0, 'batches are whole');

	$cluster->configure("cauce.retention_naptime = 1\ncauce.retention_batch = 100");
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until('SELECT count(*) FROM cauce.archived_session', MANY, 30), 'after the crash the worker goes on to the end');
	is($cluster->superuser($whole), join('|', MANY, MANY), 'every session is whole');
	is($cluster->superuser('SELECT failing, backlog FROM cauce.retention_status'), '0|0', 'nothing failed');
	my $ids = mine('SELECT id FROM cauce.archived_session ORDER BY archived_at');
	my ($first, $last) = (split /\n/, $ids)[ 0, -1 ];
	mine("SELECT cauce.restore_session('$_')") for $first, $last;
	is(mine(q{SELECT count(*) FROM cauce.session s JOIN cauce.transcript_segment t ON t.session_id = s.id
		WHERE s.title ILIKE 'title %' AND t.body ILIKE 'words %'}), '6', 'what was archived before and after the crash restores');
};

$owner->close;
done_testing;
