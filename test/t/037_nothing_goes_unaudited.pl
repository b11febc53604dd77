# Ways round the audit log: one reader behind another, replica mode, what no trigger and no event trigger sees, an invitation
# kept for later, a grant that was undone. Each leaves its entry, or leads nowhere.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'\nmax_prepared_transactions = 5");
$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'content' WHERE name = 'north';
	SELECT cauce.create_account('helper'); CREATE ROLE desk LOGIN IN ROLE cauce_app, cauce_support; CREATE ROLE ops LOGIN IN ROLE cauce_operator});
my %token = map { $_ => $cluster->token($_) } qw(north-pro north-pro2 north-admin south-admin solo helper);
my %account = map { split /\|/ } split /\n/, $cluster->superuser('SELECT subject, id FROM cauce.account');
my %organization = map { split /\|/ } split /\n/, $cluster->superuser('SELECT name, id FROM cauce.organization');
my $nil = '00000000-0000-0000-0000-000000000000';
my $new_session = q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id AS s \gset
	INSERT INTO cauce.report (session_id, body) VALUES (:'s', 'report') \g /dev/null
	SELECT :'s'};
my $session = $cluster->sql(app => $token{'north-pro'}, $new_session);
my $read = "SELECT body FROM cauce.report WHERE session_id = '$session'";

# last_entry is the end of the log as far as a condition goes.
sub last_entry
{
	return $cluster->superuser("SELECT actor, role, action, reason FROM cauce.audit_log WHERE $_[0] ORDER BY at DESC LIMIT 1");
}

# entries counts them.
sub entries { return $cluster->superuser("SELECT count(*) FROM cauce.audit_log WHERE $_[0]") }

# visit has the background worker look at the server, and waits for an entry.
sub visit
{
	my ($reason) = @_;
	$cluster->superuser('SELECT cauce.wake_launcher()');
	return $cluster->poll_until("SELECT count(*) > 0 FROM cauce.audit_log WHERE action = 'server' AND reason ~ '$reason'", 't', 10);
}

subtest 'each reader has an entry, also behind another in one transaction' => sub {
	$cluster->superuser(q{UPDATE cauce.account SET role = 'admin' WHERE subject = 'north-pro2'});
	$cluster->sql(desk => $token{helper}, "SELECT cauce.break_glass('$account{'north-pro'}', 'ticket 7')");
	is($cluster->sql(app => undef, "BEGIN; " . join('', map { "SET LOCAL cauce.token = '$token{$_}'; $read; $read; " } qw(north-admin north-pro2 helper)) . 'COMMIT'),
		join("\n", ('report') x 6), 'three read, by turns');
	is($cluster->superuser("SELECT string_agg(actor || ' ' || role, ', ' ORDER BY at) FROM cauce.audit_log WHERE action = 'open'"),
		'north-admin admin, north-pro2 admin, helper support', 'three entries');
	$cluster->superuser(q{UPDATE cauce.account SET role = 'professional' WHERE subject = 'north-pro2'});
};

subtest 'who is made what' => sub {
	my $rogue = $cluster->sql(ops => undef, "SELECT cauce.create_account('rogue', '$organization{north}', 'admin')");
	is(last_entry("organization_id = '$organization{north}'"), "ops|operator|create|account $rogue, as admin", 'an operator who makes an admin is seen');
	like($cluster->sql(app => $token{'north-admin'}, 'SELECT reason FROM cauce.audit_log ORDER BY at DESC LIMIT 1'), qr/^account $rogue/, 'by the admins there');
	my $made = $cluster->sql(ops => undef, q{SELECT cauce.create_organization('west')});
	is(last_entry("chain = '$made'"), 'ops|operator|create|organization, plan business', 'an organization, too');
	$cluster->sql(ops => undef, q{SELECT cauce.create_account('alone')});
	like(last_entry("chain = '$nil' AND action <> 'server'"), qr/^ops\|operator\|create\|account [0-9a-f-]{36}, as professional$/, 'and an account of none');
	is($cluster->sql(app => $token{'north-pro'}, q{SELECT count(*) FROM cauce.my_access_log WHERE action = 'create'}), 0, 'which is nobody\'s access');
};

