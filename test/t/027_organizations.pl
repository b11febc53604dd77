# Whose sessions are whose: a session is of the organization where it began, for good; an account joins by itself,
# leaves or is removed, and takes its sessions along without taking them away.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my %token = map { $_ => $cluster->token($_) } qw(north-pro north-pro2 north-admin south-pro south-admin solo);
my %account = map { split /\|/ } split /\n/, $cluster->superuser('SELECT subject, id FROM cauce.account');
my %organization = map { split /\|/ } split /\n/, $cluster->superuser('SELECT name, id FROM cauce.organization');
my $fresh_session = q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id AS s \gset
	INSERT INTO cauce.report (session_id, body) VALUES (:'s', 'report') \g /dev/null
	SELECT :'s'};

# as runs SQL with a subject's token; state gives its SQLSTATE.
sub as { return $cluster->sql(app => $token{ $_[0] }, $_[1]) }
sub state { return $cluster->try_sql(app => $token{ $_[0] }, $_[1])->{sqlstate} }
# sees says whether a subject sees a session's row.
sub sees { return as($_[0], "SELECT count(*) FROM cauce.session WHERE id = '$_[1]'") }

my $before = as(solo => $fresh_session);

subtest 'an invitation tells nothing, and binds nobody' => sub {
	is(as('north-admin', q{SELECT cauce.invite_member('solo')}), as('north-admin', q{SELECT cauce.invite_member('nobody at all')}),
		'whether there is such an account cannot be told');
	is(state($_, q{SELECT cauce.invite_member('x')}), '42501', "$_ invites nobody") for qw(north-pro solo);
	is($cluster->try_sql(app => undef, q{SELECT cauce.invite_member('x')})->{sqlstate}, '42501', 'nor does nobody');
	is(state('north-admin', "SELECT cauce.invite_member($_)"), '22023', "invitation of $_") for q{''}, 'NULL', q{repeat('x', 256)}, q{'x', NULL};
	is(as('north-admin', 'SELECT count(*) FROM cauce.invitation'), 2, 'the admin sees both');
	is(as('solo', 'SELECT organization_id, role FROM cauce.invitation'), "$organization{north}|professional", 'the account its own');
	is(as($_, 'SELECT count(*) FROM cauce.invitation'), 0, "$_ none") for qw(north-pro south-admin south-pro);
	is(as('solo', 'SELECT organization_id IS NULL FROM cauce.account'), 't', 'nothing has changed');
	is(state('solo', "SELECT cauce.join_organization('$organization{south}')"), '42501', 'joining where one was not invited');
	is(state('solo', q{SELECT cauce.join_organization('00000000-0000-4000-8000-000000000000')}), '42501', 'is as where nothing is');
	is(state('south-pro', "SELECT cauce.join_organization('$organization{north}')"), '55000', 'a member of another leaves first');
	is(as('north-admin', q{SELECT cauce.withdraw_invitation('nobody at all')}), 't', 'an invitation is withdrawn');
	is(as('south-admin', q{SELECT cauce.withdraw_invitation('solo')}), 'f', 'not another\'s');
	is(state('solo', "INSERT INTO cauce.invitation VALUES ('$organization{south}', 'solo', 'admin')"), '42501', 'nobody writes one by hand');
	is(state('solo', q{UPDATE cauce.invitation SET role = 'admin'}), '42501', 'or changes it');
};

my $there;
subtest 'joining' => sub {
	as('solo', "SELECT cauce.join_organization('$organization{north}')");
	is(as('solo', 'SELECT organization_id, role FROM cauce.account'), "$organization{north}|professional", 'as invited');
	is(as('solo', 'SELECT count(*) FROM cauce.invitation'), 0, 'the invitation is used up');
	$there = as('solo', $fresh_session);
	is(sees('north-admin', $there), 1, 'the admin sees what begins from now on');
	is(sees('north-admin', $before), 0, 'and nothing from before');
	is(sees('solo', $_), 1, 'the account sees both') for $before, $there;
	my $aside = as('solo', 'INSERT INTO cauce.session (organization_id) VALUES (NULL) RETURNING id');
	is(sees('north-admin', $aside), 1, 'a member has no sessions on the side');
	is(as('north-admin', q{SELECT count(*) FROM cauce.audit_log WHERE action = 'set' AND reason LIKE '%organization_id: none -> %'}), 1, 'it is in the audit log');
};

