# A calendar clock that jumps ahead by years archives, erases and destroys nothing: not by the worker, not by hand,
# whether it jumps while the server runs or is down, on a primary and on its standby. What is due waits until
# somebody says that the clock is right, or it has run for cauce.clock_hold; put right, everything is as it was.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use JSON::PP qw(decode_json);
use Test::More;

use constant { DAY => 86_400, YEAR => 366 * 86_400 };

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1s'\ncauce.audit_days = 90");
my $token = $cluster->token('north-pro', ttl => 10 * YEAR);
$cluster->superuser('CREATE ROLE ops LOGIN IN ROLE cauce_operator');

my $session = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('kept') RETURNING id});
my $archive = $cluster->sql(app => $token, qq{INSERT INTO cauce.session (title) VALUES ('archived') RETURNING id AS session \\gset
	SELECT cauce.archive_session(:'session') \\g /dev/null
	SELECT :'session'});
my $held = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title, retention_days) VALUES ('held', 1) RETURNING id});
$cluster->superuser("UPDATE cauce.session SET legal_hold = true WHERE id = '$held'");
ok($cluster->poll_until('SELECT count(*) FROM cauce.clock', '1'), 'the worker notes what time it is');

# state gives all that time could change: where things are, what their keys lie under, and how far back the audit log goes.
sub state_of
{
	my ($server) = @_;
	return $server->superuser(q{SELECT (SELECT string_agg(id::text, ',' ORDER BY id) FROM cauce.session), (SELECT string_agg(id::text, ',' ORDER BY id) FROM cauce.archived_session),
		(SELECT string_agg(epoch || ' ' || generation, ',' ORDER BY id) FROM cauce.data_key), (SELECT min(at) FROM cauce.audit_log)});
}

# epochs gives the names of a keyring's keys.
sub epochs { return join ',', map { $_->{kid} } @{ decode_json($_[0]->as_postgres('cat', $_[0]->keyring_file)->{out})->{keys} } }

# visited waits until the worker has been there twice more.
sub visited
{
	my ($server) = @_;
	my $before = $server->superuser('SELECT max(id) FROM cauce.retention_run');
	return $server->poll_until("SELECT max(id) > $before + 1 FROM cauce.retention_run WHERE finished_at IS NOT NULL", 't');
}

# start_at starts the server with its clock moved.
sub start_at
{
	my ($server, $seconds) = @_;
	$server->pg_ctl('stop', '-m', 'fast');
	$server->move_clock($seconds);
	$server->pg_ctl('start');
	return;
}

my $until = 'SELECT round(extract(epoch FROM clock_held_until - now()) / 3600) FROM cauce.retention_status';
my $standby = CauceTest->standby_of($cluster);
my ($state, $epochs, $standbys) = (state_of($cluster), epochs($cluster), epochs($standby));

# nothing_happens looks at everything.
sub nothing_happens
{
	my ($name) = @_;
	subtest $name => sub {
		ok(visited($cluster), 'the worker goes on');
		is(state_of($cluster), $state, 'sessions, archives and keys are where they were');
		is(epochs($cluster), $epochs, 'no epoch key is destroyed, or added');
		is($cluster->sql(ops => undef, $until), '72', 'retention_status says until when');
		cmp_ok($cluster->superuser('SELECT count(*) FROM cauce.due_session'), '>', 0, 'something seems due');
		my $run = $cluster->try_sql(ops => undef, 'SELECT archived, deleted, failed, message FROM cauce.run_retention()');
		is($run->{out}, '0|0|0|the clock is not trusted', 'by hand nothing is done, either');
		like($run->{err}, qr/WARNING.*confirm_clock/s, 'which is said');
		is(state_of($cluster), $state, 'and true');
		is($cluster->sql(app => $token, "SELECT title FROM cauce.session WHERE id = '$session'"), 'kept', 'life goes on');
		ok($standby->catch_up_with($cluster), 'a standby follows');
		sleep 3;
		is(epochs($standby), $standbys, 'and destroys nothing');
	};
	return;
}

start_at($standby, YEAR);
start_at($cluster, YEAR);
nothing_happens('a year ahead, when the server starts');
is(scalar(() = $cluster->log =~ /clock is not trusted; nothing is archived, erased/g), 1, 'the log says so, once');
is($cluster->try_sql(app => $token, 'SELECT cauce.confirm_clock()')->{sqlstate}, '42501', 'an application cannot confirm it');

start_at($cluster, 0);
ok(visited($cluster), 'put right, the worker goes on');
is($cluster->superuser('SELECT count(clock_held_until) FROM cauce.retention_status'), '0', 'and trusts the clock at once');
is(state_of($cluster), $state, 'everything is as it was');

