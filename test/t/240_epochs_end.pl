# Time destroys keys, in backups too. A base backup, restored with the keyring of its day, opens everything,
# also what was erased since; with the keyring of a day after an epoch has ended it does not open what
# ended with that epoch, while every session opens whose time has not passed. In the live database nothing
# is lost that is still there: what a legal hold keeps, what waits for retention, accounts.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use JSON::PP;
use POSIX qw(strftime);
use Test::More;

use constant DAY => 86_400;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1s'");
my $token = $cluster->token('north-pro');
my $json = JSON::PP->new->canonical;

# new_session opens a session that is kept for some days and says its name.
sub new_session
{
	my ($name, $days) = @_;
	return $cluster->sql(app => $token, qq{INSERT INTO cauce.session (title, retention_days) VALUES ('$name', $days) RETURNING id AS session \\gset
		INSERT INTO cauce.report (session_id, body) VALUES (:'session', '$name report');
		SELECT :'session'});
}

# What each shall come to; the longest epoch is a week.
my %session = (short => new_session(short => 1), long => new_session(long => 90), held => new_session(held => 1), erased => new_session(erased => 1),
	erased_long => new_session(erased_long => 90), kept => new_session(kept => 1));
$cluster->superuser("UPDATE cauce.session SET legal_hold = true WHERE id = '$session{held}'");
$cluster->sql(app => $token, q{SELECT cauce.set_retention(NULL, 'delete')});

# opens gives the names of the sessions whose title and report an owner can open, and what the others say.
sub opens
{
	my ($server, $who) = @_;
	my $session = CauceSession->open($server, app => $who);
	my (@open, %refused);
	for my $name (sort keys %session)
	{
		my $result = $session->try("SELECT s.title::text || ',' || r.body::text FROM cauce.session s LEFT JOIN cauce.report r ON r.session_id = s.id WHERE s.id = '$session{$name}'");
		if ($result->{out} eq "$name,$name report") { push @open, $name }
		elsif ($result->{sqlstate}) { $refused{$name} = $result->{sqlstate} }
	}
	$session->close;
	return join(' ', @open) . (%refused ? ' but ' . join(' ', map { "$_ $refused{$_}" } sort keys %refused) : '');
}

# keyring gives the key set of a server's keyring.
sub keyring { return $json->decode($_[0]->as_postgres('cat', $_[0]->keyring_file)->{out}) }

# epochs gives the last days of a keyring's epochs that end before a moment.
sub epochs
{
	my ($server, $before) = @_;
	my $day = strftime '%Y-%m-%d', gmtime $before;
	return grep { $_ lt $day } map { $_->{kid} =~ /^epoch-(.*)/ } @{ keyring($server)->{keys} };
}

# backup makes a base backup of the running server that can be started by itself.
sub backup
{
	my $copy = CauceTest->standby_of($cluster);
	$copy->pg_ctl('stop', '-m', 'fast');
	$copy->as_postgres('rm', $copy->pgdata . '/standby.signal');
	# Its own worker shall leave the sessions as the backup has them.
	$copy->configure("cauce.retention_naptime = '1d'");
	return $copy;
}

is(opens($cluster, $token), 'erased erased_long held kept long short', 'at first everything opens');
is(scalar epochs($cluster, time), 0, 'no epoch has ended');
my $first = backup();
my $second = backup();
is(index($first->as_postgres('grep', '-rlaF', 'short report', $first->pgdata)->{out}, '/'), -1, 'a backup holds no text');

$cluster->sql(app => $token, "DELETE FROM cauce.session WHERE id = '$session{$_}'") for qw(erased erased_long);
my @last = split /\n/, $cluster->sql(app => $token, q{SELECT cauce.open_certificate(jws)->>'last_epoch' FROM cauce.erasure_certificate WHERE subject = 'session' ORDER BY 1});
is(opens($cluster, $token), 'held kept long short', 'erased sessions are gone');

subtest 'a backup from before, with today\'s keyring' => sub {
	$first->pg_ctl('start');
	is(opens($first, $first->token('north-pro')), 'erased erased_long held kept long short', 'opens what was erased since: certificates say until when');
	cmp_ok($last[0], 'gt', strftime('%Y-%m-%d', gmtime time), 'that of a session of one day an epoch from now');
	cmp_ok($last[1], 'gt', strftime('%Y-%m-%d', gmtime time + 89 * DAY), 'that of one of ninety days after ninety days');
	$first->stop;
};

# A session that waits: retention cannot take it, as somebody holds its row.
my $later = 9 * DAY;
$cluster->pg_ctl('stop', '-m', 'fast');
$cluster->move_clock($later);
$cluster->pg_ctl('start');
my $holder = CauceSession->open($cluster, postgres => undef);
$holder->query("BEGIN; SELECT id FROM cauce.session WHERE id = '$session{kept}' FOR KEY SHARE");
# And a key that cannot be moved, as somebody holds that.
my $keeper = CauceSession->open($cluster, postgres => undef);
$keeper->query("BEGIN; SELECT id FROM cauce.data_key WHERE session_id = '$session{held}' FOR UPDATE");
my $moved = $cluster->token('north-pro', ttl => 20 * DAY);
$cluster->superuser('SELECT cauce.confirm_clock()'); # which wakes the worker

