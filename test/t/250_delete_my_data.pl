# cauce.delete_my_data() erases an account: at commit nothing of it opens or is left, one certificate names
# every key, whatever others are writing meanwhile; refused or rolled back it changes nothing.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use JSON::PP;
use POSIX ();
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'");
my %token = map { $_ => $cluster->token($_) } qw(south-pro north-admin);
my $canary = 'qzerasedcanary';

# new_account makes an account with two sessions, one of them with content, an archive and a rule.
my $serial = 0;

sub new_account
{
	my (%option) = @_;
	my $subject = 'leaver-' . ++$serial;
	my $id = $cluster->superuser("SELECT cauce.create_account('$subject', (SELECT id FROM cauce.organization WHERE name = 'north'),
		display_name => '$canary name', email => '$canary\@example.org')");
	my $token = $cluster->token($subject);
	my $session = $option{empty} ? '' : $cluster->sql(app => $token, qq{
		INSERT INTO cauce.session (title) VALUES ('$canary') RETURNING id AS a \\gset
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) SELECT :'a', n, 0, 1, '$canary' FROM generate_series(1, 3) n;
		INSERT INTO cauce.report (session_id, body) VALUES (:'a', '$canary'), (:'a', '$canary');
		INSERT INTO cauce.alert (session_id, kind, detail) VALUES (:'a', 'k', '$canary');
		INSERT INTO cauce.session (title) VALUES ('$canary'), ('to be archived');
		SELECT FROM (SELECT cauce.archive_session(id) FROM cauce.session WHERE title = 'to be archived') x;
		INSERT INTO cauce.alert_rule (account_id, pattern, kind) VALUES (cauce.account_id(), 'sleep', 'k');
		SELECT :'a'});
	return { subject => $subject, id => $id, token => $token, session => $session =~ s/^\n//r };
}

# everything gives all rows of every table that have something of an account, in a form to compare; without certificates and audit log.
sub everything
{
	my ($who) = @_;
	my @tables = split /\n/, $cluster->superuser(q{SELECT c.oid::regclass FROM pg_class c
		WHERE relkind = 'r' AND relnamespace::regnamespace::text IN ('cauce', 'public')
			AND relname NOT IN ('erasure_certificate', 'audit_log') ORDER BY c.oid::regclass::text});
	my $rows = join ' UNION ALL ', map { "SELECT '$_ ' || t::text AS r FROM $_ t" } @tables;
	return $cluster->superuser("SELECT r FROM ($rows) x WHERE r LIKE '%$who->{id}%' OR r LIKE '%$who->{subject}%' ORDER BY r COLLATE \"C\"");
}

# erase gives what delete_my_data() of an account comes to.
sub erase { return $cluster->try_sql(app => $_[0]{token}, "SELECT cauce.delete_my_data('$_[0]{subject}')") }

# aside runs code in a process of its own and gives its pid; its status says whether code was true.
sub aside
{
	my ($code) = @_;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;
	POSIX::_exit($code->() ? 0 : 1);
}

sub ended { waitpid $_[0], 0; return $? }

# waiting waits until so many connections wait for a lock.
sub waiting
{
	my ($count) = @_;
	return $cluster->poll_until("SELECT count(*) >= @{[ $count // 1 ]} FROM pg_stat_activity WHERE wait_event_type = 'Lock'", 't', 20);
}

sub certificates { return $cluster->superuser("SELECT count(*) FROM cauce.erasure_certificate WHERE account_id = '$_[0]{id}'") }

$cluster->superuser(q{CREATE TABLE public.hoard (body cauce.encrypted_text); GRANT SELECT ON public.hoard TO app;
	CREATE ROLE auditor LOGIN IN ROLE cauce_auditor; CREATE ROLE streamer LOGIN IN ROLE cauce_stream;
	UPDATE cauce.organization SET admin_access = 'content'});

