# Killed without notice at any step of archiving, handing over to storage, restoring, erasing, erasing an account or destroying an epoch, be it the
# backend, the worker, the launcher or the postmaster: each session is whole in exactly one place, each erasure has its
# one certificate, no key is lost, and what was begun comes to its end. CAUCE_KILLS says how often (12).
use strict;
use warnings;
use CauceTest;
use File::Temp qw(tempdir);
use IPC::Run qw(run);
use JSON::PP qw(decode_json);
use List::Util qw(shuffle);
use Test::More;

use constant { KILLS => $ENV{CAUCE_KILLS} || 12, DAY => 86_400 };

# The steps of each operation; where a transaction commits, two more.
my %step = (
	archive => [qw(archive_locked archive_rows_taken archive_bundle_taken archive_stored archive_rewrapped archive_done before_commit after_commit)],
	retention => [qw(archive_locked archive_bundle_taken archive_done batch_done batch_committed)],
	handover => [qw(handover_noted handover_stored handover_seen handover_let_go)],
	removal => [qw(handover_removed)],
	restore => [qw(restore_fetched restore_opened restore_inserted restore_rows_put restore_done before_commit after_commit)],
	erase => [qw(erase_key_destroyed erase_content_deleted erase_certified before_commit after_commit)],
	erase_due => [qw(erase_key_destroyed erase_certified batch_done batch_committed)],
	erase_archive => [qw(erase_archive_key_destroyed erase_archive_certified before_commit after_commit)],
	account => [qw(account_locked account_protected_erased account_keys_destroyed account_rows_erased account_certified account_forgotten before_commit after_commit)],
	epoch => [qw(epoch_keys_moved epoch_needs_known epoch_wal_flushed keyring_unwritten keyring_written keyring_renamed keyring_in_place epoch_destroyed)]);

my $library = tempdir('cauce-injection-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $library;
my ($out, $err);
run [ "$CauceTest::ROOT/dev/injection", $library ], '>', \$out, '2>', \$err or BAIL_OUT("dev/injection: $err");

my $cluster = CauceTest->start;
$cluster->superuser(q{UPDATE pg_proc SET probin = '} . $library . q{/cauce' WHERE probin = '$libdir/cauce'});
$cluster->pg_ctl('stop', '-m', 'fast');
$cluster->configure("dynamic_library_path = '$library:\$libdir'\nshared_preload_libraries = 'pg_cron,$library/cauce'\ncauce.retention_naptime = 1\nrestart_after_crash = on");
# Storage: archives do not stay in the table.
my $storage = $cluster->dir . '/keys/keyring/storage';
$cluster->as_postgres('mkdir', $storage);
$cluster->configure("cauce.archive_command = 'cat > $storage/%f.new && mv $storage/%f.new $storage/%f'\ncauce.restore_command = 'cat $storage/%f'\ncauce.archive_cleanup_command = 'rm -f $storage/%f'");
$cluster->move_clock(0);
$cluster->pg_ctl('start');

my $token = $cluster->token('north-pro', ttl => 3650 * DAY);
my $moved = 0;    # the clock, in days
$cluster->superuser(q{CREATE TABLE public.note (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), visit uuid, words text);
	GRANT ALL ON public.note TO app; SELECT cauce.protect('public.note', 'visit', '{words}')});
# Kept long, so that only what is told to be due is.
$cluster->sql(app => $token, q{SELECT cauce.set_retention(3650, 'archive')});

# Every session that there ever was: where it must be (live, archived, gone), or any of two while an operation is open.
my %session;

sub whose { return 'SELECT id FROM cauce.account WHERE subject = ' . "'$_[0]'" }

# new_session makes one with content of every kind.
sub new_session
{
	my ($who) = @_;
	my ($id, $key) = split /\|/, $cluster->sql(app => $who // $token, q{INSERT INTO cauce.session (title) VALUES ('title') RETURNING id AS session \gset
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) SELECT :'session', n, n, n, 'words ' || n FROM generate_series(1, 3) n;
		INSERT INTO cauce.report (session_id, body) VALUES (:'session', 'report');
		INSERT INTO public.note (visit, words) VALUES (:'session', 'note'), (:'session', 'another');
		SELECT :'session', 'x'});
	$key = $cluster->superuser("SELECT id FROM cauce.data_key WHERE session_id = '$id'");
	return ($id, $key);
}

