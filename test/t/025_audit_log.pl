# Whoever opens content that is not theirs, or changes what holds, is in the audit log before it takes effect: signed,
# chained, visible to the owner, whatever becomes of the transaction; and what is done to the log shows.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Digest::SHA qw(sha256_hex);
use IPC::Run qw(run);
use JSON::PP;
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'");
my %token = map { $_ => $cluster->token($_) } qw(north-pro north-pro2 north-admin south-pro south-admin);
my %account = map { split /\|/ } split /\n/, $cluster->superuser('SELECT subject, id FROM cauce.account');
my %organization = map { split /\|/ } split /\n/, $cluster->superuser('SELECT name, id FROM cauce.organization');
my $nil = '00000000-0000-0000-0000-000000000000';
$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'content' WHERE name = 'north';
	CREATE ROLE auditor LOGIN IN ROLE cauce_auditor; CREATE ROLE ops LOGIN IN ROLE cauce_operator});

# session_of makes a session with a report and gives its id.
sub session_of
{
	my ($who, $id) = @_;
	$id = $id ? "'$id'" : 'DEFAULT';
	return $cluster->sql(app => $token{$who}, "INSERT INTO cauce.session (id, title) VALUES ($id, 'a') RETURNING id AS s \\gset
		INSERT INTO cauce.report (session_id, body) VALUES (:'s', 'report of $who'); SELECT :'s'");
}

# entries counts those that a condition finds.
sub entries { return $cluster->superuser("SELECT count(*) FROM cauce.audit_log WHERE $_[0]") }

# wrong is what verify_audit() finds.
sub wrong { return $cluster->sql(auditor => undef, 'SELECT problem FROM cauce.verify_audit() ORDER BY 1') }

my $session = session_of('north-pro');
my $read = "SELECT body FROM cauce.report WHERE account_id = '$account{'north-pro'}' AND session_id = '$session'";
my $opened = "action = 'open' AND session_id = '$session'";

subtest 'an opening is committed before anything opens' => sub {
	is(entries($opened), 0, 'none so far');
	is($cluster->try_sql(app => $token{'north-admin'}, "BEGIN; $read; ROLLBACK")->{out}, 'report of north-pro', 'read and rolled back');
	is(entries($opened), 1, 'the entry stays');
	$cluster->try_sql(app => $token{'north-admin'}, "BEGIN; SAVEPOINT a; $read; ROLLBACK TO a; $read; COMMIT");
	is(entries($opened), 2, 'one entry a session and transaction, ROLLBACK TO or not');
	is($cluster->try_sql(app => $token{'north-admin'}, "BEGIN READ ONLY; $read; COMMIT")->{out}, 'report of north-pro', 'READ ONLY');
	is(entries($opened), 3, 'is audited as any other');
	is($cluster->try_sql(app => $token{'north-admin'}, "BEGIN ISOLATION LEVEL SERIALIZABLE; $read; COMMIT")->{out}, 'report of north-pro', 'SERIALIZABLE');
	is(entries($opened), 4, 'too');
	my $reader = CauceSession->open($cluster, app => $token{'north-admin'});
	$reader->query("BEGIN; $read");
	is(entries($opened), 5, 'the entry is there while the reader\'s transaction is open');
	my $other = CauceSession->open($cluster, app => $token{'north-admin'});
	$other->query("SET statement_timeout = '5s'");
	is($other->try($read)->{out}, 'report of north-pro', 'which keeps nobody else waiting');
	$reader->query('ROLLBACK');
	$reader->close;
	$other->close;
	is(wrong(), '', 'the log verifies');
};

subtest 'a long reading is one entry a session' => sub {
	$cluster->sql(app => $token{'north-pro'}, "INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)
		SELECT '$session', n, n, n, 'word ' || n FROM generate_series(1, 3000) n");
	my $before = entries($opened);
	is($cluster->sql(app => $token{'north-admin'}, "SELECT count(body::text) FROM cauce.transcript_segment WHERE session_id = '$session'"),
		3000, '3,000 segments');
	is(entries($opened) - $before, 1, 'one entry');
	my @many = map { session_of('north-pro2') } 1 .. 30;
	$before = entries("action = 'open'");
	$cluster->sql(app => $token{'north-admin'}, "SELECT count(body::text) FROM cauce.report WHERE account_id = '$account{'north-pro2'}'");
	is(entries("action = 'open'") - $before, 30, '30 sessions, 30 entries');
};

subtest 'two accounts may have sessions of one id' => sub {
	session_of('north-pro2', $session);
	my $before = entries("action = 'open'");
	is($cluster->sql(app => $token{'north-admin'}, "SELECT count(body::text) FROM cauce.report WHERE session_id = '$session'"), 2, 'both are read');
	is(entries("action = 'open'") - $before, 2, 'and both openings audited');
};

subtest 'many at once' => sub {
	my $before = entries($opened);
	my @readers = map { CauceSession->open($cluster, app => $token{'north-admin'}) } 1 .. 6;
	for my $round (1 .. 5)
	{
		$_->{in} .= "$read;\n" for @readers;
		is($_->try('SELECT 1')->{out}, "report of north-pro\n1", 'read') for @readers;
	}
	$_->close for @readers;
	is(entries($opened) - $before, 30, 'every one is there');
	is(wrong(), '', 'in one chain');
};

subtest 'without its writer nothing opens' => sub {
	my $locker = CauceSession->open($cluster, 'postgres');
	$locker->query('BEGIN; LOCK TABLE cauce.audit_log IN ACCESS EXCLUSIVE MODE');
	my $result = $cluster->try_sql(app => $token{'north-admin'}, $read);
	is("$result->{sqlstate}|$result->{out}", '55000|', 'a log that cannot be written');
	like($result->{err}, qr/the audit log could not be written.*HINT:/s, 'says so');
	$locker->query('ROLLBACK');
	$locker->close;
	is($cluster->try_sql(app => $token{'north-admin'}, $read)->{out}, 'report of north-pro', 'and goes on afterwards');

	$cluster->superuser(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'cauce audit writer'});
	is($cluster->try_sql(app => $token{'north-admin'}, $read)->{out}, 'report of north-pro', 'a writer that was ended is started again');
	is($cluster->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cauce audit writer'}, 0, 15), 1, 'idle, it leaves');
	$cluster->superuser('CREATE DATABASE other');
	is($cluster->try_sql(app => $cluster->token('mallory'), 'SELECT 1', database => 'other')->{sqlstate}, '', 'another database');
	$cluster->superuser('DROP DATABASE other');
};

subtest 'who did what' => sub {
	my $last = sub {
		return $cluster->superuser("SELECT actor, role, action, reason FROM cauce.audit_log WHERE $_[0] ORDER BY at DESC LIMIT 1");
	};
	my $about = sub { return "account_id = '$account{$_[0]}'" };

	is($last->($opened), 'north-admin|admin|open|', 'an admin opens');
	$cluster->sql(app => $token{'north-pro'}, q{SELECT cauce.set_retention(30, 'delete')});
	is($last->($about->('north-pro')), "$account{'north-pro'}|owner|set|retention_days: none -> 30, retention_action: none -> delete", 'an owner sets retention');
	$cluster->sql(app => $token{'north-pro'}, "UPDATE cauce.session SET retention_days = 200 WHERE id = '$session'");
	is($last->($about->('north-pro')), "$account{'north-pro'}|owner|set|retention_days: none -> 200", 'and of one session');
	$cluster->sql(app => $token{'north-admin'}, "SELECT cauce.set_organization_retention('$organization{north}', 60, 'delete')");
	is($last->("chain = '$organization{north}'"), 'north-admin|admin|set|retention_days: none -> 60, retention_action: none -> delete',
		'an admin the organization\'s');
	$cluster->superuser(q{UPDATE cauce.account SET role = 'admin', subject = 'renamed' WHERE subject = 'north-pro2'});
	is($last->($about->('north-pro2')), 'postgres|superuser|set|subject, role: professional -> admin', 'a superuser a role');
	$cluster->superuser(q{UPDATE cauce.account SET role = 'professional', subject = 'north-pro2' WHERE subject = 'renamed'});
	$cluster->superuser("CREATE ROLE lea LOGIN IN ROLE cauce_app; SELECT cauce.set_login_role('$account{'north-pro2'}', 'lea')");
	is($last->($about->('north-pro2')), 'postgres|superuser|set|login_role: none -> lea', 'and a login');
	$cluster->sql(ops => undef, "SELECT cauce.set_legal_hold('$account{'north-pro'}', '$session', 'case 12')");
	is($last->($about->('north-pro')), 'ops|operator|hold|case 12', 'an operator a legal hold');
	$cluster->superuser("UPDATE cauce.session SET legal_hold = false WHERE id = '$session' AND account_id = '$account{'north-pro'}'");
	is($last->($about->('north-pro')), 'postgres|superuser|release|', 'which a superuser releases by hand');
	my $gone = session_of('north-pro');
	$cluster->sql(app => $token{'north-pro'}, "DELETE FROM cauce.session WHERE id = '$gone'");
	like($last->("session_id = '$gone'"), qr/^$account{'north-pro'}\|owner\|erase\|session, request, certificate [0-9a-f-]{36}$/, 'an owner erases');
	$cluster->superuser(q{SELECT cauce.rotate_data_keys()});
	like($last->("chain = '$nil' AND action <> 'server'"), qr/^postgres\|superuser\|key\|rotation \d+ of data keys$/, 'keys are renewed');
	$cluster->superuser('SELECT cauce.rotate_master_key(prepare => true)');
	is($last->("chain = '$nil' AND action <> 'server'"), 'postgres|superuser|key|a master key is to be prepared', 'the master key');

	my $before = entries('true');
	$cluster->sql(app => $token{'north-pro'}, q{BEGIN; SELECT cauce.set_retention(40, 'delete'); ROLLBACK;
		BEGIN; SAVEPOINT a; SELECT cauce.set_retention(41, 'delete'); ROLLBACK TO a; COMMIT});
	is(entries('true') - $before, 0, 'what was undone is not there');
	$cluster->sql(app => $token{'north-pro'}, q{BEGIN; SAVEPOINT a; SELECT cauce.set_retention(42, 'delete'); RELEASE a; SAVEPOINT b;
		SELECT cauce.set_retention(43, 'delete'); ROLLBACK TO b; SELECT cauce.set_retention(44, 'delete'); COMMIT});
	is($cluster->superuser("SELECT string_agg(reason, ';' ORDER BY at) FROM (SELECT * FROM cauce.audit_log WHERE @{[$about->('north-pro')]}
		ORDER BY at DESC LIMIT 2) l"), 'retention_days: 30 -> 42;retention_days: 42 -> 44', 'what was not is, in its order');
	is(wrong(), '', 'all of it verifies');
};

subtest 'who may read it' => sub {
	my $count = sub { return $cluster->sql($_[0] => $_[1], "SELECT count(*), count(DISTINCT account_id) FROM cauce.audit_log WHERE action = 'open'") };
	my ($mine) = split /\|/, $count->(app => $token{'north-pro'});
	is($mine, entries("action = 'open' AND account_id = '$account{'north-pro'}'"), 'an account, what is about it');
	is($cluster->sql(app => $token{'north-pro'}, 'SELECT count(*) FROM cauce.audit_log WHERE account_id <> cauce.account_id()'), 0, 'and nothing else');
	my ($organizations) = split /\|/, $count->(app => $token{'north-admin'});
	is($organizations, entries("action = 'open' AND organization_id = '$organization{north}'"), 'an admin, the organization\'s');
	is($cluster->sql(app => $token{'south-admin'}, "SELECT count(*) FROM cauce.audit_log WHERE organization_id IS DISTINCT FROM '$organization{south}'"),
		0, 'another\'s admin nothing of it');
	is($cluster->sql(app => undef, 'SELECT count(*) FROM cauce.audit_log'), 0, 'nobody, nothing');
	is($cluster->sql(auditor => undef, 'SELECT count(*) > 50 FROM cauce.audit_log'), 't', 'an auditor all');
	is($cluster->try_sql(ops => undef, 'SELECT FROM cauce.audit_log')->{sqlstate}, '42501', 'an operator nothing');
	is($cluster->sql(app => $token{'north-pro'}, "SELECT count(*) FROM cauce.my_access_log WHERE actor = 'north-admin' AND action = 'open'"), $mine,
		'my_access_log has the openings');
	is($cluster->sql(app => $token{'north-pro'}, q{SELECT count(*) FROM cauce.my_access_log WHERE role = 'owner'}), 0, 'and not what I did');
	is($cluster->sql(app => $token{'north-pro'}, 'SELECT count(*) FROM cauce.verify_audit()'), 0, 'an account verifies its own chain');
};

subtest 'refused identities' => sub {
	my $refused = "action = 'refuse'";
	my $before = entries($refused);
	$cluster->try_sql(app => $cluster->token('north-pro', ttl => -5), 'SELECT 1');
	$cluster->try_sql(app => $cluster->token('north-pro', purpose => 'training'), 'SELECT 1');
	$cluster->try_sql(app => $cluster->token('mallory'), 'SELECT count(*) FROM cauce.report');
	$cluster->try_sql(app => 'a.b.c', 'SELECT 1');
	ok($cluster->poll_until("SELECT count(*) FROM cauce.audit_log WHERE $refused", $before + 4, 10), 'are all there') or diag entries($refused);
	is($cluster->superuser("SELECT string_agg(format('%s %s %s', actor, role, reason), ';' ORDER BY at) FROM
			(SELECT * FROM cauce.audit_log WHERE $refused ORDER BY at DESC LIMIT 4) l"),
		q{north-pro subject The token has expired.;north-pro subject The token's purpose is not in cauce.allowed_purposes.;}
		. q{mallory subject The token's subject has no account here.;app role The token's header is malformed or demands an extension.},
		'a subject where the signature held, else the login');
	my $flood = join "\n", map { "SELECT set_config('cauce.token', 'x.y.$_', false);" } 1 .. 500;
	$cluster->superuser("\\set ON_ERROR_STOP off\n\\c - app\n$flood");
	sleep 1;
	cmp_ok(entries($refused) - $before, '<=', 30, 'a flood of them does not fill the log');
	like($cluster->superuser('SELECT count(*) FROM cauce.audit_log WHERE actor ~ \'eyJ\' OR reason ~ \'eyJ\''), qr/^0$/, 'no token is in it');
	is(wrong(), '', 'and the chain holds');
};

subtest 'nobody changes it, and whoever could shows' => sub {
	for my $role (qw(app auditor ops))
	{
		for my $statement (q{UPDATE cauce.audit_log SET reason = 'x'}, 'DELETE FROM cauce.audit_log', 'TRUNCATE cauce.audit_log',
			q{INSERT INTO cauce.audit_log SELECT * FROM cauce.audit_log}, q{SELECT cauce.record_change('x', NULL, NULL, NULL, NULL)},
			q{SELECT cauce.record_at_once('x', NULL, NULL, NULL, NULL)})
		{
			is($cluster->try_sql($role => undef, $statement)->{sqlstate}, '42501', "$role: $statement");
		}
	}
	for my $table (qw(audit_log erasure_certificate))
	{
		for my $statement ("DELETE FROM cauce.$table", "TRUNCATE cauce.$table", "UPDATE cauce.$table SET jws = 'x'",
			"SET session_replication_role = replica; DELETE FROM cauce.$table")
		{
			is($cluster->try_sql(postgres => undef, $statement)->{sqlstate}, '42501', "a superuser: $statement");
		}
	}
	my $altered = "action = 'alter'";
	my $before = entries($altered);
	$cluster->superuser('ALTER TABLE cauce.audit_log DISABLE TRIGGER cauce_append_only');
	is(wrong(), 'trigger cauce_append_only of table cauce.audit_log is off or gone', 'a guard that is off is told of');
	is(entries($altered) - $before, 1, 'and who switched it off');
	is($cluster->superuser("SELECT actor, reason FROM cauce.audit_log WHERE $altered ORDER BY at DESC LIMIT 1"),
		'postgres|ALTER TABLE: cauce.audit_log', 'by name');
	$cluster->superuser('CREATE TABLE public.kept AS SELECT * FROM cauce.audit_log');
	my $victim = "(SELECT id FROM cauce.audit_log WHERE $opened ORDER BY at OFFSET 2 LIMIT 1)";
	my $tamper = sub {
		my ($name, $statement, $expected) = @_;
		$cluster->superuser($statement);
		like(wrong(), $expected, $name);
		$cluster->superuser('DELETE FROM cauce.audit_log; INSERT INTO cauce.audit_log SELECT * FROM public.kept');
	};
	$tamper->('an entry that was changed', "UPDATE cauce.audit_log SET reason = 'harmless' WHERE id = $victim", qr/^changed/);
	$tamper->('another actor', "UPDATE cauce.audit_log SET actor = 'someone' WHERE id = $victim", qr/^changed/);
	$tamper->('an entry that was removed', "DELETE FROM cauce.audit_log WHERE id = $victim", qr/^an entry before it is missing/);
	$tamper->('the beginning of a chain', "DELETE FROM cauce.audit_log WHERE account_id = '$account{'north-pro'}'
		AND at < (SELECT at FROM cauce.audit_log WHERE id = $victim)", qr/^the entries before it are missing/);
	$tamper->('a signature of another statement', "UPDATE cauce.audit_log a SET jws = c.jws, digest = sha256(convert_to(c.jws, 'UTF8'))
		FROM cauce.erasure_certificate c WHERE a.id = $victim AND c.account_id = '$account{'north-pro'}'", qr/^not signed with this keyring|an entry before/m);
	$cluster->superuser('ALTER TABLE cauce.audit_log ENABLE ALWAYS TRIGGER cauce_append_only; DROP TABLE public.kept');
	is(wrong(), '', 'put back, it verifies');
	for my $event (qw(cauce_altered cauce_dropped))
	{
		$cluster->superuser("ALTER EVENT TRIGGER $event DISABLE");
		is(wrong(), "event trigger $event is off or gone", "$event off");
		$cluster->superuser("ALTER EVENT TRIGGER $event ENABLE ALWAYS");
	}
	$before = entries($altered);
	$cluster->superuser('CREATE TABLE public.mine (a int); ALTER TABLE public.mine ADD b int; DROP TABLE public.mine');
	is(entries($altered) - $before, 0, 'what is not cauce\'s is not noted');
	$cluster->superuser('BEGIN; CREATE POLICY p ON cauce.alert; DROP POLICY p ON cauce.alert; ALTER TABLE cauce.alert FORCE ROW LEVEL SECURITY;
		CREATE RULE r AS ON INSERT TO cauce.alert WHERE false DO NOTHING; ALTER FUNCTION cauce.account_id() STABLE; COMMIT;
		DROP RULE r ON cauce.alert');
	is($cluster->superuser("SELECT string_agg(reason, ';' ORDER BY at) FROM (SELECT * FROM cauce.audit_log WHERE $altered ORDER BY at DESC LIMIT 6) l"),
		'CREATE POLICY: p on cauce.alert;DROP POLICY: p on cauce.alert;ALTER TABLE: cauce.alert;CREATE RULE: r on cauce.alert;'
		. 'ALTER FUNCTION: cauce.account_id();DROP RULE: r on cauce.alert', 'a policy, a rule, a function are');
};

subtest 'an entry verifies offline' => sub {
	my ($jws, $digest) = split /\|/, $cluster->superuser("SELECT jws, encode(digest, 'hex') FROM cauce.audit_log WHERE $opened LIMIT 1");
	my $keys = $cluster->superuser('SELECT cauce.certificate_jwks()');
	my ($out, $err) = ('', '');
	open my $file, '>', $cluster->dir . '/jwks' or die $!;
	print $file $keys;
	close $file;
	ok(run([ qw(jose jws ver -i - -k), $cluster->dir . '/jwks', qw(-O -) ], '<', \$jws, '>', \$out, '2>', \$err), 'with any JOSE tool') or diag $err;
	my $payload = decode_json($out);
	is("$payload->{actor} $payload->{action} $payload->{session_id}", "north-admin open $session", 'who, what, which');
	is(sha256_hex($jws), $digest, 'its digest is SHA-256 of it');
	is($cluster->try_sql(app => $jws, 'SELECT 1')->{sqlstate}, '28000', 'it is no token');
	is($cluster->superuser("SELECT cauce.open_certificate('$jws') IS NULL"), 't', 'nor a certificate');
};

subtest 'on a standby nothing opens for others' => sub {
	my $standby = CauceTest->standby_of($cluster);
	ok($standby->catch_up_with($cluster), 'a standby');
	is($standby->try_sql(app => $token{'north-pro'}, $read)->{out}, 'report of north-pro', 'the owner reads');
	my $result = $standby->try_sql(app => $token{'north-admin'}, "SELECT body FROM cauce.report WHERE account_id = '$account{'north-pro'}'");
	is("$result->{sqlstate}|$result->{out}", '25006|', 'the admin does not');
	is($standby->try_sql(app => $cluster->token('mallory'), 'SELECT count(*) FROM cauce.report')->{sqlstate}, '28000', 'a refusal is just a refusal');
	$standby->stop;
};

subtest 'settings and keys of the server' => sub {
	my $noted = sub { return $cluster->superuser("SELECT reason FROM cauce.audit_log WHERE action = 'server' AND reason LIKE '$_[0]%' ORDER BY at") };
	my $visit = sub { $cluster->superuser('SELECT cauce.wake_launcher()') };
	$visit->();
	ok($cluster->poll_until("SELECT count(*) > 0 FROM cauce.audit_log WHERE action = 'server' AND reason LIKE 'cauce.allowed_purposes: care'", 't', 5), 'are noted once') or diag $cluster->log;
	like($noted->('token keys'), qr/^token keys: SHA-256 [0-9a-f]{64}$/, 'the token keys by their digest');
	ok($cluster->poll_until("SELECT count(*) > 0 FROM cauce.audit_log WHERE action = 'server' AND reason = 'master keys: 1 in use, 2'", 't', 5), 'the master keys by number');
	my $all = entries("action = 'server'");
	$cluster->configure("cauce.allowed_purposes = 'care, training'");
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until('SHOW cauce.allowed_purposes', 'care, training'), 'a purpose is added');
	$visit->();
	ok($cluster->poll_until("SELECT count(*) FROM cauce.audit_log WHERE action = 'server'", $all + 1), 'and noted at the next visit, alone') or diag $noted->('');
	is($noted->('cauce.allowed'), "cauce.allowed_purposes: care\ncauce.allowed_purposes: care, training", 'as it is now');
	is($cluster->superuser("SELECT count(*) FROM cauce.audit_log WHERE reason LIKE '%token:%' OR reason LIKE '%pgcrypto_key%'"), 0, 'no secret among them');
	$cluster->configure("cauce.allowed_purposes = 'care'");
	$cluster->pg_ctl('reload');
	is(wrong(), '', 'all verifies');
};

subtest 'its own retention' => sub {
	my $all = entries('true');
	my $chains = $cluster->superuser('SELECT count(*) FROM (SELECT DISTINCT account_id, chain FROM cauce.audit_log) c');
	$cluster->configure("cauce.audit_days = 90");
	$cluster->pg_ctl('stop', '-m', 'fast');
	$cluster->move_clock(100 * 86400);
	$cluster->pg_ctl('start');
	$token{$_} = $cluster->token($_, ttl => 101 * 86400) for qw(north-admin);
	$cluster->superuser('SELECT cauce.confirm_clock(), cauce.wake_launcher()');
	sleep 2;
	is(entries("action = 'prune'"), 0, 'a chain that is ten days too old is left for now');
	$cluster->pg_ctl('stop', '-m', 'fast');
	$cluster->move_clock(130 * 86400);
	$cluster->pg_ctl('start');
	$cluster->superuser('SELECT cauce.confirm_clock(), cauce.wake_launcher()');
	ok($cluster->poll_until("SELECT count(*) > 0 FROM cauce.audit_log WHERE action = 'prune'", 't'), 'at a month it is pruned');
	cmp_ok(entries('at < now() - interval \'90 days\''), '<=', $chains, 'what was too old is gone, but for each chain\'s last');
	like($cluster->superuser(q{SELECT reason FROM cauce.audit_log WHERE action = 'prune' LIMIT 1}), qr/^\d+ entries until .*Z, the last one's digest [0-9a-f]{64}$/, 'and said so');
	is(wrong(), '', 'the chains verify');
	is($cluster->try_sql(postgres => undef, 'DELETE FROM cauce.audit_log')->{sqlstate}, '42501', 'and are append-only again');
};

done_testing;
