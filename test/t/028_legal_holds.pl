# A legal hold, set and released by an operator with a reason, is visible to the owner and stops everything that would end
# or rewrite the session; nobody else sets one.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'");
$cluster->superuser('CREATE ROLE ops LOGIN IN ROLE cauce_operator');
my $token = $cluster->token('solo');
my $account = $cluster->superuser(q{SELECT id FROM cauce.account WHERE subject = 'solo'});
my $session = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id AS s \gset
	INSERT INTO cauce.report (session_id, body) VALUES (:'s', 'report') \g /dev/null
	SELECT :'s'});
my $set = "SELECT cauce.set_legal_hold('$account', '$session', 'case 12')";
my $release = "SELECT cauce.release_legal_hold('$account', '$session', 'settled')";

# as_owner gives the SQLSTATE of a statement of the owner's.
sub as_owner { return $cluster->try_sql(app => $token, $_[0])->{sqlstate} }

subtest 'an archived session' => sub {
	my $id = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('archived') RETURNING id AS s \gset
		SELECT cauce.archive_session(:'s') \g /dev/null
		SELECT :'s'});
	$cluster->sql(ops => undef, "SELECT cauce.set_legal_hold('$account', '$id', 'case 13')");
	is($cluster->sql(app => $token, 'SELECT actor, action, session_id, reason FROM cauce.my_access_log ORDER BY at DESC LIMIT 1'), "ops|hold|$id|case 13", 'is held, and the owner sees it');
	is(as_owner($_), '55006', $_) for 'DELETE FROM cauce.archived_session', "SELECT cauce.restore_session('$id')", q{SELECT cauce.delete_my_data('solo')};
	$cluster->superuser("UPDATE cauce.archived_session SET delete_after = now() - interval '1 day' WHERE id = '$id'");
	is($cluster->superuser("SELECT count(*) FROM cauce.due_session WHERE id = '$id'"), 0, 'it is not due');
	is($cluster->superuser('SELECT deleted + failed FROM cauce.run_retention()'), 0, 'and retention leaves it');
	is($cluster->sql(app => $token, q{SELECT cauce.open_archive(account_id, id, bundle)->'session'->>'title' FROM cauce.archived_session}), 'archived', 'its owner reads it');
	$cluster->sql(ops => undef, "SELECT cauce.release_legal_hold('$account', '$id')");
	is($cluster->superuser('SELECT deleted FROM cauce.run_retention()'), 1, 'released, it ends');
};
my $entries = $cluster->sql(app => $token, 'SELECT count(*) FROM cauce.my_access_log');

subtest 'who sets it' => sub {
	is($cluster->try_sql(app => $_, $set)->{sqlstate}, '42501', 'not an application') for $token, undef;
	is($cluster->try_sql(app => $token, q{UPDATE cauce.session SET legal_hold = true})->{sqlstate}, '42501', 'nor by hand');
	is($cluster->try_sql(ops => undef, "SELECT cauce.set_legal_hold('$account', '$session', $_)")->{sqlstate}, '22023', "a reason of $_") for q{''}, q{E' \n'}, 'NULL', q{repeat('x', 600)};
	is($cluster->try_sql(ops => undef, "SELECT cauce.set_legal_hold('$account', gen_random_uuid(), 'x')")->{sqlstate}, 'P0002', 'no such session');
	is($cluster->try_sql(ops => undef, "SELECT cauce.set_legal_hold('$account', NULL, 'x')")->{sqlstate}, '22004', 'none named');
	is($cluster->sql(app => $token, 'SELECT count(*) FROM cauce.my_access_log'), $entries, 'nothing came of it');
	$cluster->sql(ops => undef, $set);
	is($cluster->sql(app => $token, 'SELECT legal_hold FROM cauce.session'), 't', 'an operator does');
	is($cluster->sql(app => $token, 'SELECT actor, role, action, session_id, reason FROM cauce.my_access_log ORDER BY at DESC LIMIT 1'), "ops|operator|hold|$session|case 12", 'and the owner sees why');
};

subtest 'what it stops' => sub {
	for my $statement ("DELETE FROM cauce.session", 'DELETE FROM cauce.report', "UPDATE cauce.report SET body = 'x'", "UPDATE cauce.session SET title = 'x'",
		"SELECT cauce.archive_session('$session')", q{SELECT cauce.delete_my_data('solo')})
	{
		my $result = $cluster->try_sql(app => $token, $statement);
		is($result->{sqlstate}, '55006', $statement);
		like($result->{err}, qr/HINT:/, 'with a hint');
	}
	$cluster->superuser("UPDATE cauce.session SET started_at = now() - interval '100 days'; SELECT cauce.run_retention()");
	is($cluster->sql(app => $token, 'SELECT body FROM cauce.report'), 'report', 'retention, too');
};

subtest 'and its end' => sub {
	is($cluster->try_sql(app => $token, $release)->{sqlstate}, '42501', 'not by the owner');
	$cluster->sql(ops => undef, $set);
	is($cluster->sql(app => $token, 'SELECT count(*) FROM cauce.my_access_log'), $entries + 2, 'a second reason is noted');
	$cluster->sql(ops => undef, $release);
	is($cluster->sql(app => $token, 'SELECT legal_hold FROM cauce.session'), 'f', 'released');
	is($cluster->sql(app => $token, q{SELECT actor, reason FROM cauce.my_access_log WHERE action = 'release' AND reason <> ''}), 'ops|settled', 'and noted');
	$cluster->sql(ops => undef, "BEGIN; $set; ROLLBACK");
	is($cluster->sql(app => $token, 'SELECT count(*) FROM cauce.my_access_log'), $entries + 3, 'what was rolled back is not');
	$cluster->superuser('SELECT cauce.run_retention()');
	is($cluster->sql(app => $token, 'SELECT count(*) FROM cauce.session'), 0, 'retention goes on');
	is($cluster->superuser('SELECT count(*) FROM cauce.verify_audit()'), 0, 'the audit log verifies');
};

done_testing;