subtest 'who may not' => sub {
	my $who = new_account();
	my $before = everything($who);
	my $other = $cluster->try_sql(app => $token{'south-pro'}, "SELECT cauce.delete_my_data('$who->{subject}')");
	is($other->{sqlstate}, '22023', 'somebody else who names the account');
	like($other->{err}, qr/DETAIL:.*HINT:/s, 'is told why, and what to do');
	for my $subject ('NULL', "''", "'$who->{subject} '", "upper('$who->{subject}')", "'$who->{id}'", "'%'")
	{
		is($cluster->try_sql(app => $who->{token}, "SELECT cauce.delete_my_data($subject)")->{sqlstate}, '22023', "its owner who confirms with $subject");
	}
	is($cluster->try_sql(app => undef, "SELECT cauce.delete_my_data('$who->{subject}')")->{sqlstate}, '28000', 'no identity');
	is($cluster->try_sql(postgres => undef, "SELECT cauce.delete_my_data('$who->{subject}')")->{sqlstate}, '28000', 'a superuser without one');
	is($cluster->try_sql(postgres => $token{'north-admin'}, "SELECT cauce.delete_my_data('$who->{subject}')")->{sqlstate}, '22023', 'a superuser with another');
	my $stream = $cluster->token($who->{subject}, scope => 'stream', session => $who->{session});
	is($cluster->try_sql(app => $stream, "SELECT cauce.delete_my_data('$who->{subject}')")->{sqlstate}, '28000', 'a stream token');
	is($cluster->try_sql(streamer => $who->{token}, "SELECT cauce.delete_my_data('$who->{subject}')")->{sqlstate}, '42501', 'a role that was not granted it');
	is($cluster->try_sql(app => $who->{token}, "BEGIN READ ONLY; SELECT cauce.delete_my_data('$who->{subject}')")->{sqlstate}, '25006', 'a transaction that cannot write');
	is(everything($who), $before, 'nothing has changed');
	is(certificates($who), '0', 'nor been certified');
};

