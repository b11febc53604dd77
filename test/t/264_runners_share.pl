# The worker, pg_cron and people who run retention by hand share what is due: each session is processed once, nothing
# locks up, writers go on, what is poisoned stops nobody, whoever is told to stop has stopped within a second, and
# due_session says beforehand what a run takes.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use IPC::Run qw(run);
use Test::More;
use Time::HiRes qw(time sleep);

use constant MANY => $ENV{CAUCE_DUE_SESSIONS} || 600;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'\ncron.max_running_jobs = 4");
my $token = $cluster->token('north-pro');
my $other = $cluster->token('south-pro');
$cluster->superuser('CREATE ROLE ops LOGIN IN ROLE cauce_operator');
my $canary = 'qzpoison';

sub superuser { return $cluster->superuser(@_) }

# due makes so many sessions of three segments that are due.
sub due
{
	my ($who, $count) = @_;
	$cluster->sql(app => $who, "INSERT INTO cauce.session (title) SELECT 'due ' || n FROM generate_series(1, $count) n;
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) SELECT s.id, n, n, n, 'words ' || n FROM cauce.session s, generate_series(1, 3) n WHERE s.title ILIKE 'due %'");
	my $account = $cluster->sql(app => $who, 'SELECT cauce.account_id()');
	superuser("UPDATE cauce.session SET started_at = now() - interval '91 days' WHERE retain_until > now() AND account_id = '$account'");
	return;
}

subtest 'due_session says what a run takes' => sub {
	due($token, 20);
	$cluster->sql(app => $other, q{SELECT cauce.set_retention(30, 'delete')});
	due($other, 10);
	my $preview = superuser(q{SELECT id, action, reason FROM cauce.due_session ORDER BY id});
	is(() = $preview =~ /\|archive\|default retention$/mg, 20, 'those to be archived, and why');
	is(() = $preview =~ /\|delete\|retention of the account$/mg, 10, 'those to be erased, and why');
	my $all = superuser(q{SELECT string_agg(id::text, ',' ORDER BY id) FROM cauce.due_session});
	is(superuser('SELECT archived, deleted, failed FROM cauce.run_retention()'), '20|10|0', 'a run takes as many');
	is(superuser(qq{SELECT count(*) FROM unnest(string_to_array('$all', ',')::uuid[]) i WHERE i IN (SELECT id FROM cauce.session)}), '0', 'and these');
	is(superuser('SELECT count(*) FROM cauce.due_session'), '0', 'nothing is left');
};