subtest 'session_replication_role hides nothing' => sub {
	$cluster->superuser(q{SET session_replication_role = replica; UPDATE cauce.account SET role = 'admin' WHERE subject = 'north-pro2'});
	is(last_entry("account_id = '$account{'north-pro2'}'"), 'postgres|superuser|set|role: professional -> admin', 'of an account');
	$cluster->superuser("SET session_replication_role = replica; UPDATE cauce.session SET legal_hold = true WHERE id = '$session'");
	is(last_entry("session_id = '$session'"), 'postgres|superuser|hold|', 'of a session');
	$cluster->superuser("SET session_replication_role = replica; UPDATE cauce.organization SET admin_access = 'content' WHERE name = 'south'");
	is(last_entry("chain = '$organization{south}'"), 'postgres|superuser|set|admin_access: sessions -> content', 'of an organization');
	$cluster->superuser(q{UPDATE cauce.account SET role = 'professional' WHERE subject = 'north-pro2'});
	for my $guard ('account cauce_audit', 'organization cauce_audit', 'session cauce_audit', 'session cauce_audit_hold')
	{
		my ($table, $trigger) = split / /, $guard;
		$cluster->superuser("ALTER TABLE cauce.$table DISABLE TRIGGER $trigger");
		is($cluster->superuser('SELECT problem FROM cauce.verify_audit()'), "trigger $trigger of table cauce.$table is off or gone", "$guard off");
		$cluster->superuser("ALTER TABLE cauce.$table ENABLE ALWAYS TRIGGER $trigger");
	}
	is($cluster->superuser('SELECT count(*) FROM cauce.verify_audit()'), 0, 'all on again');
};

subtest 'what no event trigger sees, the next visit does' => sub {
	ok(visit('^privileges: SHA-256 [0-9a-f]{64}$'), 'privileges are noted once') or diag $cluster->log;
	ok(visit("^members of cauce_operator: ops\$"), 'and the members of each role');
	my $guards = last_entry(q{reason LIKE 'guards: %'});
	my $all = entries(q{action = 'server'});
	visit('^guards');
	is(entries(q{action = 'server'}), $all, 'unless anything changes, once');
	$cluster->superuser('ALTER EVENT TRIGGER cauce_altered DISABLE; ALTER EVENT TRIGGER cauce_altered ENABLE ALWAYS');
	ok(visit('^guards: as of transaction \d+, \d+'), 'a guard that was off for a moment') or diag $guards;
	my $before = entries(q{reason LIKE 'privileges: %'});
	$cluster->superuser('GRANT INSERT ON cauce.audit_log TO app');
	$cluster->superuser('SELECT cauce.wake_launcher()');
	ok($cluster->poll_until(q{SELECT count(*) FROM cauce.audit_log WHERE reason LIKE 'privileges: %'}, $before + 1, 10), 'GRANT');
	$cluster->superuser('GRANT cauce_support TO app; REVOKE INSERT ON cauce.audit_log FROM app');
	ok(visit('^members of cauce_support: app, desk$'), 'GRANT of a role');
	$cluster->superuser('REVOKE cauce_support FROM app');
	$cluster->configure("cauce.keyring_command = 'cat " . '/' x 600 . "'\ncauce.token_issuer = '" . 'i' x 600 . "'");
	$cluster->pg_ctl('reload');
	$cluster->configure("cauce.keyring_command = ''");
	$cluster->pg_ctl('reload');
	ok(visit('^cauce.token_issuer: SHA-256 [0-9a-f]{64}$'), 'a value that is longer than an entry, by its digest');
	$all = entries(q{action = 'server'});
	visit('^guards');
	sleep 1;
	is(entries(q{action = 'server'}), $all, 'and once');
	$cluster->configure("cauce.token_issuer = ''");
	$cluster->pg_ctl('reload');
};

subtest 'an admin verifies what is the organization\'s' => sub {
	$cluster->sql(app => $token{solo}, q{SELECT cauce.set_retention(30, 'delete')});
	$cluster->sql(app => $token{'north-admin'}, q{SELECT cauce.invite_member('solo')});
	$cluster->sql(app => $token{solo}, "SELECT cauce.join_organization('$organization{north}')");
	is($cluster->sql(app => $token{'north-admin'}, "SELECT count(*) FROM cauce.audit_log WHERE account_id = '$account{solo}'"), 1, 'sees an entry of a chain, not the one before');
	is($cluster->sql(app => $token{'north-admin'}, 'SELECT count(*) FROM cauce.verify_audit()'), 0, 'which is no damage');
	is($cluster->sql(app => $token{solo}, 'SELECT cauce.leave_organization(); SELECT count(*) FROM cauce.verify_audit()'), "\n0", 'nor for the account');
};