# seen says of all sessions at one moment where they are (whatever is not whole is `broken`), and of every key that was
# destroyed how many certificates name it; a worker may go on at any moment.
sub seen
{
	my $rows = $cluster->superuser(q~SELECT 'state', i.id::text, CASE
			WHEN live AND NOT archived AND segments = 3 AND reports = 1 AND notes = 2 AND keys = 1 THEN 'live'
			WHEN archived AND NOT live AND segments + reports + notes = 0 AND keys = 1 THEN 'archived'
			WHEN NOT live AND NOT archived AND segments + reports + notes + keys = 0 THEN 'gone'
			ELSE format('broken: live %s, archived %s, %s segments, %s reports, %s notes, %s keys', live, archived, segments, reports, notes, keys) END
		FROM unnest('{~ . join(',', keys %session) . q~}'::uuid[]) i (id), LATERAL (SELECT EXISTS (SELECT FROM cauce.session s WHERE s.id = i.id) AS live,
			EXISTS (SELECT FROM cauce.archived_session a WHERE a.id = i.id) AS archived,
			(SELECT count(*) FROM cauce.transcript_segment t WHERE t.session_id = i.id) AS segments, (SELECT count(*) FROM cauce.report r WHERE r.session_id = i.id) AS reports,
			(SELECT count(*) FROM public.note n WHERE n.visit = i.id) AS notes, (SELECT count(*) FROM cauce.data_key k WHERE k.session_id = i.id) AS keys) x
		UNION ALL SELECT 'proof', k, count(*)::text FROM cauce.erasure_certificate c, jsonb_array_elements_text(cauce.open_certificate(c.jws)->'keys') k GROUP BY 2~);
	my %seen = (state => {}, proof => {});
	for my $row (split /\n/, $rows)
	{
		my ($what, $id, $value) = split /\|/, $row, 3;
		$seen{$what}{$id} = $value;
	}
	return @seen{qw(state proof)};
}

# order leaves the order to strike.
sub order
{
	my ($point, $who) = @_;
	# A commit of the operation, not of the statement that sets the token before it.
	my $skip = $point =~ /_commit$/ ? 1 : 0;
	$cluster->as_postgres('sh', '-c', 'printf "%s\n" "$1" > "$2/cauce_injection.new" && mv "$2/cauce_injection.new" "$2/cauce_injection"', 'sh', "$point $who $skip", $cluster->pgdata);
	return;
}

sub struck { return $cluster->as_postgres('test', '-e', $cluster->pgdata . '/cauce_injection')->{status} != 0 }

# back waits until the server is there again; after the postmaster's death it is started.
sub back
{
	my ($who) = @_;
	for (1 .. 200)
	{
		last if struck();
		select undef, undef, undef, 0.05;
	}
	if ($who eq 'postmaster')
	{
		# Its children end by themselves; only then can it start.
		for (1 .. 100)
		{
			last if $cluster->pg_ctl('start')->{status} == 0;
			select undef, undef, undef, 0.1;
		}
	}
	return $cluster->poll_until('SELECT NOT pg_is_in_recovery()', 't', 30);
}