subtest 'a row that is being changed' => sub {
	for my $action (qw(archive delete))
	{
		due($token, 1);
		superuser("UPDATE cauce.account SET retention_action = '$action' WHERE subject = 'north-pro'");
		my $id = superuser('SELECT id FROM cauce.due_session');
		# As a rotation of keys does it, without asking about the session.
		my $changer = CauceSession->open($cluster, 'postgres');
		$changer->query("SET session_replication_role = replica; BEGIN; UPDATE cauce.transcript_segment SET speaker = 'changed' WHERE session_id = '$id' AND seq = 2");
		my $runner = CauceSession->open($cluster, 'postgres');
		$runner->{in} .= "SELECT archived, deleted, failed FROM cauce.run_retention();\n";
		$runner->{run}->pump_nb;
		ok($cluster->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%run_retention%' AND wait_event_type = 'Lock'}, '1'), "$action: is waited for");
		$changer->query('COMMIT');
		is($runner->try('SELECT 1')->{out}, ($action eq 'archive' ? '1|0|0' : '0|1|0') . "\n1", 'and its session goes');
		is(superuser("SELECT count(*) FROM cauce.transcript_segment WHERE session_id = '$id'"), '0', 'whole');
		is($cluster->sql(app => $token, "SELECT string_agg(s->>'speaker', ',') || ' ' || count(*) FROM cauce.archived_session a, jsonb_array_elements(cauce.open_archive(account_id, id, bundle)->'transcript_segment') s WHERE a.id = '$id'"),
			'changed 3', 'as it is now') if $action eq 'archive';
		$cluster->sql(app => $token, 'DELETE FROM cauce.archived_session WHERE id = ' . "'$id'");
		$_->close for $changer, $runner;
	}
	superuser(q{UPDATE cauce.account SET retention_action = NULL WHERE subject = 'north-pro'});
};

subtest 'all at once' => sub {
	due($token, MANY);
	my $before = superuser('SELECT coalesce(max(id), 0) FROM cauce.retention_run');
	my $certificates = superuser('SELECT count(*) FROM cauce.erasure_certificate');
	is($cluster->sql(app => $other, q{SELECT cauce.set_retention(NULL, NULL) \g /dev/null
		INSERT INTO cauce.session (title) SELECT 'live' FROM generate_series(1, 5); SELECT count(*) FROM cauce.session}), '5', 'somebody writes elsewhere');
	my @runners;
	for my $n (1, 2)
	{
		my $pid = fork // die "fork: $!";
		if (!$pid)
		{
			my $result = { status => 0 };
			for (1 .. 1 + MANY / 20)
			{
				$result = $cluster->try_sql(postgres => undef, 'SELECT failed FROM cauce.run_retention(40)');
				last if $result->{status} || $result->{out} ne '0';
			}
			require POSIX;
			POSIX::_exit($result->{status} || $result->{out} ne '0' ? 1 : 0);
		}
		push @runners, $pid;
	}
	superuser(q{SELECT cauce.schedule_retention('* * * * *')});
	superuser(q{UPDATE cron.job SET schedule = '1 seconds'}) if superuser(q{SELECT extversion >= '1.6' FROM pg_extension WHERE extname = 'pg_cron'}) eq 't';
	$cluster->configure("cauce.retention_naptime = 1\ncauce.retention_batch = 30");
	$cluster->pg_ctl('reload');
	my (@wrote, $writer);
	$writer = CauceSession->open($cluster, app => $other);
	while (superuser('SELECT count(*) FROM cauce.session WHERE retain_until <= now()') > 0 && @wrote < 10 * MANY)
	{
		my $began = time;
		$writer->query("INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) SELECT id, " . scalar(@wrote) . ", 0, 1, 'words' FROM cauce.session LIMIT 1");
		push @wrote, time - $began;
	}
	$writer->close;
	for my $pid (@runners)
	{
		waitpid $pid, 0;
		is($?, 0, 'a runner by hand meets no error');
	}
	ok($cluster->poll_until('SELECT count(*) FROM cauce.due_session', '0', 60), 'the back-log drains');
	superuser('SELECT cauce.unschedule_retention()');
	is(superuser("SELECT sum(archived), sum(deleted), sum(failed), string_agg(message, ', ') FROM cauce.retention_run WHERE id > $before"), MANY . '|0|0|', 'each session is processed once, and none fails');
	is(superuser(q{SELECT count(*) FROM cauce.archived_session WHERE account_id = (SELECT id FROM cauce.account WHERE subject = 'north-pro')}), MANY + 20, 'and archived');
	is(superuser('SELECT count(*) FROM cauce.erasure_certificate'), $certificates, 'nothing is erased');
	is(superuser('SELECT (SELECT count(*) FROM cauce.transcript_segment t JOIN cauce.session s ON s.account_id = t.account_id AND s.id = t.session_id WHERE s.retain_until <= now())'), '0', 'or left');
	unlike($cluster->log, qr/deadlock|40P01|40001/, 'nobody locks up');
	cmp_ok((sort { $a <=> $b } @wrote)[ int(@wrote * 0.95) ], '<', 1, 'a writer goes on');
	is(superuser(qq{SELECT count(*) > 0 FROM cauce.retention_run WHERE id > $before AND archived BETWEEN 1 AND 30}), 't', 'the worker had its part');
};

subtest 'what is poisoned' => sub {
	$cluster->configure("cauce.retention_naptime = '1d'");
	$cluster->pg_ctl('reload');
	due($token, 30);
	superuser(qq{CREATE FUNCTION public.poison() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
			IF OLD.seq = 3 AND OLD.session_id::text < '8' THEN RAISE EXCEPTION '$canary %', OLD.session_id; END IF;
			IF OLD.seq = 2 AND OLD.session_id::text >= 'c' THEN PERFORM ('$canary' || 1)::int; END IF;
			RETURN OLD; END \$\$;
		CREATE TRIGGER poison BEFORE DELETE ON cauce.transcript_segment FOR EACH ROW EXECUTE FUNCTION public.poison()});
	my $poisoned = superuser("SELECT count(*) FROM cauce.session WHERE title IS NOT NULL AND retain_until <= now() AND (id::text < '8' OR id::text >= 'c')");
	my $fine = 30 - $poisoned;
	is(superuser('SELECT archived, failed FROM cauce.run_retention()'), "$fine|$poisoned", 'stops nobody');
	is(superuser('SELECT count(*) FROM cauce.due_session'), '0', 'is not due again before its next try');
	is(superuser('SELECT backlog, failing, next_retry > now() FROM cauce.retention_status'), "$poisoned|$poisoned|t", 'and counted');
	is(superuser("SELECT count(*) FROM cauce.retention_failure WHERE concat(message, sqlstate) LIKE '%$canary%'"), '0', 'no content is recorded');
	is(superuser(q{SELECT DISTINCT sqlstate, message FROM cauce.retention_failure WHERE sqlstate <> 'P0001'}), '22P02|invalid input syntax for type %s: "%s"', 'but what kind of error it was') if superuser(q{SELECT count(*) FROM cauce.retention_failure WHERE sqlstate = '22P02'});
	my @delay;
	for (1 .. 13)
	{
		push @delay, superuser('SELECT extract(epoch FROM avg(retry_at - failed_at))::int FROM cauce.retention_failure');
		superuser("UPDATE cauce.retention_failure SET retry_at = now(); SELECT cauce.run_retention()");
	}
	ok(!(grep { $delay[$_] <= $delay[ $_ - 1 ] * 1.2 } 1 .. 9), 'its delay grows') or diag "@delay";
	cmp_ok($delay[-1], '<=', 86_400 * 1.25, 'to about a day');
	cmp_ok(superuser('SELECT count(DISTINCT extract(epoch FROM retry_at - failed_at)::int) FROM cauce.retention_failure'), '>', $poisoned / 2, 'with jitter');
	superuser('DROP TRIGGER poison ON cauce.transcript_segment; UPDATE cauce.retention_failure SET retry_at = now()');
	is(superuser('SELECT archived, failed FROM cauce.run_retention()'), "$poisoned|0", 'healed, it is archived');
	is(superuser('SELECT failing FROM cauce.retention_status'), '0', 'and forgotten');
};

subtest 'more poisoned than a batch' => sub {
	due($token, 60);
	superuser(q{CREATE TRIGGER poison BEFORE DELETE ON cauce.transcript_segment FOR EACH ROW WHEN (OLD.seq = 3) EXECUTE FUNCTION public.poison();
		CREATE OR REPLACE FUNCTION public.poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$});
	$cluster->sql(app => $other, "INSERT INTO cauce.session (title) SELECT 'behind' FROM generate_series(1, 5)");
	superuser("UPDATE cauce.session SET started_at = now() - interval '90 days' WHERE account_id = (SELECT id FROM cauce.account WHERE subject = 'south-pro') AND NOT EXISTS (SELECT FROM cauce.transcript_segment t WHERE t.session_id = session.id)");
	$cluster->configure("cauce.retention_naptime = 1\ncauce.retention_batch = 10");
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until(q{SELECT failing, backlog FROM cauce.retention_status}, '60|60', 20), 'one visit comes to the end of them');
	is(superuser(q{SELECT count(*) FROM cauce.session WHERE retain_until <= now() AND NOT EXISTS (SELECT FROM cauce.transcript_segment t WHERE t.session_id = session.id)}), '0', 'and to what is behind them');
	superuser('DROP TRIGGER poison ON cauce.transcript_segment; UPDATE cauce.retention_failure SET retry_at = now()');
	ok($cluster->poll_until(q{SELECT failing FROM cauce.retention_status}, '0', 20), 'healed, they go');
	my $erased = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
	superuser("INSERT INTO cauce.retention_failure SELECT account_id, id, 'XX000', NULL, 1, now(), now() + interval '1 day' FROM cauce.session WHERE id = '$erased'");
	$cluster->sql(app => $token, "DELETE FROM cauce.session WHERE id = '$erased'");
	ok($cluster->poll_until(q{SELECT failing, backlog FROM cauce.retention_status}, '0|0', 20), 'what its owner has erased is no failure any more');
};