subtest 'gone everywhere at commit' => sub {
	my $who = new_account();
	my $bystander = new_account();
	my $theirs = everything($bystander);
	$cluster->superuser("INSERT INTO public.hoard SELECT body FROM cauce.report WHERE account_id = '$who->{id}'
		UNION ALL SELECT display_name FROM cauce.account WHERE id = '$who->{id}'");
	my @key = split /\n/, $cluster->superuser("SELECT DISTINCT id FROM cauce.data_key WHERE account_id = '$who->{id}' ORDER BY id");
	is(scalar @key, 4, 'keys of an account, two sessions and an archive');
	my $epoch = $cluster->superuser("SELECT max(epoch) FROM cauce.data_key WHERE account_id = '$who->{id}'");
	my @open = map { CauceSession->open($cluster, app => $who->{token}) } 1 .. 2;
	my $admin = CauceSession->open($cluster, app => $token{'north-admin'});
	is($_->query('SELECT count(body::text) FROM public.hoard'), '3', 'a connection has the keys and opens copies') for @open;
	is($admin->query("SELECT count(body::text) FROM cauce.report WHERE account_id = '$who->{id}'"), '2', 'so does the admin\'s');
	$open[1]->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(body::text) FROM public.hoard');

	my $eraser = CauceSession->open($cluster, app => $who->{token});
	my $certificate = $eraser->query("BEGIN; SELECT cauce.delete_my_data('$who->{subject}')");
	is($open[0]->query('SELECT count(body::text) FROM public.hoard'), '3', 'before the commit they open elsewhere');
	$eraser->query('COMMIT');
	like($open[0]->try('SELECT count(body::text) FROM public.hoard')->{sqlstate}, qr/^(28000|XX001)$/, 'at commit they open nowhere');
	like($open[1]->try('SELECT count(body::text) FROM public.hoard')->{sqlstate}, qr/^(28000|XX001)$/, 'nor in a transaction that began before');
	is($open[0]->try('SELECT 1 FROM cauce.session')->{sqlstate}, '28000', 'the token names nobody any more');
	is($admin->query("SELECT count(*) FROM cauce.report WHERE account_id = '$who->{id}'"), '0', 'the admin sees nothing');
	is($cluster->try_sql(app => $who->{token}, "SELECT cauce.delete_my_data('$who->{subject}')")->{sqlstate}, '28000', 'there is nobody to be erased twice');
	is(everything($who), '', 'no row of any table has anything of it');
	is(everything($bystander), $theirs, 'nothing of another account has changed');

	my $payload = decode_json($cluster->superuser("SELECT cauce.open_certificate(jws) FROM cauce.erasure_certificate WHERE id = '$certificate'"));
	is_deeply($payload->{counts}, { sessions => 2, segments => 3, reports => 2, alerts => 1, archives => 1 }, 'the certificate counts');
	is("$payload->{subject} $payload->{reason}", 'account request', 'says what and why');
	is_deeply([ sort @{ $payload->{keys} } ], \@key, 'and names every key');
	is($payload->{last_epoch}, $epoch, 'and the last epoch of all');
	unlike(encode_json($payload), qr/$canary|leaver/, 'and no person');
	is(certificates($who), '1', 'it is the only one');
	is($cluster->sql(auditor => undef, "SELECT cauce.verify_certificate('$certificate')"), 't', 'it verifies');

	my $new = $cluster->superuser("SELECT cauce.create_account('$who->{subject}')");
	isnt($new, $who->{id}, 'the subject can have a new account, with another id');
	is($cluster->sql(app => $who->{token}, "SELECT (SELECT count(*) FROM cauce.session), (SELECT count(*) FROM cauce.erasure_certificate),
		(SELECT count(*) FROM cauce.my_access_log)"), '0|0|0', 'which has nothing of the old one');
	is($open[0]->try('SELECT body::text FROM public.hoard')->{sqlstate}, 'XX001', 'and opens nothing of it');
	is($cluster->try_sql(postgres => undef, "INSERT INTO cauce.account (id, subject, email) VALUES ('$who->{id}', 'again', 'x')")->{sqlstate}, '28000', 'the old id gets no key any more');
	$_->close for @open, $admin, $eraser;
	$cluster->superuser('TRUNCATE public.hoard');
};

subtest 'a chain goes on from what was erased before' => sub {
	my $who = new_account();
	$cluster->sql(app => $who->{token}, 'DELETE FROM cauce.report; DELETE FROM cauce.session');
	$cluster->sql(app => $token{'north-admin'}, "SELECT count(display_name) FROM cauce.account WHERE id = '$who->{id}'");
	is(erase($who)->{status}, 0, 'it is erased');
	is($cluster->superuser("SELECT count(*), bool_and(cauce.verify_certificate(id)), count(*) FILTER (WHERE subject = 'account')
		FROM cauce.erasure_certificate WHERE account_id = '$who->{id}'"), '4|t|1', 'all its certificates are one chain');
};

subtest 'ROLLBACK brings everything back' => sub {
	my $who = new_account();
	my $before = everything($who);
	my $session = CauceSession->open($cluster, app => $who->{token});
	$session->query("BEGIN; SELECT cauce.delete_my_data('$who->{subject}'); ROLLBACK");
	is(everything($who), $before, 'every row');
	is($session->query('SELECT count(body::text) FROM cauce.transcript_segment'), '3', 'which this connection opens');
	$session->query("BEGIN; SAVEPOINT a; SELECT cauce.delete_my_data('$who->{subject}'); ROLLBACK TO a");
	is($session->query('SELECT display_name FROM cauce.account'), "$canary name", 'ROLLBACK TO: likewise');
	$session->query("INSERT INTO cauce.report (session_id, body) VALUES ('$who->{session}', 'goes on'); COMMIT");
	is(certificates($who), '0', 'there is no certificate of what did not happen');

	# The triggers that were off are on again.
	is($session->query('SHOW session_replication_role'), 'origin', 'triggers fire');
	$session->query("DELETE FROM cauce.session WHERE id = '$who->{session}'");
	is(certificates($who), '1', 'and certify');
	is($session->try('SET session_replication_role = replica')->{sqlstate}, '42501', 'and nobody else can switch them off');
	$session->close;
	is(erase($who)->{status}, 0, 'at last');
};

subtest 'legal hold' => sub {
	my $who = new_account();
	$cluster->superuser("UPDATE cauce.session SET legal_hold = true WHERE id = '$who->{session}'");
	my $before = everything($who);
	my $result = erase($who);
	is($result->{sqlstate}, '55006', 'a held session keeps its account');
	like($result->{err}, qr/DETAIL:.*1 of them.*HINT:/s, 'with the reason');
	is(everything($who), $before, 'and all of it');
	is(certificates($who), '0', 'without a certificate');
	$cluster->superuser("UPDATE cauce.session SET legal_hold = false WHERE id = '$who->{session}'");

	my $holder = CauceSession->open($cluster, postgres => undef);
	$holder->query("BEGIN; UPDATE cauce.session SET legal_hold = true WHERE id = '$who->{session}'");
	my $pid = aside(sub { erase($who)->{sqlstate} eq '55006' });
	ok(waiting(), 'one that is being set is waited for');
	$holder->query('COMMIT');
	is(ended($pid), 0, 'and counts');
	is(everything($who) =~ tr/\n//, $before =~ tr/\n//, 'nothing is gone');
	$holder->close;
};

# Each begins a transaction of the account's, then erasure waits for its end; what it had done is erased, too.
my %writer = (
	'a session that is being opened' => q{INSERT INTO cauce.session (title) VALUES ('late')},
	'a segment that is being appended' => q{INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) VALUES ('ID', 9, 0, 1, 'late')},
	'a report that is being corrected' => q{UPDATE cauce.report SET body = 'late' WHERE session_id = 'ID'},
	'a session that is being archived' => q{SELECT cauce.archive_session('ID')},
	'a session that is being restored' => q{SELECT cauce.restore_session(id) FROM cauce.archived_session},
	'a session that is being erased' => q{DELETE FROM cauce.session WHERE id = 'ID'},
	'a profile that is being changed' => q{UPDATE cauce.account SET email = 'late'},
	'a rule that is being made' => q{INSERT INTO cauce.alert_rule (account_id, pattern, kind) VALUES (cauce.account_id(), 'late', 'k')});

for my $what (sort keys %writer)
{
	subtest $what => sub {
		my $who = new_account();
		my $writer = CauceSession->open($cluster, app => $who->{token});
		$writer->query('BEGIN; ' . $writer{$what} =~ s/ID/$who->{session}/r);
		my $pid = aside(sub { !erase($who)->{status} });
		ok(waiting(), 'is waited for');
		$writer->query('COMMIT');
		is(ended($pid), 0, 'and erased with the account');
		is(everything($who), '', 'nothing is left');
		$writer->close;

		# The other way round: it comes while erasure is not committed, waits, and finds nothing.
		$who = new_account();
		$writer = CauceSession->open($cluster, app => $who->{token});
		$writer->query('SELECT count(*) FROM cauce.report');
		my $eraser = CauceSession->open($cluster, app => $who->{token});
		$eraser->query("BEGIN; SELECT cauce.delete_my_data('$who->{subject}')");
		$writer->{in} .= ($writer{$what} =~ s/ID/$who->{session}/r) . ";\n";
		$writer->{run}->pump_nb;
		ok(waiting(), 'or waits itself');
		$eraser->query('COMMIT');
		$writer->try('SELECT 1');
		is(everything($who), '', 'and leaves nothing');
		is(certificates($who), '1', 'and no certificate');
		$_->close for $writer, $eraser;
	};
}

subtest 'an account\'s first key' => sub {
	my $who = { subject => 'keyless', token => $cluster->token('keyless') };
	$who->{id} = $cluster->superuser("INSERT INTO cauce.account (subject) VALUES ('keyless') RETURNING id");
	is($cluster->superuser("SELECT count(*) FROM cauce.data_key WHERE account_id = '$who->{id}'"), '0', 'there is none yet');
	my $writer = CauceSession->open($cluster, app => $who->{token});
	my $eraser = CauceSession->open($cluster, app => $who->{token});
	$eraser->query("BEGIN; SELECT cauce.delete_my_data('keyless')");
	$writer->{in} .= "SELECT 'x'::cauce.encrypted_text;\n";
	$writer->{run}->pump_nb;
	ok(waiting(), 'who makes it waits');
	$eraser->query('COMMIT');
	is($writer->try('SELECT 1')->{sqlstate}, '28000', 'and is refused');
	is($cluster->superuser("SELECT count(*) FROM cauce.data_key WHERE account_id = '$who->{id}'"), '0', 'no key was made');
	$_->close for $writer, $eraser;
};

subtest 'a session that a trigger of others\' refuses' => sub {
	# Its key has been made by then, and no foreign key is ever asked.
	$cluster->superuser(q{CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE TRIGGER x_refuse BEFORE INSERT ON cauce.session FOR EACH ROW WHEN (NEW.language = 'refused') EXECUTE FUNCTION public.refuse()});
	my $who = new_account();
	my $writer = CauceSession->open($cluster, app => $who->{token});
	my $eraser = CauceSession->open($cluster, app => $who->{token});
	$eraser->query("BEGIN; SELECT cauce.delete_my_data('$who->{subject}')");
	$writer->{in} .= "INSERT INTO cauce.session (language) VALUES ('refused');\n";
	$writer->{run}->pump_nb;
	ok(waiting(), 'waits for the erasure');
	$eraser->query('COMMIT');
	is($writer->try('SELECT 1')->{sqlstate}, '28000', 'is refused');
	is(everything($who), '', 'and leaves no key');
	$_->close for $writer, $eraser;
	$cluster->superuser('DROP TRIGGER x_refuse ON cauce.session');
};

subtest 'an old snapshot' => sub {
	my $who = new_account();
	my $eraser = CauceSession->open($cluster, app => $who->{token});
	$eraser->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM cauce.session');
	$cluster->sql(app => $who->{token}, q{INSERT INTO cauce.session (title) VALUES ('since') RETURNING id AS s \gset
		INSERT INTO cauce.report (session_id, body) VALUES (:'s', 'since')});
	$eraser->query("SELECT cauce.delete_my_data('$who->{subject}'); COMMIT");
	is(everything($who), '', 'hides nothing');
	$eraser->close;
};

subtest 'retention at work' => sub {
	my $who = new_account();
	$cluster->superuser("SET session_replication_role = replica; UPDATE cauce.session SET retain_until = now() - interval '1 day' WHERE account_id = '$who->{id}'");
	my $retention = CauceSession->open($cluster, postgres => undef);
	$retention->query('BEGIN; SELECT cauce.run_retention()');
	my $pid = aside(sub { !erase($who)->{status} });
	ok(waiting(), 'is waited for');
	$retention->query('COMMIT');
	is(ended($pid), 0, 'and meets no deadlock');
	is(everything($who), '', 'what it had archived is erased, too');

	$who = new_account();
	$cluster->superuser("SET session_replication_role = replica; UPDATE cauce.session SET retain_until = now() - interval '1 day' WHERE account_id = '$who->{id}'");
	my $eraser = CauceSession->open($cluster, app => $who->{token});
	$eraser->query("BEGIN; SELECT cauce.delete_my_data('$who->{subject}')");
	like($retention->query('SELECT archived, failed FROM cauce.run_retention()'), qr/^0\|0$/, 'it passes over what is being erased');
	$eraser->query('COMMIT');
	is(everything($who), '', 'nothing is left');
	$_->close for $retention, $eraser;
};

subtest 'everybody at once' => sub {
	my $who = new_account();
	$cluster->configure("cauce.retention_naptime = '1s'");
	$cluster->pg_ctl('reload');
	my $until = time + 4;
	my @writer = map {
		my $n = $_;
		aside(sub {
			my $session = CauceSession->open($cluster, app => $who->{token});
			while (time < $until)
			{
				my $result = $session->try(qq{BEGIN; INSERT INTO cauce.session (title, retention_days, started_at) VALUES ('x', 1, now() - interval '2 days') RETURNING id AS s \\gset
					INSERT INTO cauce.report (session_id, body) VALUES (:'s', 'x');
					UPDATE cauce.account SET display_name = 'x $n'; COMMIT});
				$session->try('ROLLBACK') if $result->{sqlstate};
			}
			return 1;
		});
	} 1 .. 3;
	sleep 1;
	$cluster->superuser("SELECT cauce.rotate_data_keys('$who->{id}')");
	sleep 1;
	my $erased = 0;
	for (1 .. 20)    # a deadlock is an error to try again after
	{
		my $result = erase($who);
		$erased ||= !$result->{status};
		last if $erased;
		is($result->{sqlstate}, '40P01', 'only a deadlock stands in the way');
	}
	ok($erased, 'erased while sessions are opened, retained and rotated');
	ended($_) for @writer;
	like(everything($who), qr/^(cauce\.key_rotation .*)?$/, 'nothing is left, but that a rotation was asked for');
	is($cluster->superuser("SELECT bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate WHERE account_id = '$who->{id}'"), 't', 'the chain verifies');
	is($cluster->superuser('SELECT count(*) FROM cauce.data_key k WHERE session_id IS NULL AND NOT EXISTS (SELECT FROM cauce.account a WHERE a.id = k.account_id)'),
		'1', 'no key but the inbox\'s is without an account');
};

subtest 'protected tables' => sub {
	$cluster->superuser(q{CREATE TABLE public.note (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, session_id uuid, words text);
		CREATE TABLE public.gone (id int); GRANT ALL ON public.note, public.gone TO app;
		SELECT cauce.protect('public.note', 'session_id', '{words}');
		CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE FUNCTION public.count() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.gone VALUES (OLD.id); RETURN NULL; END';
		CREATE TRIGGER a AFTER DELETE ON public.note FOR EACH ROW EXECUTE FUNCTION public.count()});
	my $who = new_account();
	my $other = new_account();
	$cluster->sql(app => $_->{token}, "INSERT INTO public.note (session_id, words) SELECT '$_->{session}', '$canary' FROM generate_series(1, 5)") for $who, $other;
	my $theirs = everything($other);
	$cluster->superuser('CREATE TRIGGER keep BEFORE DELETE ON public.note FOR EACH ROW WHEN (OLD.id = 3) EXECUTE FUNCTION public.keep()');
	my $before = everything($who);
	is(erase($who)->{sqlstate}, '09000', 'a trigger that keeps a row is an error');
	is(everything($who), $before, 'and nothing has changed');
	$cluster->superuser('DROP TRIGGER keep ON public.note');
	my $certificate = erase($who)->{out};
	is(everything($who), '', 'their rows go with the account');
	is(everything($other), $theirs, 'others\' stay');
	is($cluster->superuser('SELECT count(*) FROM public.gone'), '5', 'their triggers fire');
	is($cluster->superuser("SELECT counts->>'public.note' FROM cauce.erasure_certificate WHERE id = '$certificate'"), '5', 'the certificate counts them');
};

subtest 'what others hang on cauce\'s tables' => sub {
	$cluster->superuser(q{CREATE TABLE public.seen (what text); GRANT ALL ON public.seen TO app;
		CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen VALUES (TG_TABLE_NAME); RETURN NULL; END';
		CREATE TRIGGER see AFTER DELETE ON cauce.session FOR EACH ROW EXECUTE FUNCTION public.see();
		CREATE TABLE public.bill (account_id uuid REFERENCES cauce.account, report uuid, session uuid,
			FOREIGN KEY (account_id, session, report) REFERENCES cauce.report (account_id, session_id, id) ON DELETE SET NULL (report))});
	my $who = new_account();
	$cluster->superuser("INSERT INTO public.bill SELECT account_id, id, session_id FROM cauce.report WHERE account_id = '$who->{id}'");
	my $before = everything($who);
	is(erase($who)->{sqlstate}, '23503', 'a foreign key that does not let the account go keeps it');
	is(everything($who), $before, 'with everything');
	$cluster->superuser('DELETE FROM public.bill');
	is(erase($who)->{status}, 0, 'without it, it is erased');
	is($cluster->superuser("SELECT string_agg(what, ' ') FROM public.seen"), 'session session session', 'a trigger fires for each session, as it did for the one that was archived');
	is(everything($who), '', 'nothing is left');
	is(certificates($who), '1', 'and there is one certificate');
};

subtest 'what is left' => sub {
	my $who = new_account();
	$cluster->sql(app => $token{'north-admin'}, "SELECT count(body::text) FROM cauce.report WHERE account_id = '$who->{id}'");
	is(erase($who)->{status}, 0, 'erased');
	my $dump = $cluster->as_postgres('pg_dump', '-d', $cluster->dsn('postgres'), '-e', 'cauce', '-e', 'pgcrypto');
	is($dump->{status}, 0, 'a dump') or diag $dump->{err};
	my ($table, %has) = '';
	for (split /\n/, $dump->{out})
	{
		$table = $1 if /^COPY (\S+)/;
		$has{$table}++ if /$who->{id}|$who->{subject}\b|$who->{session}/;
	}
	is_deeply(\%has, { 'cauce.audit_log' => 3, 'cauce.erasure_certificate' => 1 }, 'has it in the audit log, its making and erasure there too, and its certificate only');
	unlike($dump->{out}, qr/$canary/, 'and nothing in the clear');
	my $log = $cluster->log;
	unlike($log, qr/$canary|PANIC|TRAP/, 'nor has the log');
};

done_testing;