# The operations: each gives what to do again when it was killed, and which sessions it may have changed, to what.
my %operation = (
	archive => sub {
		my ($id, $key) = new_session();
		$session{$id} = { key => $key, may => [qw(live archived)], end => 'archived' };
		return sub { $cluster->try_sql(app => $token, "SELECT cauce.archive_session('$id')") };
	},
	retention => sub {
		my ($id, $key) = new_session();
		$session{$id} = { key => $key, may => [qw(live archived)], end => 'archived' };
		return sub { $cluster->try_sql(postgres => undef, "UPDATE cauce.session SET started_at = started_at - interval '3651 days' WHERE id = '$id'") };
	},
	handover => sub {
		my ($id, $key) = new_session();
		$session{$id} = { key => $key, may => [qw(live archived)], end => 'archived' };
		return sub { $cluster->try_sql(app => $token, "SELECT cauce.archive_session('$id')") };
	},
	removal => sub {
		my ($id, $key) = new_session();
		$cluster->sql(app => $token, "SELECT cauce.archive_session('$id')");
		$cluster->poll_until("SELECT bundle IS NULL FROM cauce.archived_session WHERE id = '$id'", 't');
		$session{$id} = { key => $key, may => [qw(archived gone)], end => 'gone' };
		return sub { $cluster->try_sql(app => $token, "DELETE FROM cauce.archived_session WHERE id = '$id'") };
	},
	restore => sub {
		my ($id, $key) = new_session();
		$cluster->sql(app => $token, "SELECT cauce.archive_session('$id')");
		$session{$id} = { key => $key, may => [qw(live archived)], end => 'live' };
		return sub { $cluster->try_sql(app => $token, "SELECT cauce.restore_session('$id')") };
	},
	erase => sub {
		my ($id, $key) = new_session();
		$session{$id} = { key => $key, may => [qw(live gone)], end => 'gone' };
		return sub { $cluster->try_sql(app => $token, "DELETE FROM cauce.session WHERE id = '$id'") };
	},
	erase_due => sub {
		my ($id, $key) = new_session();
		$session{$id} = { key => $key, may => [qw(live gone)], end => 'gone' };
		return sub { $cluster->try_sql(postgres => undef, "BEGIN; UPDATE cauce.account SET retention_action = 'delete' WHERE subject = 'north-pro'; UPDATE cauce.session SET started_at = started_at - interval '3651 days' WHERE id = '$id'; COMMIT") };
	},
	erase_archive => sub {
		my ($id, $key) = new_session();
		$cluster->sql(app => $token, "SELECT cauce.archive_session('$id')");
		$session{$id} = { key => $key, may => [qw(archived gone)], end => 'gone' };
		return sub { $cluster->try_sql(app => $token, "DELETE FROM cauce.archived_session WHERE id = '$id'") };
	},
	account => sub {
		my $subject = 'gone ' . keys %session;
		$cluster->superuser("SELECT cauce.create_account('$subject'); UPDATE cauce.account SET retention_days = 3650 WHERE subject = '$subject'");
		my $theirs = $cluster->token($subject, ttl => 3650 * DAY);
		my ($id, $key) = new_session($theirs);
		my ($archive, $other) = new_session($theirs);
		$cluster->sql(app => $theirs, "SELECT cauce.archive_session('$archive')");
		$session{$id} = { key => $key, may => [qw(live gone)], end => 'gone' };
		$session{$archive} = { key => $other, may => [qw(archived gone)], end => 'gone' };
		return sub { $cluster->try_sql(app => $theirs, "SELECT cauce.delete_my_data('$subject')") };
	},
	epoch => sub {
		# Kept a day, and then by a legal hold: its key has to move before the epoch ends.
		my ($id, $key) = new_session();
		$cluster->superuser("UPDATE cauce.session SET retention_days = 1 WHERE id = '$id'; UPDATE cauce.session SET legal_hold = true WHERE id = '$id'");
		$session{$id} = { key => $key, may => ['live'], end => 'live' };
		$moved += 9;
		return sub { $cluster->step_clock($moved * DAY); return $cluster->try_sql(postgres => undef, 'SELECT cauce.confirm_clock()') };
	});

my @plan;
while (@plan < KILLS)
{
	push @plan, shuffle(map { my $operation = $_; map { [ $operation, $_ ] } @{ $step{$operation} } } sort keys %step);
}
# One of each operation first, then whatever comes.
my %first;
@plan = ((grep { !$first{ $_->[0] }++ } @plan), (grep { --$first{ $_->[0] } >= 0 && $first{ $_->[0] } >= 0 } @plan));
$#plan = KILLS - 1 if @plan > KILLS;

