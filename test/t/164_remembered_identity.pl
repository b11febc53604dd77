# Who a subject is, is remembered from one statement to the next, and never longer than it is true:
# a change of account or organization counts in every connection as soon as it is committed.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my $admin = $cluster->token('north-admin');
my $me = 'SELECT cauce.is_admin(), cauce.organization_id() IS NOT NULL, cauce.content_organization_id() IS NOT NULL';

sub superuser { return $cluster->superuser(@_) }

my $idle = CauceSession->open($cluster, app => $admin);
my $busy = CauceSession->open($cluster, app => $admin);
$busy->query('BEGIN');
is($_->query($me), 't|t|f', 'an admin') for $idle, $busy, $idle;

# Each change is made by somebody else and seen at the next statement, also amid a transaction.
my @changes = (
	["UPDATE cauce.organization SET admin_access = 'content' WHERE name = 'north'",      't|t|t', 'admins may read'],
	["UPDATE cauce.organization SET plan = 'individual' WHERE name = 'north'",           'f|t|f', 'a plan without admins'],
	["UPDATE cauce.organization SET plan = 'business' WHERE name = 'north'",             't|t|t', 'and back'],
	["UPDATE cauce.organization SET admin_access = 'sessions' WHERE name = 'north'",     't|t|f', 'admins may not read'],
	["UPDATE cauce.account SET role = 'professional' WHERE subject = 'north-admin'",     'f|t|f', 'no admin any more'],
	["UPDATE cauce.account SET organization_id = NULL WHERE subject = 'north-admin'",    'f|f|f', 'out of the organization'],
	# As a logical replication worker would.
	["SET session_replication_role = replica; UPDATE cauce.account SET role = 'admin', organization_id =
		(SELECT id FROM cauce.organization WHERE name = 'north') WHERE subject = 'north-admin'", 't|t|f', 'in a replica\'s role'],
);
for my $change (@changes)
{
	my ($sql, $expected, $name) = @$change;
	superuser($sql);
	is($_->query($me), $expected, "$name: " . ($_ == $idle ? 'in another connection' : 'amid a transaction')) for $idle, $busy;
}

subtest 'what is rolled back was never so' => sub {
	my $root = CauceSession->open($cluster, postgres => $admin);
	my $demote = "UPDATE cauce.account SET role = 'professional' WHERE subject = 'north-admin'";
	is($root->query('SELECT cauce.is_admin()'), 't', 'an admin');
	is($root->query("BEGIN; $demote; SELECT cauce.is_admin()"), 'f', 'not in the transaction that says so');
	is($idle->query('SELECT cauce.is_admin()'), 't', 'still in another one');
	is($root->query('ROLLBACK; SELECT cauce.is_admin()'), 't', 'ROLLBACK');
	is($root->query("BEGIN; SAVEPOINT a; $demote; SELECT cauce.is_admin()"), 'f', 'in a subtransaction');
	is($root->query('ROLLBACK TO a; SELECT cauce.is_admin()'), 't', 'ROLLBACK TO');
	$root->query('COMMIT');
	is($root->query('SELECT cauce.is_admin()'), 't', 'COMMIT');
	$root->close;

	# An account that never was. The token comes second: nobody may create accounts as nobody.
	local $ENV{UNBORN} = $cluster->token('unborn');
	$root = CauceSession->open($cluster, postgres => undef);
	my $born = "SELECT cauce.create_account('unborn') \\g /dev/null\n\\getenv unborn UNBORN
		SELECT set_config('cauce.token', :'unborn', false) \\g /dev/null\nSELECT cauce.account_id() IS NOT NULL;";
	is($root->query("BEGIN;\n$born"), 't', 'made in a transaction');
	$root->query('ROLLBACK; SELECT 1');
	is($root->try("SELECT set_config('cauce.token', :'unborn', false) \\g /dev/null\nSELECT cauce.account_id();")->{sqlstate}, '28000', 'ROLLBACK');
	$root->query(q{SELECT set_config('cauce.token', '', false)});
	is($root->query("BEGIN; SAVEPOINT a;\n$born"), 't', 'made in a subtransaction');
	is($root->try("ROLLBACK TO a; SELECT set_config('cauce.token', :'unborn', false) \\g /dev/null\nSELECT cauce.account_id();")->{sqlstate}, '28000', 'ROLLBACK TO');
	$root->close;
};

subtest 'tokens of two subjects over one connection' => sub {
	my %id = map { $_ => superuser("SELECT id FROM cauce.account WHERE subject = '$_'") } qw(north-pro south-pro);
	my %token = map { $_ => $cluster->token($_) } keys %id;
	local @ENV{qw(NORTH SOUTH)} = @token{qw(north-pro south-pro)};
	my $pooled = CauceSession->open($cluster, app => undef);
	$pooled->query("\\getenv north NORTH\n\\getenv south SOUTH");
	for my $turn (1 .. 3)
	{
		for my $who (qw(north south))
		{
			my $got = $pooled->query("BEGIN; SELECT set_config('cauce.token', :'$who', true) \\g /dev/null
				SELECT cauce.account_id(); COMMIT");
			is($got, $id{"$who-pro"}, "turn $turn: $who");
		}
		is($pooled->query('SELECT cauce.account_id()'), '', 'and nobody in between');
	}
	$pooled->close;
};

subtest 'an account that is deleted' => sub {
	superuser("SELECT cauce.create_account('short-lived')");
	my $session = CauceSession->open($cluster, app => $cluster->token('short-lived'));
	isnt($session->query('SELECT cauce.account_id()'), '', 'is somebody');
	superuser("DELETE FROM cauce.account WHERE subject = 'short-lived'");
	is($session->try('SELECT cauce.account_id()')->{sqlstate}, '28000', 'and then nobody');
	superuser("SELECT cauce.create_account('short-lived')");
	is($session->query('SELECT cauce.account_id()'),
		superuser("SELECT id FROM cauce.account WHERE subject = 'short-lived'"), 'and then somebody new');
	$session->close;
};

$_->close for $idle, $busy;
done_testing;