subtest 'told to stop' => sub {
	superuser(q{CREATE FUNCTION public.slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN OLD; END $$;
		CREATE TRIGGER slowly BEFORE DELETE ON cauce.session FOR EACH ROW EXECUTE FUNCTION public.slowly()});
	due($token, 200);
	ok($cluster->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cauce retention worker' AND state = 'active' AND query = 'cauce retention'}, '1'), 'pg_stat_activity shows the worker');
	like(superuser(q{SELECT string_agg(query, ',') FROM pg_stat_activity WHERE backend_type = 'cauce retention launcher' AND state = 'active'}), qr/cauce visits databases/, 'and the launcher');
	my $began = time;
	superuser(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'cauce retention worker'});
	ok($cluster->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cauce retention worker' AND backend_start < now() - interval '1 second'}, '0', 5), 'it ends');
	cmp_ok(time - $began, '<', 1.5, 'within a second');
	$cluster->configure("cauce.retention_naptime = '1d'");
	$cluster->pg_ctl('reload');
	my $hand = fork // die "fork: $!";
	if (!$hand)
	{
		my $result = $cluster->try_sql(ops => undef, 'SELECT cauce.run_retention()');
		require POSIX;
		POSIX::_exit($result->{sqlstate} eq '57014' ? 0 : 1);
	}
	$cluster->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%run_retention%' AND state = 'active' AND usename = 'ops'}, '1');
	sleep 0.3;
	$began = time;
	superuser(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%run_retention%' AND usename = 'ops'});
	waitpid $hand, 0;
	is($?, 0, 'a run by hand is cancelled');
	cmp_ok(time - $began, '<', 1.5, 'within a second');
	superuser('DROP TRIGGER slowly ON cauce.session');
	is(superuser(q{SELECT count(*) FROM (SELECT id FROM cauce.session INTERSECT SELECT id FROM cauce.archived_session) x}), '0', 'each session is in one place');
};

subtest 'history prunes itself' => sub {
	superuser(q{INSERT INTO cauce.retention_run (started_at, finished_at, archived) SELECT now() - make_interval(days => d), now(), a FROM (VALUES (29, 0), (31, 0), (31, 1), (399, 1), (401, 1)) v (d, a);
		SELECT cauce.run_retention()});
	is(superuser(q{SELECT string_agg(round(extract(epoch FROM now() - started_at) / 86400)::text || ':' || archived, ' ' ORDER BY started_at) FROM cauce.retention_run WHERE started_at < now() - interval '2 days'}), '399:1 31:1 29:0',
		'empty runs after a month, others after 400 days');
};

done_testing;
