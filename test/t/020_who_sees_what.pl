# Only the owner sees content; an organization's admin sees its sessions, and content only when the
# organization says so, audited; nobody else sees a row, and whoever gets round row-level security
# sees sealed forms.
use strict;
use warnings;
use CauceTest;
use CauceWire;
use Test::More;

my $cluster = CauceTest->start;
my @subjects = qw(north-pro north-pro2 north-admin south-pro south-admin solo);
my %token = map { $_ => $cluster->token($_) } @subjects;
my %account = map { split /\|/ } split /\n/, $cluster->superuser('SELECT subject, id FROM cauce.account');
my %owner = reverse %account;
my %session;

# The sealed column of each table.
my %content = (session => 'title', transcript_segment => 'body', report => 'body', alert => 'detail');

# views gives, table by table, what a role sees: the owners' subjects, and whether the content is open (!) or sealed (-).
sub views
{
	my ($role, $who) = @_;
	my %seen = map { $_ => [] } keys %content;
	my $rows = $cluster->sql($role => $who,
		join ';', map { "SELECT '$_', account_id, $content{$_} FROM cauce.$_" } sort keys %content);
	for (split /\n/, $rows)
	{
		my ($table, $id, $text) = split /\|/;
		my $state = $text eq "$table of $owner{$id}" ? '!' : $text =~ /^cauce1:[A-Za-z0-9+\/]+=*$/ ? '-' : '?';
		push @{ $seen{$table} }, "$owner{$id}$state";
	}
	return { map { $_ => join ' ', sort @{ $seen{$_} } } keys %seen };
}

# view is views for one table.
sub view
{
	my ($role, $who, $table) = @_;
	return views($role, $who)->{$table};
}

# marked gives subjects as view() does: own is open, the others are sealed.
sub marked
{
	my ($own, $others, @who) = @_;
	return join ' ', sort map { $_ . ($_ eq $own ? '!' : $others) } @who;
}

# Everybody has one session of each kind of content.
for my $subject (@subjects)
{
	$session{$subject} = $cluster->sql(
		app => $token{$subject},
		"INSERT INTO cauce.session (title) VALUES ('session of $subject') RETURNING id AS session \\gset
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)
			VALUES (:'session', 0, 0, 1, 'transcript_segment of $subject');
		INSERT INTO cauce.report (session_id, body) VALUES (:'session', 'report of $subject');
		INSERT INTO cauce.alert (session_id, kind, detail) VALUES (:'session', 'x', 'alert of $subject');
		SELECT :'session'");
}

my %organization = (
	north => [qw(north-pro north-pro2 north-admin)],
	south => [qw(south-pro south-admin)]);

subtest 'SELECT: every identity on every table' => sub {
	for my $subject (@subjects)
	{
		my ($home, $is_admin) = $subject =~ /^(\w+)-(admin)?/;
		my ($app, $superuser) = map { views($_ => $token{$subject}) } qw(app postgres);
		for my $table (sort keys %content)
		{
			my @seen = $is_admin && $table eq 'session' ? @{ $organization{$home} } : ($subject);
			is($app->{$table}, marked($subject, '-', @seen), "$subject on $table");
			is($superuser->{$table}, marked($subject, '-', @subjects), "superuser as $subject on $table: own content only");
		}
	}
	my ($app, $superuser) = map { views($_ => undef) } qw(app postgres);
	for my $table (sort keys %content)
	{
		is($app->{$table}, '', "nobody on $table");
		is($superuser->{$table}, marked('', '-', @subjects), "superuser without identity on $table");
	}
	is($cluster->sql(app => $token{'south-pro'}, "SELECT count(*) FROM cauce.session WHERE id = '$session{'north-pro'}'"),
		'0', 'knowing an id does not help');
	is($cluster->sql(app => $token{'south-pro'}, 'SELECT count(*) FROM cauce.transcript'), '1', 'nor does the view');
};