subtest 'a year ahead while the server runs, and back' => sub {
	$cluster->step_clock(YEAR);
	nothing_happens('it stays as it is');
	$cluster->step_clock(0);
	ok($cluster->poll_until('SELECT count(clock_held_until) FROM cauce.retention_status', '0'), 'set back, it is trusted at once');
	is(state_of($cluster), $state, 'everything is as it was');
	$cluster->step_clock(-YEAR());
	ok(visited($cluster), 'a year back');
	is($cluster->superuser('SELECT count(clock_held_until) FROM cauce.retention_status'), '0', 'lets nothing seem due');
	$cluster->step_clock(0);
	ok(visited($cluster), 'and forth');
	is($cluster->sql(ops => undef, $until), '72', 'is a jump ahead');
	$cluster->sql(ops => undef, 'SELECT cauce.confirm_clock()');
	is($cluster->superuser('SELECT count(clock_held_until) FROM cauce.retention_status'), '0', 'an operator confirms it');
	is(state_of($cluster), $state, 'everything is as it was');
};

subtest 'confirmed before anybody noticed' => sub {
	$cluster->step_clock(3 * DAY);
	$cluster->sql(ops => undef, 'SELECT cauce.confirm_clock()');
	ok(visited($cluster), 'the worker goes on');
	is($cluster->superuser('SELECT count(clock_held_until) FROM cauce.retention_status'), '0', 'it counts');
	$cluster->step_clock(0);
	ok(visited($cluster), 'set back');
	is(state_of($cluster), $state, 'everything is as it was');
};

subtest 'set back amid a visit' => sub {
	$cluster->step_clock(YEAR);
	ok(visited($cluster), 'a visit begins a year ahead');
	my $lock = CauceSession->open($cluster, postgres => undef);
	$lock->query('BEGIN; LOCK TABLE cauce.retention_run IN ACCESS EXCLUSIVE MODE');
	ok($cluster->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cauce retention worker' AND wait_event_type = 'Lock'}, '1'), 'and waits');
	$cluster->step_clock(0);
	$lock->query('COMMIT');
	$lock->close;
	ok(visited($cluster), 'until the clock is right');
	is(state_of($cluster), $state, 'everything is as it was');
	is(epochs($cluster), $epochs, 'the epoch keys of that year as well');
};

subtest 'small steps add up' => sub {
	for my $step (1 .. 4)
	{
		$cluster->step_clock($step * DAY * 0.7);
		last if !visited($cluster);
	}
	isnt($cluster->sql(ops => undef, $until), '', 'to a jump');
	is(state_of($cluster), $state, 'before which nothing happens that is not due by the true clock and two days');
	$cluster->step_clock(0);
	ok($cluster->poll_until('SELECT count(clock_held_until) FROM cauce.retention_status', '0'), 'back');
};

subtest 'a day passes as days do' => sub {
	$cluster->step_clock(1.5 * DAY);
	ok(visited($cluster), 'a day and a half');
	is($cluster->superuser('SELECT count(clock_held_until) FROM cauce.retention_status'), '0', 'is nothing');
	$cluster->step_clock(0);
};

subtest 'it runs for the time of the hold' => sub {
	start_at($cluster, 100 * DAY);
	ok(visited($cluster), 'a hundred days later');
	isnt($cluster->superuser($until), '', 'held');
	is(state_of($cluster), $state, 'nothing has happened');
	$cluster->configure(q{cauce.clock_hold = '3s'});
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until("SELECT count(*) FROM cauce.archived_session WHERE id = '$session'", '1'), 'then what was due is archived');
	ok($cluster->poll_until("SELECT count(*) FROM cauce.data_key WHERE session_id = '$held' AND epoch > current_date + 90", '0'), 'what is held lies under a key of the time')
	  or diag $cluster->superuser('SELECT now(), session_id, epoch, generation FROM cauce.data_key ORDER BY epoch'), "\nheld: $held\n", $cluster->log;
	my $gone = 0;
	for (1 .. 100)
	{
		last if $gone = epochs($cluster) ne $epochs;
		select undef, undef, undef, 0.1;
	}
	ok($gone, 'and ended epoch keys are destroyed');
};

subtest 'the operator says that the clock is right' => sub {
	$cluster->configure(q{cauce.clock_hold = '3d'});
	start_at($cluster, 11 * YEAR);
	ok(visited($cluster), 'eleven years later');
	is($cluster->superuser('SELECT count(*) FROM cauce.archived_session'), '2', 'archives are where they were');
	$cluster->sql(ops => undef, 'SELECT cauce.confirm_clock()');
	ok($cluster->poll_until('SELECT count(*) FROM cauce.archived_session', '0'), 'and erased when an operator has confirmed the clock');
	is($cluster->superuser('SELECT count(*) FROM cauce.session'), '1', 'what is held stays');
};

done_testing;
