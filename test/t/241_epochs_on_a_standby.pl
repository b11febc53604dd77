# Each server destroys its own copy of an epoch key once its day has passed. A standby does so only when it has
# replayed that nothing needs the key any more: while it lags behind, it keeps what its rows lie under, and
# after a promotion nothing that was still there is lost.
use strict;
use warnings;
use CauceTest;
use JSON::PP;
use POSIX qw(strftime);
use Test::More;

use constant DAY => 86_400;
use constant LATER => 9 * DAY;

my $primary = CauceTest->start(settings => "cauce.retention_naptime = '1s'");
my $token = $primary->token('north-pro');
my $held = $primary->sql(app => $token, q{INSERT INTO cauce.session (title, retention_days) VALUES ('held', 1) RETURNING id});
$primary->superuser("UPDATE cauce.session SET legal_hold = true WHERE id = '$held'");
my $standby = CauceTest->standby_of($primary);

# ended counts the epoch keys of a server's keyring whose day has passed.
sub ended
{
	my ($server) = @_;
	my $day = strftime '%Y-%m-%d', gmtime time + LATER;
	return scalar grep { $_ lt $day } map { $_->{kid} =~ /^epoch-(.*)/ }
	  @{ decode_json($server->as_postgres('cat', $server->keyring_file)->{out})->{keys} };
}

# none_ended waits until a server's keyring holds none.
sub none_ended
{
	my ($server) = @_;
	for (1 .. 120)
	{
		return 1 if !ended($server);
		select undef, undef, undef, 0.3;
	}
	return 0;
}

is($standby->sql(app => $token, 'SELECT title FROM cauce.session'), 'held', 'the standby opens what the primary has');
for my $sql ('cauce.rotate_master_key()', 'cauce.rotate_master_key(true)', 'cauce.retire_master_key(1)', 'cauce.keyring_create()')
{
	my $before = $standby->as_postgres('cat', $standby->keyring_file)->{out};
	is($standby->try_sql(postgres => undef, "SELECT $sql")->{sqlstate}, '25006', "a standby refuses $sql");
	is($primary->try_sql(postgres => undef, "BEGIN READ ONLY; SELECT $sql")->{sqlstate}, '25006', 'as does a read-only transaction');
	is($standby->as_postgres('cat', $standby->keyring_file)->{out}, $before, 'and the keyring stays as it is');
}
$_->pg_ctl('stop', '-m', 'fast') for $primary, $standby;
$_->move_clock(LATER) for $primary, $standby;

$standby->pg_ctl('start');
sleep 5;
cmp_ok(ended($standby), '>', 0, 'a standby that has replayed nothing since keeps ended epoch keys');
is($standby->sql(app => $standby->token('north-pro', ttl => 20 * DAY), 'SELECT title FROM cauce.session'), 'held', 'and opens what lies under them');

$primary->pg_ctl('start');
$primary->superuser('SELECT cauce.confirm_clock()');
ok(none_ended($primary), 'the primary moves what is held to a later epoch, and destroys');
ok(none_ended($standby), 'the standby destroys its own copy when it has replayed that');
my $later = $standby->token('north-pro', ttl => 20 * DAY);
is($standby->sql(app => $later, 'SELECT title FROM cauce.session'), 'held', 'what is held opens there');
is($standby->superuser('SELECT count(*) FROM cauce.key_status WHERE ended'), '0', 'nothing lies under an ended epoch');

$primary->pg_ctl('stop', '-m', 'immediate');
is($standby->pg_ctl('promote')->{status}, 0, 'the standby is promoted');
is($standby->sql(app => $later, 'SELECT title FROM cauce.session'), 'held', 'nothing is lost');
$standby->sql(app => $later, q{INSERT INTO cauce.session (title, retention_days) VALUES ('new', 2)});
is($standby->sql(app => $later, q{SELECT count(*) FROM cauce.session WHERE title IN ('held', 'new')}), '2', 'and life goes on');
ok($standby->poll_until('SELECT count(*) > 0 FROM cauce.retention_run WHERE started_at > pg_postmaster_start_time()', 't', 30), 'its own worker now runs retention');

done_testing;