subtest 'roles that get round row-level security get sealed forms' => sub {
	$cluster->superuser('CREATE ROLE bypass LOGIN BYPASSRLS IN ROLE cauce_app; CREATE ROLE keeper LOGIN IN ROLE cauce_app;
		ALTER TABLE cauce.report OWNER TO keeper');
	is(view(bypass => undef, 'report'), marked('', '-', @subjects), 'BYPASSRLS without identity');
	is(view(bypass => $token{'south-pro'}, 'report'), marked('south-pro', '-', @subjects), 'BYPASSRLS as south-pro');
	is(view(keeper => undef, 'report'), '', 'the table\'s owner is under its policies');
	$cluster->sql(keeper => undef, 'ALTER TABLE cauce.report NO FORCE ROW LEVEL SECURITY');
	is(view(keeper => undef, 'report'), marked('', '-', @subjects), 'and gets sealed forms when it lifts them');
	$cluster->superuser('ALTER TABLE cauce.report FORCE ROW LEVEL SECURITY; ALTER TABLE cauce.report OWNER TO postgres');
};

subtest 'the cast to text is an error, never ciphertext' => sub {
	my $nobody = $cluster->try_sql(postgres => undef, 'SELECT body::text FROM cauce.report');
	is($nobody->{sqlstate}, '28000', 'without identity: 28000');
	like($nobody->{err}, qr/DETAIL:.*\n?HINT:/s, 'with DETAIL and HINT');
	my $other = $cluster->try_sql(postgres => $token{'south-pro'}, "SELECT body::text FROM cauce.report WHERE account_id = '$account{solo}'");
	is($other->{sqlstate}, '42501', 'as another account: 42501');
	like($other->{err}, qr/DETAIL:.*\n?HINT:/s, 'with DETAIL and HINT');
	for my $expression (
		'length(body)', "body ILIKE '%x%'", "body || 'x'", "to_tsvector('simple', body)", 'body::varchar')
	{
		my $result = $cluster->try_sql(postgres => undef, "SELECT $expression FROM cauce.report");
		is("$result->{sqlstate} $result->{out}", '28000 ', "$expression without identity");
	}
	is($cluster->try_sql(app => $token{'north-admin'}, 'SELECT length(title) FROM cauce.session')->{sqlstate},
		'42501', 'an admin who may list sessions cannot open their titles');
};

subtest 'a leaky function learns nothing' => sub {
	$cluster->superuser(q{CREATE FUNCTION leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
		AS $$ BEGIN RAISE NOTICE 'leaked %', $1; RETURN true; END $$});
	my $result = $cluster->try_sql(app => $token{'south-pro'}, 'SELECT count(*) FROM cauce.report WHERE leak(body)');
	is($result->{out}, '1', 'it runs');
	is(() = $result->{err} =~ /leaked/g, 1, 'over own rows alone');
	$result = $cluster->try_sql(app => $token{'north-admin'}, 'SELECT count(*) FROM cauce.session WHERE leak(title)');
	unlike($result->{err}, qr/leaked session of north-pro/, 'and no content for an admin');
};

subtest 'writing for others' => sub {
	my ($mine, $theirs) = @session{qw(south-pro north-pro)};
	my $try = sub { return $cluster->try_sql(app => $token{'south-pro'}, @_) };
	my $account = $account{'north-pro'};
	my $none = '00000000-0000-4000-8000-000000000000';

	my %forged = (
		session => "INSERT INTO cauce.session (account_id, title) VALUES ('$account', 'forged')",
		transcript_segment => "INSERT INTO cauce.transcript_segment (account_id, session_id, seq, start_ms, end_ms, body)
			VALUES ('$account', '$theirs', 9, 0, 0, 'forged')",
		report => "INSERT INTO cauce.report (account_id, session_id, body) VALUES ('$account', '$theirs', 'forged')",
		alert => "INSERT INTO cauce.alert (account_id, session_id, kind) VALUES ('$account', '$theirs', 'forged')");
	for my $table (sort keys %forged)
	{
		is($try->($forged{$table})->{sqlstate}, '42501', "$table: INSERT for another account");
		is($try->("UPDATE cauce.$table SET account_id = '$account'")->{sqlstate}, '42501', "$table: UPDATE of account_id");
		is($try->("WITH gone AS (DELETE FROM cauce.$table WHERE account_id = '$account' RETURNING 1) SELECT count(*) FROM gone")->{out},
			'0', "$table: DELETE of another account's row finds none");
		is($try->("WITH done AS (UPDATE cauce.$table SET $content{$table} = 'mine' WHERE account_id = '$account' RETURNING 1)
			SELECT count(*) FROM done")->{out}, '0', "$table: UPDATE of another account's row finds none");
	}
	my $real = $try->($forged{report});
	my $invented = $try->($forged{report} =~ s/\Q$theirs\E/$none/r);
	is($real->{err}, $invented->{err}, 'whether a foreign session exists cannot be told from the error');
	my $foreign = $try->("INSERT INTO cauce.report (session_id, body) VALUES ('$theirs', 'forged')");
	is($foreign->{sqlstate}, '23503', 'one\'s own row in a foreign session: no such session');
	my $unknown = $try->("INSERT INTO cauce.report (session_id, body) VALUES ('$none', 'forged')");
	is($foreign->{err} =~ s/$theirs/ID/gr, $unknown->{err} =~ s/$none/ID/gr, 'as for one that nobody has');
	is($try->("UPDATE cauce.report SET session_id = '$theirs'")->{sqlstate}, '42501', 'moving a report to another session');
	is($try->("INSERT INTO cauce.session (organization_id) SELECT organization_id FROM (VALUES
		('@{[$cluster->superuser(q{SELECT id FROM cauce.organization WHERE name = 'north'})]}'::uuid)) v (organization_id)")->{sqlstate},
		'42501', 'a session in a foreign organization');
	is($try->("UPDATE cauce.account SET organization_id = NULL")->{sqlstate}, '42501', 'leaving the organization oneself');
	is($try->("UPDATE cauce.account SET role = 'admin'")->{sqlstate}, '42501', 'becoming an admin');
	is($try->("UPDATE cauce.session SET retain_until = 'infinity'")->{sqlstate}, '42501', 'setting retain_until');
	is($try->("UPDATE cauce.session SET legal_hold = true")->{sqlstate}, '42501', 'setting a legal hold');
	is($try->('DELETE FROM cauce.data_key')->{sqlstate}, '42501', 'touching keys');
	is($try->('SELECT wrapped FROM cauce.data_key')->{sqlstate}, '42501', 'reading keys');
	is($cluster->superuser("SELECT count(*) FROM cauce.report WHERE account_id = '$account'"), '1', 'nothing came of it');
	is($cluster->try_sql(app => undef, "INSERT INTO cauce.session (title) VALUES ('x')")->{sqlstate}, '28000', 'nobody: 28000');
	is($cluster->try_sql(app => undef, $forged{report})->{sqlstate}, '28000', 'nobody with a forged account: 28000');
	is($cluster->try_sql(postgres => undef, "UPDATE cauce.session SET account_id = '$account' WHERE id = '$mine'")->{sqlstate},
		'0A000', 'not even a superuser moves a session');
	is($cluster->try_sql(postgres => undef, "UPDATE cauce.report SET session_id = '$theirs', account_id = '$account'
		WHERE session_id = '$mine'")->{sqlstate}, '42501', 'nor a report, whose content it cannot open');
};

subtest 'two accounts may choose the same id' => sub {
	my $same = $session{'north-pro'};
	$cluster->sql(app => $token{'south-pro'}, "INSERT INTO cauce.session (id, title) VALUES ('$same', 'session of south-pro');
		INSERT INTO cauce.report (session_id, body) VALUES ('$same', 'report of south-pro')");
	is(view(app => $token{'north-pro'}, 'report'), 'north-pro!', 'each sees its own');
	$cluster->sql(app => $token{'south-pro'}, "DELETE FROM cauce.session WHERE id = '$same'");
	is(view(app => $token{'north-pro'}, 'report'), 'north-pro!', 'and erases its own');
};

subtest 'a sealed form from an application is ordinary text' => sub {
	my $stolen = $cluster->superuser("SELECT body FROM cauce.report WHERE account_id = '$account{'north-pro'}'");
	like($stolen, qr/^cauce1:/, 'a stolen value');
	my $mine = $session{solo};
	for my $cast ("'$stolen'", "'$stolen'::text", "'$stolen'::varchar")
	{
		is($cluster->sql(app => $token{solo}, "INSERT INTO cauce.report (session_id, body) VALUES ('$mine', $cast) RETURNING body"),
			$stolen, 'comes back as it went in');
	}
	is($cluster->sql(app => $token{'north-pro'}, "SELECT '$stolen'::cauce.encrypted_text"), $stolen, 'even from its owner');
	$cluster->sql(app => $token{solo}, "DELETE FROM cauce.report WHERE body ILIKE 'cauce1:%'");
};

subtest 'operators and auditors never see content' => sub {
	$cluster->superuser('CREATE ROLE ops LOGIN IN ROLE cauce_operator; CREATE ROLE auditor LOGIN IN ROLE cauce_auditor');
	is($cluster->sql(ops => undef, 'SELECT count(*) FROM (SELECT account_id, id, retain_until FROM cauce.session) s'), 6, 'operator: metadata');
	is($cluster->try_sql(ops => undef, "SELECT $_")->{sqlstate}, '42501', "operator: not $_")
	  for 'title FROM cauce.session', 'body FROM cauce.transcript_segment', 'body FROM cauce.report',
	  'display_name FROM cauce.account', 'bundle FROM cauce.archived_session', 'wrapped FROM cauce.data_key',
	  'pattern FROM cauce.alert_rule', '* FROM cauce.audit_log';
	is($cluster->sql(auditor => undef, 'SELECT count(*) FROM cauce.erasure_certificate'), '2', 'auditor: certificates');
	is($cluster->try_sql(auditor => undef, "SELECT $_")->{sqlstate}, '42501', "auditor: not $_")
	  for 'id FROM cauce.session', 'body FROM cauce.report', 'id FROM cauce.account';
	is($cluster->try_sql(app => $token{'north-pro'}, "SELECT $_")->{sqlstate}, '42501', "application: not $_")
	  for q{cauce.create_account('x')}, q{cauce.create_organization('x')}, 'cauce.run_retention()', 'cauce.perform_retention(1)',
	  'cauce.keyring_create()', q{cauce.record_change('x', NULL, NULL, NULL, NULL)},
	  q{cauce.set_organization_retention(cauce.organization_id(), 1)}, 'count(*) FROM cauce.retention_run';
};

subtest 'an admin of an organization with admin_access content' => sub {
	my $north = "north-pro north-pro2 north-admin";
	$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'content' WHERE name = 'north'});
	my $opened = join ' ', sort map { "$_!" } split / /, $north;
	my $seen = views(app => $token{'north-admin'});
	is($seen->{$_}, $opened, "reads $_ of the organization, in clear") for sort keys %content;
	is(view(app => $token{'south-admin'}, 'report'), 'south-admin!', 'another organization\'s admin does not');
	is(view(app => $token{'north-pro2'}, 'report'), 'north-pro2!', 'nor does a colleague');

	my $log = 'SELECT actor, role, action, session_id, count(*) FROM cauce.my_access_log GROUP BY 1, 2, 3, 4';
	is($cluster->sql(app => $token{'north-pro'}, $log), "north-admin|admin|open|$session{'north-pro'}|4",
		'the owner sees each of the four openings');
	is($cluster->sql(app => $token{'north-pro2'}, $log), "north-admin|admin|open|$session{'north-pro2'}|4", 'so does the other owner');
	is($cluster->sql(app => $token{$_}, $log), '', "$_ has nothing to see") for qw(north-admin south-pro solo);
	is($cluster->superuser("SELECT count(*) FROM cauce.audit_log WHERE actor = 'north-admin'"), '8', 'the audit log has them all');
	like($cluster->log, qr/session $session{'north-pro'} of account $account{'north-pro'} was opened by account $account{'north-admin'}/,
		'the server log says so, too');
	unlike($cluster->log, qr/(report|session|alert|segment) of north/, 'without content');

	my $wire = CauceWire->connect($cluster, 'app');
	$wire->execute(q{SELECT set_config('cauce.token', $1, false)}, [ $token{'north-admin'} ]);
	my $result = eval { $wire->execute('SELECT body FROM cauce.report WHERE session_id = $1', [ $session{'north-pro'} ]) };
	is($result && $result->{rows}[0][0], 'report of north-pro', 'by the extended protocol, as drivers do');
	$wire->close;

	my $write = $cluster->try_sql(app => $token{'north-admin'}, "UPDATE cauce.report SET body = 'x' WHERE account_id <> cauce.account_id();
		DELETE FROM cauce.report WHERE account_id <> cauce.account_id();
		DELETE FROM cauce.session WHERE account_id <> cauce.account_id()");
	is($write->{sqlstate}, '', 'an admin\'s changes find no rows');
	is(view(app => $token{'north-pro'}, 'report'), 'north-pro!', 'and change nothing');
	is($cluster->try_sql(app => $token{'north-admin'}, "INSERT INTO cauce.report (account_id, session_id, body)
		VALUES ('$account{'north-pro'}', '$session{'north-pro'}', 'x')")->{sqlstate}, '42501', 'nor may it add');
};

subtest 'rights end with what they came from' => sub {
	$cluster->superuser(q{UPDATE cauce.organization SET plan = 'individual' WHERE name = 'north'});
	is(view(app => $token{'north-admin'}, $_), 'north-admin!', "no plan for admins: $_") for qw(report session);
	$cluster->superuser(q{UPDATE cauce.organization SET plan = 'business' WHERE name = 'north'});
	$cluster->superuser(q{UPDATE cauce.account SET role = 'professional' WHERE subject = 'north-admin'});
	is(view(app => $token{'north-admin'}, $_), 'north-admin!', "no admin any more: $_") for qw(report session);
	$cluster->superuser(q{UPDATE cauce.account SET role = 'admin' WHERE subject = 'north-admin'});
	$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'sessions' WHERE name = 'north'});
	is(view(app => $token{'north-admin'}, 'report'), 'north-admin!', 'access to content is taken back');
};

subtest 'identity is read once a statement, and the primary key serves' => sub {
	my $plan = $cluster->sql(app => $token{'north-pro'}, "SET enable_seqscan = off; EXPLAIN (COSTS OFF)
		SELECT body FROM cauce.transcript_segment WHERE session_id = '$session{'north-pro'}'");
	like($plan, qr/Index Scan using transcript_segment_pkey.*Index Cond: .*account_id = ANY \((?:\$\d|\(InitPlan \d+\)\.col1)\).*session_id = /s, 'by account and session');
	unlike($plan =~ s/^\s*InitPlan.*?(?=\n\s*(->|InitPlan|SubPlan|Index))//gmsr, qr/cauce\.account_id\(\)/, 'no call per row');
};

done_testing;
