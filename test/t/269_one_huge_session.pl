# However much one session holds: a run, or its owner's restoring it, that is told to stop in the midst of it leaves it
# whole in one place; what is too much for an archive is recorded as that.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep);

# With CAUCE_HUGE_SEGMENTS (200,000 in dev/check-long) it is also measured how long it takes to stop.
use constant SEGMENTS => $ENV{CAUCE_HUGE_SEGMENTS} || 3000;
use constant REPORT_LINES => 10 * SEGMENTS;
# Moments at which it is told to stop then.
use constant POINTS => 10;
use constant TICKS => POSIX::sysconf(POSIX::_SC_CLK_TCK());

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'");
my $token = $cluster->token('north-pro', ttl => 7200);

sub superuser { return $cluster->superuser(@_) }
sub mine { return $cluster->sql(app => $token, @_) }

my $session = mine(q{INSERT INTO cauce.session (title) VALUES ('huge') RETURNING id});
mine("INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) SELECT '$session', n, n, n, left(repeat(md5(n::text) || ' words ', 13), 500) FROM generate_series(1, @{[SEGMENTS]}) n;
	INSERT INTO cauce.report (session_id, kind, body) SELECT '$session', 'summary', string_agg(md5(n::text) || ' said ' || n, E'\\n') FROM generate_series(1, @{[REPORT_LINES]}) n");
my $content = q{SELECT count(*), md5(string_agg(body, ',' ORDER BY seq)), (SELECT md5(body) FROM cauce.report) FROM cauce.transcript_segment};
my $whole = mine($content);
like($whole, qr/^${\ SEGMENTS }\|\w{32}\|\w{32}$/, 'a session that holds much');

# places tells where the session is, that its key is there, and whether anything says that it was erased.
sub places
{
	return superuser("SELECT (SELECT count(*) FROM cauce.session WHERE id = '$session'), (SELECT count(*) FROM cauce.archived_session WHERE id = '$session'),
		(SELECT count(*) FROM cauce.transcript_segment), (SELECT count(*) FROM cauce.report), (SELECT count(*) FROM cauce.data_key WHERE session_id = '$session'),
		(SELECT count(*) FROM cauce.erasure_certificate)");
}
my %place = (live => '1|0|' . SEGMENTS . '|1|1|0', archived => '0|1|0|0|1|0');

sub make_due { return superuser(q{UPDATE cauce.session SET retention_days = NULL, started_at = now() - interval '91 days'}) }

# stopped runs SQL that statement_timeout ends, later and later, until it comes to its end; how often it was ended, and
# the session was then as before.
sub stopped
{
	my ($who, $sql, $before) = @_;
	my ($ended, $whole) = (0, 0);

	for (my $ms = 5; $ms < 300_000; $ms *= 2)
	{
		my $result = $cluster->try_sql($who, $who eq 'app' ? $token : undef, "SET statement_timeout = " . int($ms) . ";\n$sql");
		last if $result->{status} == 0;
		return diag($result->{err}) if $result->{sqlstate} ne '57014';
		$ended++;
		$whole++ if places() eq $place{$before};
	}
	cmp_ok($ended, '>', 2, 'it was ended in several steps of its work');
	return is($whole, $ended, "each time the session was whole and $before");
}

subtest 'a run by hand' => sub {
	make_due();
	stopped(postgres => 'SELECT cauce.run_retention()', 'live');
	is(places(), $place{archived}, 'in the end it is archived');
	is(superuser('SELECT count(*) FROM cauce.retention_failure'), '0', 'being told to stop is no failure');
};

subtest 'its owner restores it' => sub {
	stopped(app => "SELECT cauce.restore_session('$session')", 'archived');
	is(places(), $place{live}, 'in the end it is there');
	is(mine($content), $whole, 'with all that it held');
};

subtest 'the worker' => sub {
	my $worker = q{FROM pg_stat_activity WHERE backend_type = 'cauce retention worker' AND query = 'cauce retention' AND state = 'active'};

	superuser(q{CREATE FUNCTION public.slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN OLD; END $$;
		CREATE TRIGGER slowly BEFORE DELETE ON cauce.report FOR EACH ROW EXECUTE FUNCTION public.slowly()});
	make_due();
	$cluster->configure('cauce.retention_naptime = 1');
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until("SELECT count(*) > 0 $worker", 't'), 'is at it');
	superuser("SELECT pg_terminate_backend(pid, 10000) $worker");
	like(places(), qr/^(?:\Q$place{live}\E|\Q$place{archived}\E)$/, 'terminated, it leaves the session in one place');
	ok($cluster->poll_until("SELECT count(*) > 0 $worker", 't'), 'is at it again') if places() eq $place{live};
	is($cluster->pg_ctl('stop', '-m', 'fast')->{status}, 0, 'a fast shutdown is fast');
	$cluster->configure("cauce.retention_naptime = '1d'");
	$cluster->pg_ctl('start');
	like(places(), qr/^(?:\Q$place{live}\E|\Q$place{archived}\E)$/, 'and likewise');
	superuser('DROP TRIGGER slowly ON cauce.report; SELECT cauce.run_retention()');
	is(places(), $place{archived}, 'in the end it is archived');
	mine("SELECT cauce.restore_session('$session')");
	is(mine($content), $whole, 'with all that it held');
};

# processor_seconds is what a process has used.
sub processor_seconds
{
	my ($pid) = @_;
	open my $in, '<', "/proc/$pid/stat" or return 0;
	my @field = split ' ', <$in> =~ s/.*\) //r;
	return ($field[11] + $field[12]) / TICKS;
}