subtest 'no invitation outlasts the admin who made it' => sub {
	$cluster->superuser(q{UPDATE cauce.account SET role = 'admin' WHERE subject = 'north-pro2'});
	my $join = "SELECT cauce.join_organization('$organization{north}')";
	$cluster->sql(app => $token{'north-pro2'}, "SELECT cauce.invite_member('$_', 'admin')") for qw(north-pro2 solo);
	$cluster->sql(app => $token{'north-admin'}, "SELECT cauce.set_member_role('$account{'north-pro2'}', 'professional')");
	is($cluster->try_sql(app => $token{solo}, $join)->{sqlstate}, '42501', 'no accomplice comes in');
	is($cluster->try_sql(app => $token{'north-pro2'}, "SELECT cauce.leave_organization(); $join")->{sqlstate}, '42501', 'nor does one of their own bring the admin back');
	$cluster->sql(app => $token{'north-admin'}, q{SELECT cauce.invite_member('solo', 'admin')});
	$cluster->superuser(q{UPDATE cauce.organization SET plan = 'individual' WHERE name = 'north'});
	is($cluster->try_sql(app => $token{solo}, $join)->{sqlstate}, '42501', 'nobody joins where no admin has rights');
	$cluster->superuser(q{UPDATE cauce.organization SET plan = 'business' WHERE name = 'north'});
	$cluster->sql(app => $token{solo}, $join);
	is($cluster->sql(app => $token{solo}, 'SELECT cauce.is_admin()'), 't', 'an admin\'s invitation counts, over an old one, too');
	$cluster->sql(app => $token{'north-admin'}, q{SELECT cauce.withdraw_invitation('north-pro2')});
	is(last_entry("chain = '$organization{north}'"), 'north-admin|admin|invite|withdrawn', 'to take one back is noted');
	$cluster->sql(app => $token{solo}, 'SELECT cauce.leave_organization()');
};

subtest 'a grant that was undone, or ended, is none' => sub {
	my $mine = $cluster->sql(app => $token{solo}, $new_session);
	my $other = $cluster->superuser(q{SELECT cauce.create_account('other')});
	my $body = "SELECT count(*) FROM cauce.report WHERE session_id = '$mine'";
	is($cluster->sql(desk => $token{helper}, "SELECT cauce.break_glass('$other', 'another') \\g /dev/null
		SET client_min_messages = notice;
		DO \$\$ BEGIN
			PERFORM cauce.break_glass('$account{solo}', 'undone');
			IF ($body) <> 1 THEN RAISE 'not read at all'; END IF;
			ROLLBACK;
			IF ($body) <> 0 THEN RAISE 'read under a grant that was rolled back'; END IF;
		END \$\$; SELECT 'so'"), 'so', 'by ROLLBACK in the same statement');
	my $desk = CauceSession->open($cluster, desk => $token{helper});
	$desk->query("SELECT cauce.break_glass('$account{solo}', 'ended meanwhile') \\g /dev/null");
	$desk->{in} .= "DO \$\$ BEGIN FOR i IN 1 .. 200 LOOP
		IF ($body) = 0 THEN RAISE 'it has ended'; END IF; COMMIT; PERFORM pg_sleep(0.05); END LOOP; END \$\$;\n";
	sleep 1;
	is($cluster->sql(app => $token{solo}, "SELECT cauce.end_break_glass('$account{solo}')"), 't', 'the owner ends it');
	like($desk->try('SELECT 1')->{err}, qr/it has ended/, 'in the middle of a statement that goes on committing');
	$desk->close;
	$cluster->sql(desk => $token{helper}, "SET timezone = '<LATER>-12'; SET datestyle = 'German'; SELECT cauce.break_glass('$account{solo}', 'odd clock')");
	like(last_entry(q{action = 'break glass'}), qr/odd clock \(until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00\)$/, 'its end is told in one way');
};

subtest 'a transaction that cannot be finished holds no chain' => sub {
	my $prepared = $cluster->try_sql(app => $token{'north-pro'}, q{BEGIN; SELECT cauce.set_retention(50, 'delete'); PREPARE TRANSACTION 'x'});
	is($prepared->{sqlstate}, '0A000', 'PREPARE of one that is in the log');
	like($prepared->{err}, qr/HINT:/, 'with a hint');
	is($cluster->try_sql(app => $token{'north-admin'}, $read)->{out}, 'report', 'the chain is free');
	$cluster->sql(app => $token{'north-pro'}, "BEGIN; INSERT INTO cauce.session (title) VALUES ('x'); PREPARE TRANSACTION 'y'; COMMIT PREPARED 'y'");
	pass('any other is prepared');
};

subtest 'the log may go with its extension' => sub {
	is($cluster->superuser('SELECT count(*) FROM cauce.verify_audit()'), 0, 'it verifies to the end');
	$cluster->superuser('BEGIN; ALTER TABLE cauce.alert SET (fillfactor = 90); SET client_min_messages = warning; DROP EXTENSION cauce CASCADE; COMMIT;
		CREATE EXTENSION cauce; ALTER TABLE cauce.alert SET (fillfactor = 80)');
	is($cluster->superuser('SELECT action, reason FROM cauce.audit_log'), 'alter|ALTER TABLE: cauce.alert', 'a new one begins anew');
};

done_testing;
