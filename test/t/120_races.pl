# What happens between two statements of different connections loses nothing and keeps no key.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my $token = $cluster->token('north-pro');

# aside runs SQL in a process of its own and gives its pid; its end is awaited with waitpid.
sub aside
{
	my (@arguments) = @_;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;
	my $result = $cluster->try_sql(@arguments);
	require POSIX;
	POSIX::_exit($result->{status} ? 1 : 0);
}

# waiting waits until some connection waits for a lock.
sub waiting
{
	return $cluster->poll_until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'", 't');
}

sub new_session
{
	my $id = $cluster->sql(app => $token, 'INSERT INTO cauce.session DEFAULT VALUES RETURNING id');
	$cluster->sql(app => $token, "INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)
		VALUES ('$id', 0, 0, 1, 'first')");
	return $id;
}

my $texts = 'SELECT coalesce(string_agg(body, \',\' ORDER BY seq), \'\') FROM cauce.transcript_segment';

for my $late (["INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) VALUES ('ID', 1, 1, 2, 'second')", 'first,second', 'a segment that is being added'],
	["UPDATE cauce.transcript_segment SET body = 'corrected' WHERE session_id = 'ID'", 'corrected', 'a correction that is being made'])
{
	my ($statement, $expected, $name) = @$late;
	subtest "$name is archived, too" => sub {
		my $id = new_session();
		my $writer = CauceSession->open($cluster, app => $token);
		$writer->query("BEGIN; " . $statement =~ s/ID/$id/r);
		my $archiver = aside(app => $token, "SELECT cauce.archive_session('$id')");
		ok(waiting(), 'archiving waits for the writer');
		$writer->query('COMMIT');
		waitpid $archiver, 0;
		is($?, 0, 'it then goes on');
		is($cluster->sql(app => $token, "SELECT count(*) FROM cauce.archived_session WHERE id = '$id'"), '1', 'the session is archived');
		$cluster->sql(app => $token, "SELECT cauce.restore_session('$id')");
		is($cluster->sql(app => $token, "$texts WHERE session_id = '$id'"), $expected, 'nothing that was committed is lost');
		$writer->close;
	};
}

subtest 'a key that is destroyed while somebody looks for it' => sub {
	my $id = new_session();
	$cluster->superuser('CREATE TABLE public.hoard (body cauce.encrypted_text); GRANT SELECT ON public.hoard TO app');
	$cluster->superuser("INSERT INTO public.hoard SELECT body FROM cauce.transcript_segment WHERE session_id = '$id'");
	my $eraser = CauceSession->open($cluster, postgres => undef);
	$eraser->query('SELECT pg_advisory_lock(1)');
	my $reader = fork // die "fork: $!";
	if ($reader == 0)
	{
		# One connection. It looks the database's own key up beforehand, so that the one it then waits
		# for is the session's; and the last statement would find what the one before it cached.
		my $result = $cluster->try_sql(app => $token, "SELECT 'a'::text::cauce.encrypted_text \\g /dev/null
			SELECT pg_advisory_lock(1);
			SELECT body FROM public.hoard;
			SELECT body FROM public.hoard");
		require POSIX;
		POSIX::_exit($result->{out} =~ /first/ ? 1 : 0);
	}
	ok(waiting(), 'the reader is ready');
	$eraser->query('BEGIN; LOCK TABLE cauce.data_key IN ACCESS EXCLUSIVE MODE; SELECT pg_advisory_unlock(1)');
	ok($cluster->poll_until(q{SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'cauce.data_key'::regclass}, 't'),
		'and waits for the table of keys');
	$eraser->query("DELETE FROM cauce.session WHERE id = '$id'; COMMIT");
	waitpid $reader, 0;
	is($?, 0, 'the reader opens nothing, then or later');
	$eraser->close;
};

subtest 'a trigger of a user that fails and recovers while a session is archived' => sub {
	my $id = new_session();
	$cluster->sql(app => $token, "INSERT INTO cauce.report (session_id, body) VALUES ('$id', 'kept')");
	$cluster->superuser(q{CREATE FUNCTION public.stumble() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END; RETURN NULL; END $$;
		CREATE TRIGGER stumble AFTER DELETE ON cauce.report FOR EACH ROW EXECUTE FUNCTION public.stumble()});
	my $certificates = $cluster->superuser('SELECT count(*) FROM cauce.erasure_certificate');
	$cluster->sql(app => $token, "SELECT cauce.archive_session('$id')");
	$cluster->sql(app => $token, "SELECT cauce.restore_session('$id')");
	is($cluster->sql(app => $token, "SELECT body FROM cauce.report WHERE session_id = '$id'"), 'kept', 'nothing is lost');
	is($cluster->superuser('SELECT count(*) FROM cauce.erasure_certificate'), $certificates, 'nothing is certified as erased');
	$cluster->superuser('DROP TRIGGER stumble ON cauce.report');
};

subtest 'a hold that an older snapshot cannot see' => sub {
	my $id = new_session();
	my $owner = CauceSession->open($cluster, app => $token);
	$owner->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM cauce.session');
	$cluster->superuser("UPDATE cauce.session SET legal_hold = true WHERE id = '$id'");
	is($owner->try("DELETE FROM cauce.transcript_segment WHERE session_id = '$id'")->{sqlstate}, '40001', 'is not passed by');
	$owner->query('ROLLBACK');
	for my $statement ('DELETE FROM cauce.transcript_segment WHERE session_id =', "UPDATE cauce.transcript_segment SET body = '' WHERE session_id =",
		'UPDATE cauce.session SET title = NULL WHERE id =')
	{
		is($owner->try("$statement '$id'")->{sqlstate}, '55006', "held: $statement …");
	}
	is($owner->try("UPDATE cauce.session SET status = 'ended' WHERE id = '$id'")->{sqlstate}, '', 'a held session may end');
	$owner->close;
};

subtest 'archiving spills nothing that is open' => sub {
	my $id = new_session();
	$cluster->sql(app => $token, "INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)
		SELECT '$id', n, n, n, 'qzspilled ' || repeat(md5(n::text), 40) FROM generate_series(1, 3000) n");
	$cluster->superuser(q{ALTER SYSTEM SET work_mem = '64kB'});
	$cluster->superuser('SELECT pg_reload_conf()');
	my $archiver = aside(app => $token, "SELECT cauce.archive_session('$id')");
	my $seen = 0;
	until (waitpid($archiver, 1) > 0)    # WNOHANG
	{
		my $found = $cluster->as_postgres('grep', '-r', '-l', '-a', 'qzspilled', $cluster->pgdata . '/base');
		$seen++ if length $found->{out};
	}
	is($?, 0, 'a long session is archived with little memory');
	ok($cluster->poll_until(q{SELECT temp_files > 0 FROM pg_stat_database WHERE datname = 'cauce'}, 't'),
		'its rows went through temporary files');
	is($seen, 0, 'which held no text');
	$cluster->sql(app => $token, "SELECT cauce.restore_session('$id')");
	is($cluster->sql(app => $token, "SELECT count(*) FROM cauce.transcript_segment WHERE session_id = '$id' AND body LIKE 'qzspilled%'"),
		'3000', 'and all of it comes back');
};

done_testing;
