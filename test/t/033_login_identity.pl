# An account may be tied to a database login: whoever is connected as that role is the account, with scope
# app and purpose care. A token in force counts instead of the login, whatever it says, and never both.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use CauceWire;
use Test::More;

my $cluster = CauceTest->start;
my %token = map { $_ => $cluster->token($_) } qw(north-pro north-pro2 south-pro solo);
my %id = map { split /\|/ } split /\n/, $cluster->superuser('SELECT subject, id FROM cauce.account');
$cluster->superuser('CREATE ROLE nora LOGIN IN ROLE cauce_app; CREATE ROLE sara LOGIN IN ROLE cauce_app; CREATE ROLE nobody LOGIN IN ROLE cauce_app');
my $tie = sub { return $cluster->try_sql(postgres => undef, "SELECT cauce.set_login_role('$id{$_[0]}', $_[1])") };
is($tie->('north-pro', q{'nora'})->{sqlstate}, '', 'an account is tied to a login');
is($tie->('south-pro', q{'sara'})->{sqlstate}, '', 'and another one');

my $me = q{SELECT coalesce((SELECT subject FROM cauce.account WHERE id = cauce.account_id()), '-'), coalesce(cauce.token_scope(), '-')};
my $session = $cluster->sql(nora => undef, q{INSERT INTO cauce.session (title) VALUES ('hers') RETURNING id});
my $body = 'SELECT string_agg(title::text, $$,$$) FROM cauce.session';

subtest 'a login is its account' => sub {
	is($cluster->sql(nora => undef, $me), 'north-pro|app', 'nora is north-pro');
	is($cluster->sql(sara => undef, $me), 'south-pro|app', 'sara is south-pro');
	is($cluster->sql(nobody => undef, $me), '-|-', 'a role that is no login_role is nobody');
	is($cluster->sql(app => undef, $me), '-|-', 'as is the application without a token');
	is($cluster->sql(nora => undef, $body), 'hers', 'nora reads what is hers');
	is($cluster->sql(app => $token{'north-pro'}, $body), 'hers', 'which a token of the account reads, too');
	is($cluster->sql(sara => undef, 'SELECT count(*) FROM cauce.session'), '0', 'sara sees nothing of it');
	is($cluster->try_sql(nora => undef, qq{INSERT INTO cauce.report (session_id, body) VALUES ('$session', 'written');
		UPDATE cauce.report SET body = body || ' twice'; SELECT body FROM cauce.report})->{out}, 'written twice', 'she writes');
	my $wire = CauceWire->connect($cluster, 'nora');
	is_deeply($wire->execute('SELECT body FROM cauce.report WHERE session_id = $1', [$session])->{rows}, [ ['written twice'] ],
		'as the first statement of a connection, with parameters');
	my $stream = $cluster->sql(nora => undef, "SELECT cauce.stream_token('$session')");
	is($cluster->sql(app => $stream, 'SELECT cauce.token_scope(), cauce.appending_session_id()'), "stream|$session", 'and gives away stream tokens');
};

subtest 'who counts' => sub {
	my %given = (
		none => undef,
		'the same account' => $token{'north-pro'},
		'another account' => $token{'south-pro'},
		'a stream token' => $cluster->token('north-pro', scope => 'stream', session => $session),
	);
	my %expected = (
		nora => { none => 'north-pro|app', 'the same account' => 'north-pro|app', 'another account' => 'south-pro|app', 'a stream token' => '-|stream' },
		nobody => { none => '-|-', 'the same account' => 'north-pro|app', 'another account' => 'south-pro|app', 'a stream token' => '-|stream' },
		postgres => { none => '-|-', 'the same account' => 'north-pro|app', 'another account' => 'south-pro|app', 'a stream token' => '-|stream' },
	);
	my %reads = ('north-pro|app' => 'hers', 'south-pro|app' => '', '-|stream' => '', '-|-' => '');
	for my $role (sort keys %expected)
	{
		for my $what (sort keys %given)
		{
			my $expected = $expected{$role}{$what};
			is($cluster->sql($role => $given{$what}, $me), $expected, "$role, token: $what");
			is($cluster->sql($role => $given{$what}, "$body WHERE title::text = 'hers'"), $reads{$expected}, '... and what opens')
			  if $role ne 'postgres';
		}
	}
	my $open = CauceSession->open($cluster, 'nora');
	is($open->query($me), 'north-pro|app', 'by login');
	is($open->query("BEGIN; SET LOCAL cauce.token = '$token{'south-pro'}'; $me"), 'south-pro|app', 'SET LOCAL: by token');
	is($open->query("COMMIT; $me"), 'north-pro|app', 'after COMMIT: by login again');
	is($open->query("BEGIN; SAVEPOINT a; SET LOCAL cauce.token = '$token{'south-pro'}'; ROLLBACK TO a; $me"), 'north-pro|app', 'and after ROLLBACK TO');
	is($open->query("COMMIT; SET cauce.token = '$token{'solo'}'; $me"), 'solo|app', 'SET');
	is($open->query("$_; $me"), 'north-pro|app', $_) for 'RESET cauce.token';
	$open->query("SET cauce.token = '$token{'solo'}'");
	is($open->query("DISCARD ALL; $me"), 'north-pro|app', 'DISCARD ALL');
	$open->close;
};