my $kills = 0;
for my $plan (@plan)
{
	my ($operation, $point) = @$plan;
	my $who = rand() < 0.35 ? 'postmaster' : 'process';
	my $name = sprintf '%d: %s at %s, %s', ++$kills, $operation, $point, $who;
	$cluster->sql(postgres => undef, q{UPDATE cauce.account SET retention_action = 'archive' WHERE subject = 'north-pro'});
	my $again = $operation{$operation}->();
	# A commit of the operation's own session, and of no worker's: these are visited all the time.
	if ($point =~ /_commit$/)
	{
		$cluster->configure("cauce.retention_naptime = '1d'");
		$cluster->pg_ctl('reload');
		$cluster->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cauce retention worker'}, '0');
		$cluster->poll_until('SHOW cauce.retention_naptime', '1d');
	}
	order($point, $who);
	$again->();
	my $struck = back($who);
	if ($point =~ /_commit$/)
	{
		$cluster->configure('cauce.retention_naptime = 1');
		$cluster->pg_ctl('reload');
	}
	if (!ok($struck && struck(), "$name: killed, and back"))
	{
		diag substr $cluster->log, -2000;
		last;
	}
	my @wrong;
	my ($states, $proofs) = seen();
	for my $id (keys %session)
	{
		my ($state, $proven) = ($states->{$id}, $proofs->{ $session{$id}{key} } // 0);
		push @wrong, "$id is $state" if !grep { $_ eq $state } @{ $session{$id}{may} };
		push @wrong, "$id is $state with $proven certificates" if $proven != ($state eq 'gone' ? 1 : 0);
	}
	is(join("\n", @wrong), '', "$name: whole, in one place, certified");
	$again->();
	my $ended = 0;
	for (1 .. 100)
	{
		($states) = seen();
		last if $ended = !grep { $states->{$_} ne $session{$_}{end} } keys %session;
		select undef, undef, undef, 0.1;
	}
	ok($ended, "$name: comes to its end") or diag join "\n", map { "$_ is $states->{$_}, not $session{$_}{end}" } grep { $states->{$_} ne $session{$_}{end} } keys %session;
	$_->{may} = [ $_->{end} ] for values %session;
}
cmp_ok($kills, '==', scalar @plan, 'as many kills as there were to be');

subtest 'in the end' => sub {
	ok($cluster->poll_until('SELECT here, failing, to_remove FROM cauce.storage_status', '0|0|0'), 'every archive is in storage, and of the erased nothing is');
	# A name is noted before its file is stored. Killed between the two, and restored before the next visit, there never is one.
	my %file = map { $_ => 1 } grep { !/\.new$/ } split /\n/, $cluster->as_postgres('ls', $storage)->{out};
	my %noted = map { split /\|/ } split /\n/, $cluster->superuser(q{SELECT session_id || '-' || encode(digest, 'hex'), stored_at IS NOT NULL FROM cauce.stored_bundle});
	is(join("\n", grep { !$noted{$_} } sort keys %file), '', 'what is in storage is known');
	is(join("\n", grep { $noted{$_} eq 't' && !$file{$_} } sort keys %noted), '', 'what is known to have been stored is there');
	is($cluster->superuser(q{SELECT count(*) FROM cauce.verify('cauce.archived_session')}), '0', 'and whole');
	is($cluster->superuser('SELECT count(*) FROM cauce.erasure_certificate c WHERE NOT cauce.verify_certificate(c.id)'), '0', 'every certificate verifies');
	my (undef, $proofs) = seen();
	is(join(' ', grep { ($proofs->{ $session{$_}{key} } // 0) != ($session{$_}{end} eq 'gone' ? 1 : 0) } keys %session), '', 'and is the only one');
	# What was made due is older than anything may be kept: restored, it is due again at once.
	$cluster->configure("cauce.retention_naptime = '1d'");
	$cluster->pg_ctl('reload');
	$cluster->poll_until('SHOW cauce.retention_naptime', '1d');
	$cluster->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cauce retention worker'}, '0');
	my @archived = grep { $session{$_}{end} eq 'archived' } keys %session;
	$cluster->sql(app => $token, "SELECT cauce.restore_session('$_')") for @archived;
	my @live = grep { $session{$_}{end} ne 'gone' } keys %session;
	is($cluster->sql(app => $token, q{SELECT count(*) FILTER (WHERE s.title = 'title' AND (SELECT string_agg(t.body, ',' ORDER BY seq) FROM cauce.transcript_segment t WHERE t.session_id = s.id) = 'words 1,words 2,words 3'
		AND (SELECT r.body FROM cauce.report r WHERE r.session_id = s.id) = 'report' AND (SELECT count(n.words::text) FROM public.note n WHERE n.visit = s.id) = 2) FROM cauce.session s}),
		scalar @live, 'whatever was not erased opens');
	is($cluster->superuser("SELECT count(*) FROM cauce.verify('$_')"), '0', "each value in its place: $_") for qw(cauce.session cauce.transcript_segment cauce.report public.note);
	ok(decode_json($cluster->as_postgres('cat', $cluster->keyring_file)->{out})->{keys}, 'the keyring is whole');
	is($cluster->superuser('SELECT count(*) FROM cauce.key_status WHERE ended AND data_keys > 0'), '0', 'no key lies under an epoch that has ended');
};

done_testing;