subtest 'nine days later' => sub {
	ok($cluster->poll_until("SELECT count(*) FROM cauce.session WHERE id = '$session{short}'", '0', 60), 'retention has erased what was due');
	ok($cluster->poll_until(q{SELECT count(*) > 2 FROM cauce.retention_run WHERE finished_at IS NOT NULL}, 't'), 'the worker has been there, and again');
	sleep 2;
	cmp_ok(scalar(epochs($cluster, time + $later)), '>', 0, 'what somebody holds keeps the epoch key that it lies under');
	is(opens($cluster, $moved), 'held kept long', 'and opens');
	$keeper->query('ROLLBACK');
	$keeper->close;
	my $gone = 0;
	for (1 .. 100)
	{
		last if $gone = !epochs($cluster, time + $later);
		select undef, undef, undef, 0.3;
	}
	ok($gone, 'the keys of ended epochs are destroyed');
	like($cluster->log, qr/cauce: \d+ keys that had ended were destroyed/, 'the log says so');
	is(opens($cluster, $moved), 'held kept long', 'what is held, and what waits, opens');
	is($cluster->sql(app => $moved, 'SELECT display_name FROM cauce.account'), 'Nora North', 'so does a profile');
	is($cluster->superuser('SELECT count(*) FROM cauce.key_status WHERE ended OR due IS NOT NULL'), '0', 'key_status has nothing that is due');
	$cluster->sql(app => $moved, q{INSERT INTO cauce.session (title, retention_days) VALUES ('new', 1)});
	is($cluster->sql(app => $moved, q{SELECT count(*) FROM cauce.session WHERE title = 'new'}), '1', 'life goes on');
	$holder->query('ROLLBACK');
	$holder->close;
	ok($cluster->poll_until("SELECT count(*) FROM cauce.session WHERE id = '$session{kept}'", '0', 60), 'what waited is erased in its turn');
};

subtest 'the backup, with the keyring of nine days later' => sub {
	$second->as_postgres('cp', $cluster->keyring_file, $second->keyring_file);
	$second->move_clock($later);
	$second->pg_ctl('start');
	is(opens($second, $second->token('north-pro', ttl => 20 * DAY)), 'erased_long long but erased XX001 held XX001 kept XX001 short XX001',
		'opens what has not ended, and nothing that has: what was held since is in later backups');
	is($second->superuser(q{SELECT count(*) FROM cauce.report}), '6', 'the sealed values are there');
	my $verify = $second->superuser(q{SELECT count(*), string_agg(DISTINCT problem, ',') FROM cauce.verify('cauce.report')});
	is($verify, '4|no key', 'verify() counts those without a key');
	# Its worker meets sessions that are due and cannot be opened: they can still be erased.
	$second->superuser('SELECT cauce.confirm_clock()');
	$second->configure("cauce.retention_naptime = '1s'");
	$second->pg_ctl('reload');
	ok($second->poll_until("SELECT count(*) FROM cauce.session WHERE id IN ('$session{short}', '$session{kept}', '$session{erased}')", '0', 60), 'retention erases them');
	is(opens($second, $second->token('north-pro', ttl => 20 * DAY)), 'erased_long long but held XX001', 'and nothing else');
	$second->stop;
};

subtest 'nobody destroys what another database may need' => sub {
	$cluster->superuser('CREATE DATABASE other');
	$cluster->superuser('SET client_min_messages = warning; CREATE EXTENSION cauce CASCADE', database => 'other');
	$cluster->superuser(q{SELECT cauce.create_account('north-pro', display_name => 'Other')}, database => 'other');
	my $id = $cluster->sql(app => $moved, q{INSERT INTO cauce.session (title, retention_days) VALUES ('elsewhere', 1) RETURNING id}, database => 'other');
	$cluster->superuser(q{ALTER DATABASE other ALLOW_CONNECTIONS false});
	$cluster->pg_ctl('stop', '-m', 'fast');
	$cluster->move_clock(18 * DAY);
	$cluster->pg_ctl('start');
	$cluster->superuser('SELECT cauce.confirm_clock()');
	my $far = $cluster->token('north-pro', ttl => 30 * DAY);
	sleep 6;
	cmp_ok(scalar(epochs($cluster, time + 18 * DAY)), '>', 0, 'a database that takes no connections keeps ended epoch keys');
	like($cluster->log, qr/epoch keys that have ended are kept/, 'and the log says why');
	$cluster->superuser("ALTER DATABASE other ALLOW_CONNECTIONS true");
	$cluster->superuser('SELECT cauce.confirm_clock()', database => 'other');
	my $gone = 0;
	for (1 .. 100)
	{
		last if $gone = !epochs($cluster, time + 18 * DAY);
		select undef, undef, undef, 0.3;
	}
	ok($gone, 'until it can be asked');
	is($cluster->sql(app => $far, "SELECT cauce.restore_session('$id') \\g /dev/null
		SELECT title FROM cauce.session WHERE id = '$id'", database => 'other'), 'elsewhere', 'what it archived opens');
	is(opens($cluster, $far), 'held long', 'as does what is still held here');
};

subtest 'a key that is damaged or dead' => sub {
	$cluster->superuser("UPDATE cauce.data_key SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1) WHERE session_id = '$session{held}'");
	$cluster->pg_ctl('stop', '-m', 'fast');
	$cluster->move_clock(40 * DAY);
	$cluster->pg_ctl('start');
	$cluster->superuser('SELECT cauce.confirm_clock()', database => $_) for qw(cauce other);
	my $left = 0;
	for (1 .. 100)
	{
		last if ($left = () = epochs($cluster, time + 40 * DAY)) == 1;
		select undef, undef, undef, 0.3;
	}
	is($left, 1, 'keeps its own epoch key, in case it is mended, and no other');
	like($cluster->log, qr/data key \S+ cannot be wrapped anew/, 'and the log tells of it');
};

done_testing;