subtest 'a refused token is an error, and the login does not stand in for it' => sub {
	my %bad = (expired => $cluster->token('north-pro', ttl => -1), training => $cluster->token('north-pro', purpose => 'training'), rubbish => 'a.b.c');
	for my $what (sort keys %bad)
	{
		my $result = $cluster->try_sql(nora => undef, "BEGIN; SET LOCAL cauce.token = '$bad{$what}'; $body");
		is("$result->{sqlstate} $result->{out}", '28000 ', $what);
	}
	my $unknown = $cluster->try_sql(nora => $cluster->token('mallory'), $body);
	is("$unknown->{sqlstate} $unknown->{out}", '28000 ', 'of an unknown subject');
	my $open = CauceSession->open($cluster, nora => $cluster->token('north-pro', ttl => 2));
	is($open->query($me), 'north-pro|app', 'a token in time');
	sleep 3;
	is($open->try($body)->{sqlstate}, '28000', 'is an error once it has expired');
	is($open->query("RESET cauce.token; $body"), 'hers', 'until it is taken back');
	$open->close;
};

subtest 'a change counts with its commit, in open connections' => sub {
	my $open = CauceSession->open($cluster, 'nora');
	my $busy = CauceSession->open($cluster, 'nora');
	my $late = CauceSession->open($cluster, 'nobody');
	is($_->query($me), 'north-pro|app', 'north-pro') for $open, $busy;
	is($late->query($me), '-|-', 'nobody, which is remembered');
	$busy->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
	my $superuser = CauceSession->open($cluster, 'postgres');
	$superuser->query("BEGIN; SELECT cauce.set_login_role('$id{'north-pro'}', NULL); SELECT cauce.set_login_role('$id{'north-pro2'}', 'nora');
		SELECT cauce.set_login_role('$id{solo}', 'nobody')");
	is($_->query($me), 'north-pro|app', 'not before') for $open, $busy;
	$superuser->query('ROLLBACK');
	is($_->query($me), 'north-pro|app', 'nor after ROLLBACK') for $open, $busy;
	$superuser->query("BEGIN; SELECT cauce.set_login_role('$id{'north-pro'}', NULL); SELECT cauce.set_login_role('$id{'north-pro2'}', 'nora');
		SELECT cauce.set_login_role('$id{solo}', 'nobody'); COMMIT");
	is($_->query('SELECT cauce.account_id()'), $id{'north-pro2'}, 'the login is another account now') for $open, $busy;
	is($late->query($me), 'solo|app', 'and who was nobody is somebody');
	$busy->query('ROLLBACK');
	$superuser->query("SELECT cauce.set_login_role('$id{'north-pro2'}', NULL); SELECT cauce.set_login_role('$id{'north-pro'}', 'nora');
		SELECT cauce.set_login_role('$id{solo}', NULL)");
	is($_->query($me), 'north-pro|app', 'and back') for $open, $busy;
	is($late->query($me), '-|-', 'nobody again');
	$superuser->query('REVOKE cauce_app FROM nora');
	is($open->query("SELECT 1"), '1', 'connections go on');
	$superuser->query('GRANT cauce_app TO nora');
	is($open->query($me), 'north-pro|app', 'a membership is needed, and seen');
	$superuser->query('ALTER ROLE nora SUPERUSER');
	is($open->query('SELECT cauce.account_id()'), '', 'a login that becomes a superuser is nobody');
	$superuser->query('ALTER ROLE nora NOSUPERUSER');
	is($open->query($me), 'north-pro|app', 'until it is none');
	$_->close for $open, $busy, $late, $superuser;
};

subtest 'who is named' => sub {
	is($tie->('solo', q{'nora'})->{sqlstate}, '23505', 'a login is one account at most');
	is($tie->('solo', q{'ghost'})->{sqlstate}, '42704', 'a role that does not exist is refused');
	is($tie->('solo', q{'postgres'})->{sqlstate}, '42501', 'so is a superuser');
	is($cluster->try_sql(postgres => undef, q{SELECT cauce.set_login_role('00000000-0000-4000-8000-000000000000', 'sara')})->{sqlstate}, 'P0002', 'and an account that does not exist');
	$cluster->superuser('CREATE ROLE ops LOGIN IN ROLE cauce_operator, cauce_app');
	for my $role (qw(ops app nora))
	{
		is($cluster->try_sql($role => undef, "SELECT cauce.set_login_role('$id{solo}', '$role')")->{sqlstate}, '42501', "$role may not: it could read everything then");
		is($cluster->try_sql($role => undef, "UPDATE cauce.account SET login_role = '$role'")->{sqlstate}, '42501', '... nor by UPDATE');
	}
	$cluster->superuser(q{INSERT INTO cauce.account (subject, login_role) VALUES ('loaded', 'postgres'), ('loaded2', 'ghost')});
	is($cluster->superuser($me), '-|-', 'a superuser is nobody, also when a row that was loaded says otherwise');
	$cluster->superuser('CREATE ROLE ghost LOGIN IN ROLE cauce_app');
	is($cluster->sql(ghost => undef, $me), '-|-', 'as is a role that was made after the row that names it');
	$cluster->superuser(q{SELECT cauce.set_login_role(id, 'ghost') FROM cauce.account WHERE subject = 'loaded2'});
	is($cluster->sql(ghost => undef, $me), 'loaded2|app', 'until it is named again');
	$cluster->superuser(q{DELETE FROM cauce.account WHERE subject LIKE 'loaded%'});
};

subtest 'its purpose is care' => sub {
	my $open = CauceSession->open($cluster, 'nora');
	is($open->query($me), 'north-pro|app', 'which is allowed');
	$cluster->superuser(q{ALTER SYSTEM SET cauce.allowed_purposes = 'research'; SELECT pg_reload_conf()});
	ok($cluster->poll_until('SHOW cauce.allowed_purposes', 'research'), 'and then is not');
	my $refused = $open->try($body);
	is("$refused->{sqlstate} $refused->{out}", '28000 ', 'an open connection reads nothing more');
	like($refused->{err}, qr/identity of this login is refused.*DETAIL:.*cauce\.allowed_purposes.*HINT/s, 'and is told why');
	is($cluster->try_sql(nora => undef, q{INSERT INTO cauce.session (title) VALUES ('x')})->{sqlstate}, '28000', 'nor does a new one write');
	is($cluster->try_sql(nora => $cluster->token('north-pro', purpose => 'research'), $me)->{out}, 'north-pro|app', 'a token may be for another purpose');
	$cluster->superuser(q{ALTER SYSTEM RESET cauce.allowed_purposes; SELECT pg_reload_conf()});
	ok($cluster->poll_until('SHOW cauce.allowed_purposes', 'care'), 'it is allowed again');
	is($open->query($me), 'north-pro|app', 'and all is well');
	$open->close;
};

subtest 'an account that has ended' => sub {
	$cluster->superuser(q{CREATE ROLE brief LOGIN IN ROLE cauce_app; SELECT cauce.create_account('brief'); UPDATE cauce.account SET login_role = 'brief' WHERE subject = 'brief'});
	my $open = CauceSession->open($cluster, 'brief');
	is($open->query($me), 'brief|app', 'is somebody');
	$open->query(q{INSERT INTO cauce.session (title) VALUES ('x')});
	like($open->query(q{SELECT cauce.delete_my_data('brief')}), qr/^[0-9a-f-]{36}$/, 'erases itself');
	is($open->query($me), '-|-', 'and is simply nobody');
	is($cluster->sql(brief => undef, $me), '-|-', 'in a new connection, too');
	is($cluster->try_sql(brief => undef, q{INSERT INTO cauce.session (title) VALUES ('x')})->{sqlstate}, '28000', 'who writes nothing');
	$open->close;
};

subtest 'nothing of it reaches the log' => sub {
	$cluster->superuser(q{ALTER ROLE nora SET search_path = cauce, public; ALTER SYSTEM SET log_statement = 'all'; ALTER SYSTEM SET log_min_duration_statement = 0; SELECT pg_reload_conf()});
	ok($cluster->poll_until('SHOW log_statement', 'all'), 'every statement is logged');
	# Each is the first of its connection, and names the schema nowhere.
	$cluster->try_sql(nora => undef, $_)
	  for "INSERT INTO report (session_id, body) VALUES ('$session', 'qzlogin one')", q{SELECT 'qzlogin two' FORM report},
	  q{SELECT 'qzlogin three'::int}, q{SELECT nosuch('qzlogin four')}, q{DO $$ BEGIN RAISE LOG 'qzlogin five'; END $$},
	  q{BEGIN; SELECT 1/0; SELECT 'qzlogin six'; ROLLBACK; SELECT 'qzlogin seven'};
	$cluster->try_sql(nobody => undef, q{SELECT 1; SELECT 'qzplain'});
	my $wire = CauceWire->connect($cluster, 'nora');
	$wire->execute('SELECT $1::int', ['qzlogin eight']);
	$cluster->superuser(q{ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()});
	my $log = $cluster->log;
	unlike($log, qr/qzlogin/, 'not even of the first statement');
	like($log, qr/qzplain/, 'while those of a login that is nobody are logged');
};

done_testing;