# tried runs SQL in a transaction that is rolled back, and cancels it once it has used so many seconds of processor
# time, if it gets there; whether it was cancelled, and what it has used since then, or in all. Another's load must not count.
sub tried
{
	my ($sql, $after) = @_;
	my $owner = CauceSession->open($cluster, app => $token);
	my $pid = $owner->query('BEGIN; SELECT pg_backend_pid()');
	my $started = processor_seconds($pid);
	my $canceller = fork // die "fork: $!";
	if (!$canceller)
	{
		sleep 0.01 while processor_seconds($pid) - $started < $after;
		kill 'INT', $pid;
		POSIX::_exit(0);
	}
	my $result = $owner->try($sql);
	my $used = processor_seconds($pid) - $started;
	kill 'KILL', $canceller;
	waitpid $canceller, 0;
	$owner->close;
	return ($result->{sqlstate} eq '57014', $result->{sqlstate} eq '57014' ? $used - $after : $used);
}

subtest 'how long it takes to stop' => sub {
	plan skip_all => 'CAUCE_HUGE_SEGMENTS is not set' if !$ENV{CAUCE_HUGE_SEGMENTS};
	for my $call (qw(archive_session restore_session))
	{
		my $sql = "SELECT cauce.$call('$session')";
		my (undef, $all) = tried($sql, 9**9);
		my @after;
		for my $part (1 .. POINTS)
		{
			my ($cancelled, $used) = tried($sql, $all * $part / (POINTS + 1));
			push @after, $used if $cancelled;
		}
		my ($longest) = sort { $b <=> $a } @after;
		cmp_ok(@after, '>', POINTS / 2, "$call is cancelled");
		cmp_ok($longest, '<', 1, "a second of processor time at most ($longest of $all)");
		mine($sql);
	}
	is(places(), $place{live}, 'and the session is as it was');
	is(mine($content), $whole, 'with all that it held');
};

subtest 'as much as an archive can hold, and more' => sub {
	plan skip_all => 'CAUCE_HUGE_SEGMENTS is not set' if !$ENV{CAUCE_HUGE_SEGMENTS};
	my $digests = q{SELECT string_agg(md5, ',' ORDER BY md5) FROM (SELECT md5(body) FROM cauce.report WHERE kind = 'more') r};
	my $more = sub {
		my ($reports) = @_;    # of a hundred megabytes
		mine("INSERT INTO cauce.report (session_id, kind, body) SELECT '$session', 'more', repeat(md5(random()::text) || ' said ', 2600000) FROM generate_series(1, $reports) n");
		make_due();
	};

	mine("DELETE FROM cauce.transcript_segment; DELETE FROM cauce.report");
	$more->(9);
	my $before = mine($digests);
	is(superuser('SELECT archived, failed FROM cauce.run_retention()'), '1|0', 'what takes less than a gigabyte is archived');
	mine("SELECT cauce.restore_session('$session')");
	is(mine($digests), $before, 'and restored');
	$more->(3);
	is(superuser('SELECT archived, failed FROM cauce.run_retention()'), '0|1', 'what takes more is not');
	is(superuser('SELECT sqlstate, message FROM cauce.retention_failure'), '54000|the session is too large for an archive', 'and recorded as that');
	is(superuser('SELECT count(*) FROM cauce.report'), '12', 'it is whole');
	mine("DELETE FROM cauce.session WHERE id = '$session'");
	is(superuser('SELECT count(*) FROM cauce.report'), '0', 'and can be deleted');
};

done_testing;