subtest 'the organization\'s retention is for its sessions' => sub {
	my $days = sub { return as('solo', "SELECT extract(day FROM retain_until - started_at) FROM cauce.session WHERE id = '$_[0]'") };
	as('north-admin', "SELECT cauce.set_organization_retention('$organization{north}', 200, 'delete')");
	is($days->($there), 200, 'what began there');
	is($days->($before), 90, 'not what began before');
	$cluster->superuser("UPDATE cauce.session SET started_at = now() - interval '300 days' WHERE id IN ('$there', '$before')");
	is($cluster->superuser('SELECT id, action, reason FROM cauce.due_session ORDER BY reason'),
		"$before|archive|default retention\n$there|delete|retention of the organization", 'nor its action');
	$cluster->superuser("UPDATE cauce.session SET started_at = now() WHERE id IN ('$there', '$before')");
};

subtest 'content, where the organization reads it' => sub {
	$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'content' WHERE name = 'north'});
	is(as('north-admin', "SELECT count(body::text) FROM cauce.report WHERE account_id = '$account{solo}'"), 1, 'of the sessions that began there alone');
	my $stolen = $cluster->try_sql(postgres => $token{'north-admin'}, "SELECT body::text FROM cauce.report WHERE session_id = '$before'");
	is($stolen->{sqlstate}, '42501', 'whatever gets round row-level security');
};

subtest 'leaving' => sub {
	as('solo', 'SELECT cauce.leave_organization()');
	is(as('solo', 'SELECT organization_id IS NULL, role FROM cauce.account'), 't|professional', 'a member of nothing');
	is(state('solo', 'SELECT cauce.leave_organization()'), '42501', 'once');
	is(sees('solo', $there), 1, 'the sessions stay mine');
	is(sees('north-admin', $there), 1, 'and visible where they took place');
	is(as('north-admin', "SELECT count(body::text) FROM cauce.report WHERE account_id = '$account{solo}'"), 1, 'as their content is');
	as('solo', "UPDATE cauce.session SET title = 'still mine', status = 'ended' WHERE id = '$there'; UPDATE cauce.report SET body = 'new' WHERE session_id = '$there'");
	is(as('solo', "SELECT title FROM cauce.session WHERE id = '$there'"), 'still mine', 'I look after them');
	is(as('solo', "SELECT extract(day FROM retain_until - started_at) FROM cauce.session WHERE id = '$there'"), 200, 'the organization\'s retention still holds for them');
	my $after = as('solo', $fresh_session);
	is(sees('north-admin', $after), 0, 'what begins now is not the organization\'s');
	is(state('solo', "UPDATE cauce.session SET organization_id = NULL WHERE id = '$there'"), '42501', 'nobody takes a session out of it');
	is(as('solo', "SELECT cauce.archive_session('$there'); SELECT cauce.restore_session('$there'); SELECT organization_id FROM cauce.session WHERE id = '$there'"),
		"\n\n$organization{north}", 'an archive brings it back where it was');
	as('solo', "DELETE FROM cauce.session WHERE id = '$there'");
	is(sees('north-admin', $there), 0, 'and the owner erases it');
};

subtest 'an admin and the members' => sub {
	my $members = sub { return as('north-admin', 'SELECT string_agg(subject, \',\' ORDER BY subject) FROM cauce.account') };
	is($members->(), 'north-admin,north-pro,north-pro2', 'sees them');
	is(state('north-admin', "SELECT cauce.$_"), '42501', "not: $_")
	  for "remove_member('$account{'south-pro'}')", "remove_member('$account{solo}')", "set_member_role('$account{'south-pro'}', 'admin')",
	  'remove_member(gen_random_uuid())', 'remove_member(NULL)';
	is(state('north-pro', "SELECT cauce.$_"), '42501', "a professional may not: $_")
	  for "remove_member('$account{'north-pro2'}')", "set_member_role('$account{'north-pro'}', 'admin')";
	as('north-admin', "SELECT cauce.set_member_role('$account{'north-pro2'}', 'admin')");
	is(as('north-pro2', 'SELECT cauce.is_admin()'), 't', 'makes another admin');
	as('north-pro2', "SELECT cauce.remove_member('$account{'north-admin'}')");
	is(as('north-admin', 'SELECT cauce.is_admin(), cauce.organization_id() IS NULL, count(*) FROM cauce.account'), 'f|t|1', 'who removes the first: rights end at once');
	is(state('north-admin', q{SELECT cauce.invite_member('x')}), '42501', 'all of them');
	is(state('north-pro2', $_), '42501', "an admin may not: $_")
	  for "UPDATE cauce.account SET role = 'admin'", "UPDATE cauce.organization SET admin_access = 'content'", 'DELETE FROM cauce.organization',
	  "INSERT INTO cauce.account (subject) VALUES ('x')";
	$cluster->superuser(q{UPDATE cauce.organization SET plan = 'individual' WHERE name = 'north'});
	is(state('north-pro2', q{SELECT cauce.invite_member('x')}), '42501', 'nor anything with plan individual');
	is($cluster->superuser('SELECT count(*) FROM cauce.verify_audit()'), 0, 'the audit log verifies');
};

done_testing;
