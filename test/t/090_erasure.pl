# Erasure destroys the key: at commit nothing in any connection opens what was erased, a signed
# certificate says so and verifies outside the database, and what was rolled back is all still there.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Digest::SHA qw(sha256_hex);
use IPC::Run qw(run);
use JSON::PP;
use MIME::Base64 qw(decode_base64url encode_base64url);
use Test::More;

my $cluster = CauceTest->start;
my $token = $cluster->token('north-pro');
my $dir = $cluster->dir;

sub mine { return $cluster->sql(app => $token, @_) }

# new_session opens a session with three rows; it gives the id.
sub new_session
{
	return mine(q{INSERT INTO cauce.session (title) VALUES ('erase me') RETURNING id AS session \gset
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) VALUES (:'session', 0, 0, 1, 'one'), (:'session', 1, 0, 1, 'two');
		INSERT INTO cauce.report (session_id, body) VALUES (:'session', 'report');
		SELECT :'session'});
}

# A table of copies, as somebody with access to the disk would keep them.
$cluster->superuser('CREATE TABLE public.hoard (body cauce.encrypted_text); GRANT SELECT ON public.hoard TO app');

subtest 'gone everywhere at commit' => sub {
	my $id = new_session();
	$cluster->superuser("INSERT INTO public.hoard SELECT body FROM cauce.report WHERE session_id = '$id'");
	my @open = map { CauceSession->open($cluster, app => $token) } 1 .. 2;
	is($_->query('SELECT body FROM public.hoard'), 'report', 'a connection has the key and opens the copy') for @open;
	# In a transaction of its own, with a snapshot from before.
	$open[1]->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT body FROM public.hoard');
	$open[1]->query('DECLARE c CURSOR FOR SELECT body FROM public.hoard');

	my $eraser = CauceSession->open($cluster, app => $token);
	$eraser->query("BEGIN; DELETE FROM cauce.session WHERE id = '$id'");
	is($open[0]->query('SELECT body FROM public.hoard'), 'report', 'before the commit it still opens elsewhere');
	is($eraser->try('SAVEPOINT a; SELECT body FROM public.hoard')->{sqlstate}, 'XX001', 'but not for the eraser');
	$eraser->query('ROLLBACK TO a; COMMIT');
	for my $which (0, 1)
	{
		my $result = $open[$which]->try('SELECT body FROM public.hoard');
		is("$result->{sqlstate} $result->{out}", 'XX001 ', $which ? 'nor in a transaction that began before' : 'at commit it opens nowhere');
		like($result->{err}, qr/DETAIL:  It was destroyed.*HINT:/s, 'the error says that it was destroyed');
	}
	$open[1]->query('ROLLBACK');
	is($cluster->try_sql(app => $token, 'SELECT body::text FROM public.hoard')->{sqlstate}, 'XX001', 'nor in a new connection');
	like($cluster->superuser('SELECT body FROM public.hoard'), qr/^cauce1:/, 'the sealed form is all that is left');
	is($cluster->superuser("SELECT (SELECT count(*) FROM cauce.session), (SELECT count(*) FROM cauce.transcript_segment),
		(SELECT count(*) FROM cauce.report), (SELECT count(*) FROM cauce.data_key WHERE session_id IS NOT NULL)"), '0|0|0|0', 'rows and key are gone');
	is($cluster->try_sql(app => $token, "INSERT INTO cauce.report (session_id, body) VALUES ('$id', 'late')")->{sqlstate}, '23503', 'nothing is added to it any more');
	$_->close for @open, $eraser;
	$cluster->superuser('TRUNCATE public.hoard');
};

subtest 'a connection that inserts all along' => sub {
	my $id = new_session();
	my $writer = CauceSession->open($cluster, app => $token);
	$writer->query("PREPARE add AS INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) VALUES ('$id', \$1, 0, 0, 'more')");
	$writer->query("EXECUTE add ($_)") for 10 .. 16;
	mine("DELETE FROM cauce.session WHERE id = '$id'");
	is($writer->try('EXECUTE add (20)')->{sqlstate}, '23503', 'is refused after the erasure');
	is($cluster->superuser('SELECT count(*) FROM cauce.transcript_segment'), '0', 'and leaves nothing behind');
	$writer->close;
};

subtest 'what is rolled back stays' => sub {
	my $id = new_session();
	my $all = "SELECT title, (SELECT string_agg(body, ',' ORDER BY seq) FROM cauce.transcript_segment WHERE session_id = s.id),
		(SELECT body FROM cauce.report WHERE session_id = s.id) FROM cauce.session s";
	my $session = CauceSession->open($cluster, app => $token);
	is($session->query($all), 'erase me|one,two|report', 'it reads');
	$session->query('BEGIN; DELETE FROM cauce.session');
	is($session->query($all), '', 'erased, in the transaction');
	$session->query('ROLLBACK');
	is($session->query($all), 'erase me|one,two|report', 'ROLLBACK: all is back in this connection');
	is(mine($all), 'erase me|one,two|report', 'and in others');
	$session->query('BEGIN; SAVEPOINT a; DELETE FROM cauce.session; ROLLBACK TO a');
	is($session->query($all), 'erase me|one,two|report', 'ROLLBACK TO: all is back');
	$session->query(q{INSERT INTO cauce.report (session_id, body) SELECT id, 'another' FROM cauce.session; COMMIT});
	is(mine('SELECT count(body::text) FROM cauce.report'), '2', 'and can be added to');
	is($session->try("DO \$\$ BEGIN DELETE FROM cauce.session; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END \$\$")->{sqlstate}, '', 'an exception block');
	is(mine('SELECT count(body::text) FROM cauce.report'), '2', 'undoes it as well');
	is(mine("SELECT count(*) FROM cauce.erasure_certificate WHERE subject = 'session'"), '2', 'there is no certificate of what did not happen');
	$session->query('DELETE FROM cauce.session');
	is(mine('SELECT count(*) FROM cauce.session'), '0', 'at last');
	$session->close;
};

subtest 'a certificate says what was erased' => sub {
	my $id = new_session();
	my ($key, $epoch) = split /\|/, $cluster->superuser("SELECT id, epoch FROM cauce.data_key WHERE session_id = '$id'");
	my $before = $cluster->superuser('SELECT clock_timestamp()');
	mine("DELETE FROM cauce.session WHERE id = '$id'");
	my $certificate = mine('SELECT id FROM cauce.erasure_certificate ORDER BY erased_at DESC LIMIT 1');
	my $payload = decode_json(mine("SELECT cauce.open_certificate(jws) FROM cauce.erasure_certificate WHERE id = '$certificate'"));
	is($payload->{subject}, 'session', 'subject');
	is($payload->{reason}, 'request', 'reason');
	is_deeply($payload->{counts}, { sessions => 1, segments => 2, reports => 1, alerts => 0 }, 'counts');
	is_deeply($payload->{keys}, [$key], 'the key that was destroyed');
	is($payload->{last_epoch}, $epoch, 'the epoch with which copies in backups die');
	is($payload->{jti}, $certificate, 'its own id');
	is($cluster->superuser("SELECT '$payload->{erased_at}' BETWEEN '$before' AND now()"), 't', 'when');
	unlike(encode_json($payload), qr/erase me|north-pro/, 'and nothing about whom or what');
};

subtest 'certificates verify, in the database and outside' => sub {
	is(mine('SELECT bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate'), 't', 'for the owner');
	$cluster->superuser('CREATE ROLE auditor LOGIN IN ROLE cauce_auditor');
	is($cluster->sql(auditor => undef, 'SELECT bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate'), 't', 'for the auditor');
	my $some = mine('SELECT id FROM cauce.erasure_certificate LIMIT 1');
	my $other = $cluster->try_sql(app => $cluster->token('south-pro'), "SELECT cauce.verify_certificate('$some')");
	is($other->{sqlstate}, 'P0002', 'nobody else finds it');

	my $keys = $cluster->sql(auditor => undef, 'SELECT cauce.certificate_jwks()');
	ok(!(grep { exists $_->{d} } @{ decode_json($keys)->{keys} }), 'the published key set holds no private key');
	my $verifies = sub {
		open my $out, '>', "$dir/jwks.json" or die $!;
		print $out $keys;
		close $out;
		return run [ qw(jose jws ver -i - -O /dev/null -k), "$dir/jwks.json" ], '<', \$_[0], '>', \my $none, '2>', \my $err;
	};
	my @certificate = split /\n/, mine('SELECT jws FROM cauce.erasure_certificate ORDER BY erased_at');
	is(scalar(grep { $verifies->($_) } @certificate), scalar @certificate, 'jose verifies all ' . @certificate);
	my ($head, $body, $signature) = split /\./, $certificate[0];
	ok(!$verifies->("$head." . encode_base64url(decode_base64url($body) =~ s/request/inquest/r) . ".$signature"), 'but none that was changed');
	my $previous;
	my @broken = grep {
		my $payload = decode_json(decode_base64url((split /\./)[1]));
		my $good = ($payload->{previous_digest} // '') eq ($previous // '');
		$previous = sha256_hex($_);
		!$good
	} @certificate;
	is(scalar @broken, 0, 'each names the digest of the one before');
};

subtest 'append-only' => sub {
	for my $table (qw(erasure_certificate audit_log))
	{
		is($cluster->try_sql(app => $token, "DELETE FROM cauce.$table")->{sqlstate}, '42501', "an application deletes no $table");
		is($cluster->try_sql(auditor => undef, "UPDATE cauce.$table SET reason = 'x'")->{sqlstate}, '42501', 'an auditor changes none');
		for my $sql ("UPDATE cauce.$table SET reason = 'x'", "DELETE FROM cauce.$table", "TRUNCATE cauce.$table")
		{
			is($cluster->try_sql(postgres => undef, $sql)->{sqlstate}, '42501', "not even a superuser: $sql");
		}
	}
	is($cluster->try_sql(app => $token, q{INSERT INTO cauce.erasure_certificate (account_id, subject, reason, counts, erased_at, jws)
		VALUES (cauce.account_id(), 'session', 'x', '{}', now(), 'x')})->{sqlstate}, '42501', 'nobody issues one but the database');
	is($cluster->try_sql(postgres => undef, "TRUNCATE cauce.$_ CASCADE")->{sqlstate} ne '' ? 1 : 0, 1, "TRUNCATE of $_ is no way round")
	  for qw(session report transcript_segment archived_session account);
};

subtest 'one transaction erases several, and takes some of it back' => sub {
	my @id = map { new_session() } 1 .. 7;
	my $delete = sub { return "DELETE FROM cauce.session WHERE id = '$id[$_[0]]';" };
	my $before = mine('SELECT count(*) FROM cauce.erasure_certificate');
	mine('BEGIN;' . $delete->(0) . $delete->(1) . 'SAVEPOINT a;' . $delete->(2) . 'ROLLBACK TO a;' . $delete->(3)
		  . 'RELEASE a;' . $delete->(4) . 'SAVEPOINT b;' . $delete->(5) . 'ROLLBACK TO b;' . $delete->(5)
		  . 'SAVEPOINT c; SAVEPOINT d;' . $delete->(2) . 'RELEASE d; ROLLBACK TO c;' . $delete->(6) . 'COMMIT');
	is(mine('SELECT count(*) FROM cauce.erasure_certificate') - $before, 6, 'a certificate for each that stays erased');
	is(mine('SELECT bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate'), 't', 'the chain has no gap');
	mine($delete->(2));
	is(mine('SELECT bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate'), 't', 'nor later');
};

subtest 'more entries of the audit log than one statement writes' => sub {
	my $entries = q{SELECT count(*), count(DISTINCT session_id), count(DISTINCT previous_digest) FROM cauce.audit_log WHERE action = 'erase' AND session_id = ANY};
	my $ids = mine(q{INSERT INTO cauce.session (title) SELECT n::text FROM generate_series(1, 230) n;
		WITH gone AS (DELETE FROM cauce.session RETURNING id) SELECT array_agg(id) FROM gone});
	is($cluster->superuser("$entries ('$ids')"), '230|230|230', 'each session has one, and each follows another');
	is($cluster->superuser('SELECT count(*) FROM cauce.verify_audit()'), '0', 'the chain has no gap');
};

subtest 'tampering shows' => sub {
	new_session();
	mine('DELETE FROM cauce.session');
	my @id = split /\n/, mine('SELECT id FROM cauce.erasure_certificate ORDER BY erased_at');
	my $middle = $id[ @id / 2 ];
	# verified gives t and f for the certificates in their order, with a change made and undone.
	my $verified = sub {
		return $cluster->sql(postgres => $token, "BEGIN; ALTER TABLE cauce.erasure_certificate DISABLE TRIGGER cauce_append_only; $_[0];
			SELECT string_agg(left(cauce.verify_certificate(id)::text, 1), '' ORDER BY erased_at) FROM cauce.erasure_certificate; ROLLBACK");
	};
	is($verified->('SELECT 1 WHERE false'), 't' x @id, 'untouched');
	my %change = (
		reason => q{reason = 'retention'}, counts => q{counts = counts || '{"segments": 7}'}, subject => q{subject = 'archive'},
		erased_at => q{erased_at = erased_at + interval '1 microsecond'}, previous_digest => q{previous_digest = sha256('x')},
		id => 'id = gen_random_uuid()');
	for my $what (sort keys %change)
	{
		like($verified->("UPDATE cauce.erasure_certificate SET $change{$what} WHERE id = '$middle'"), qr/f/, "another $what");
	}
	my $forged = $verified->("UPDATE cauce.erasure_certificate SET jws = jws || 'A' WHERE id = '$middle'");
	like($forged, qr/^t+f+$/, 'another jws: that one and all after it');
	like($verified->("UPDATE cauce.erasure_certificate c SET jws = o.jws FROM cauce.erasure_certificate o WHERE c.id = '$middle' AND o.id = '$id[0]'"),
		qr/f/, 'the jws of another');
	like($verified->("DELETE FROM cauce.erasure_certificate WHERE id = '$middle'"), qr/^t+f+$/, 'one removed from the middle: all after it');
	is($verified->('SELECT 1 WHERE false'), 't' x @id, 'nothing of that was kept');
};

subtest 'two accounts erase at the same time, each in its own chain' => sub {
	my @who = ($token, $cluster->token('south-pro'));
	my @open = map { CauceSession->open($cluster, app => $_) } @who;
	for my $session (@open)
	{
		$session->query(q{INSERT INTO cauce.session (title) VALUES ('x')});
		$session->query('BEGIN; DELETE FROM cauce.session');
	}
	$_->query('COMMIT') for @open;
	is($_->query('SELECT bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate'), 't', 'the chain verifies') for @open;
	$_->close for @open;
};

done_testing;
