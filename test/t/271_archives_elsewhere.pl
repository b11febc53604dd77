# cauce.archive_command hands archives over to storage, sealed, and cauce.restore_command brings them back. Nothing leaves
# the table before storage has given it back whole; whatever storage does, an archive is whole or said not to be; who may
# not open one does not have a program run; what is erased is erased with storage down, and goes from storage when it is back.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use File::Temp qw(tempdir);
use IPC::Run qw(run);
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'");
my $storage = $cluster->dir . '/keys/keyring/storage';
my %token = map { $_ => $cluster->token($_) } qw(north-pro north-admin south-pro solo);
$cluster->superuser('CREATE ROLE ops LOGIN IN ROLE cauce_operator');

sub shell
{
	my ($script, @arguments) = @_;
	my $result = $cluster->as_postgres('sh', '-ec', $script, 'sh', @arguments);
	die "$script: $result->{err}" if $result->{status};
	return $result->{out};
}

# The storage: each program notes its name and what it was asked for. It stores as docs/operations.md has it.
shell('mkdir -m 700 "$1"; printf "%s" "$2" > "$1/run"; chmod 700 "$1/run"', $storage, "#!/bin/sh\n" . <<"STORAGE");
echo "\$1 \$2" >> $storage/journal
file=$storage/\$2
case "\$1" in
put)
	set -e
	trap 'rm -f "\$file.\$\$"' EXIT
	cat > "\$file.\$\$"
	test "\$(sha256sum < "\$file.\$\$" | cut -c 1-64)" = "\${2##*-}"
	sync "\$file.\$\$"
	mv "\$file.\$\$" "\$file"
	sync $storage ;;
late) echo > $storage/slow; while [ -e $storage/slow ]; do sleep 0.05; done; "\$0" put "\$2" ;;
get) cat "\$file" ;;
remove) rm -f "\$file" ;;
true) ;;
lose) cat > /dev/null ;;
chatty) yes | head -c 1000000; cat > "\$file" ;;
fail) echo 'storage: out of order' >&2; exit 3 ;;
changed) sed '1s/^./x/' "\$file" ;;
short) head -c 50 "\$file" ;;
long) cat "\$file"; echo ;;
flood) yes ;;
other) cat \$(ls $storage/*-*-* | grep -v \$2 | head -n 1) | head -c \$(stat -c %s "\$file") ;;
hang) sleep 300 & echo \$! > $storage/sleeper; wait ;;
files) ls -l /proc/\$\$/fd >&2; exit 4 ;;
slow) cat > "\$file"; echo > $storage/slow; while [ -e $storage/slow ]; do sleep 0.05; done ;;
esac
STORAGE

# use_commands says which programs there are, and waits until that counts.
sub use_commands
{
	my ($put, $get, $remove) = @_;
	my $line = sub { $_[0] ? "$storage/run $_[0] %f" : '' };
	$cluster->configure(sprintf "cauce.archive_command = '%s'\ncauce.restore_command = '%s'\ncauce.archive_cleanup_command = '%s'", map { $line->($_) } $put, $get, $remove);
	$cluster->pg_ctl('reload');
	$cluster->poll_until(q{SELECT concat_ws(',', current_setting('cauce.archive_command'), current_setting('cauce.restore_command'), current_setting('cauce.archive_cleanup_command'))},
		join(',', map { $line->($_) } $put, $get, $remove)) or die 'no reload';
	return;
}

# visit has the background worker come at once, past what was put off, and waits until it has left.
my $visits = 0;
sub visit
{
	$cluster->superuser(q{UPDATE cauce.stored_bundle SET retry_at = now() WHERE retry_at > now(); INSERT INTO cauce.retention_run (started_at) VALUES (now() - interval '1 hour')}) if ($_[0] // '') ne 'all';
	my $before = $cluster->superuser('SELECT coalesce(max(id), 0) FROM cauce.retention_run');
	$cluster->sql(ops => undef, 'SELECT cauce.store_archives()');
	$cluster->poll_until("SELECT count(*) > 0 FROM cauce.retention_run WHERE id > $before AND finished_at IS NOT NULL", 't') or die 'no visit';
	return if $_[0] && $_[0] eq 'begin';
	$cluster->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cauce retention worker'}, '0') or die 'the visit does not end';
	return;
}

# await waits until a program has left a file in storage.
sub await
{
	my ($file) = @_;
	for (1 .. 200) { return 1 if !$cluster->as_postgres('test', '-s', "$storage/$file")->{status}; select undef, undef, undef, 0.05 }
	die "no $file";
}

# archive makes a session and archives it.
sub archive
{
	my ($who, $word) = @_;
	return $cluster->sql(app => $token{$who}, "INSERT INTO cauce.session (title) VALUES ('qzcanary $word') RETURNING id AS session \\gset
		INSERT INTO cauce.report (session_id, body) VALUES (:'session', repeat('qzcanary $word ', 40));
		SELECT cauce.archive_session(:'session') \\g /dev/null
		SELECT :'session'");
}

sub journal { return split /\n/, shell('cat "$1/journal" 2>/dev/null || true', $storage) }
sub files { return split /\n/, shell('cd "$1"; ls | grep -- -.*-.*-.*-.*- || true', $storage) }
sub name { return $cluster->superuser("SELECT id || '-' || encode(bundle_digest, 'hex') FROM cauce.archived_session WHERE id = '$_[0]'") }
sub where { return $cluster->superuser("SELECT CASE WHEN bundle IS NULL THEN 'elsewhere' ELSE 'here' END FROM cauce.archived_session WHERE id = '$_[0]'") }
sub opened { return $cluster->try_sql(app => $token{ $_[1] // 'north-pro' }, "SELECT cauce.open_archive(account_id, id, bundle)->'session'->>'title' FROM cauce.archived_session WHERE id = '$_[0]'") }
sub restored { return $cluster->try_sql(app => $token{ $_[1] // 'north-pro' }, "SELECT cauce.restore_session('$_[0]')") }

subtest 'what the settings may be' => sub {
	for my $setting (qw(cauce.archive_command cauce.restore_command cauce.archive_cleanup_command))
	{
		for my $value ('store', 'store %%', 'store %f %p', 'store %f %')
		{
			my $result = $cluster->try_sql(postgres => undef, "ALTER SYSTEM SET $setting = '$value'");
			is($result->{sqlstate}, '22023', "$setting: $value");
			like($result->{err}, qr/HINT:  .*%f/, 'with a hint');
		}
		isnt($cluster->try_sql(app => undef, "SET $setting = 'x %f'")->{status}, 0, 'is no application\'s to set');
		is($cluster->sql(app => undef, "SELECT count(*) FROM pg_settings WHERE name = '$setting'"), '0', 'nor to see');
	}
};

my $first = archive('north-pro', 'first');
my $sealed = $cluster->superuser("SELECT encode(bundle, 'hex') FROM cauce.archived_session WHERE id = '$first'");

subtest 'it is handed over' => sub {
	visit();
	is(where($first), 'here', 'not unless a setting says so');
	use_commands('put', '');
	visit();
	is(where($first), 'here', 'not where it could not come back');
	like($cluster->sql(ops => undef, 'SELECT last_failure FROM cauce.storage_status'), qr/^55000: cauce\.restore_command is not set/, 'which is shown');
	use_commands('put', 'get', 'remove');
	visit();
	is(where($first), 'elsewhere', 'and then it is in storage');
	is(join(' ', files()), name($first), 'under its name');
	is($cluster->sql(ops => undef, 'SELECT here, elsewhere, oldest_here, failing, to_remove FROM cauce.storage_status'), '0|1||0|0', 'which is shown');
	is(unpack('H*', shell('cat "$1/$2"', $storage, name($first))), $sealed, 'byte for byte as it was sealed');
	is(opened($first)->{out}, 'qzcanary first', 'and opens where it is');
	is($cluster->sql(app => $token{'north-pro'}, q{SELECT e->0->'content'->'session'->>'title', e->0->>'id', e->0 ?| '{bundle,bundle_digest,bundle_bytes}' FROM (SELECT cauce.export_my_data()->'archived_session') x (e)}), "qzcanary first|$first|f", 'so it is in the export');
	is($cluster->superuser(q{SELECT * FROM cauce.verify('cauce.archived_session')}), '', 'and verified');
	like($cluster->log, qr/cauce archives: 1 handed over, 0 brought back, 0 removed/, 'the log tells how many');
};

subtest 'an independent reader opens what is in storage' => sub {
	my $account = $cluster->superuser("SELECT account_id FROM cauce.archived_session WHERE id = '$first'");
	my %file = (keyring => $cluster->as_postgres('cat', $cluster->keyring_file)->{out}, row => $cluster->superuser("SELECT to_jsonb(k) FROM cauce.data_key k WHERE session_id = '$first'"));
	my $private = tempdir(CLEANUP => 1);
	for my $what (keys %file)
	{
		open my $out, '>', "$private/$what" or die;
		print $out $file{$what};
		close $out or die;
	}
	my $form = '\\x' . unpack 'H*', shell('cat "$1/$2"', $storage, name($first));
	run [ 'node', "$CauceTest::ROOT/test/open_sealed.mjs", "$private/keyring", "$private/row", 'cauce', 'archived_session', $account, $first, 'bundle' ], '<', \$form, '>', \my $out, '2>', \my $err;
	like($out, qr/qzcanary first/, 'with the key') or diag $err;
};

subtest 'who may not open it has nothing run' => sub {
	my $account = $cluster->superuser("SELECT account_id FROM cauce.archived_session WHERE id = '$first'");
	my $before = () = journal();
	my $open = "SELECT cauce.open_archive('$account', '$first', NULL)";
	is($cluster->try_sql(app => $token{'south-pro'}, $open)->{sqlstate}, '42501', 'another account');
	is($cluster->try_sql(app => $token{'north-admin'}, $open)->{sqlstate}, '42501', 'an admin who sees sessions only');
	is($cluster->try_sql(app => undef, $open)->{sqlstate}, '28000', 'nobody');
	is($cluster->try_sql(postgres => undef, $open)->{sqlstate}, '28000', 'a superuser');
	is(restored($first, 'south-pro')->{sqlstate}, '42501', 'another account, to restore');
	is($cluster->try_sql(app => $token{'south-pro'}, "SELECT cauce.open_archive(cauce.account_id(), '$first', NULL)")->{status}, 3, 'nor by its id');
	is($cluster->try_sql(app => $token{'south-pro'}, q{SELECT cauce.verify('cauce.archived_session')})->{sqlstate}, '42501', 'nor all of them');
	is($cluster->try_sql(app => $token{'south-pro'}, 'SELECT cauce.store_archives()')->{sqlstate}, '42501', 'nor is storage theirs to call');
	is(scalar(() = journal()), $before, 'and no program ran');
	$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'content' WHERE name = 'north'});
	is(opened($first, 'north-admin')->{out}, 'qzcanary first', 'an admin who reads content has it, opened');
	is($cluster->superuser("SELECT count(*) FROM cauce.audit_log WHERE session_id = '$first' AND role = 'admin'"), '1', 'which is in the audit log');
	$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'sessions' WHERE name = 'north'});
};

subtest 'storage that lies' => sub {
	archive('north-pro', 'another');
	visit();
	my %sqlstate = (changed => 'XX001', short => 'XX001', other => 'XX001', long => '58030', flood => '58030', fail => '58030', files => '58030', '' => '55000');
	for my $how (sort keys %sqlstate)
	{
		use_commands('put', $how, 'remove');
		for my $result (opened($first), restored($first))
		{
			is($result->{sqlstate}, $sqlstate{$how}, $how || 'no command');
			like($result->{err}, qr/DETAIL:  \S.*HINT:  \S/s, 'with detail and hint');
		}
		my $verified = $cluster->try_sql(ops => undef, q{SELECT DISTINCT problem FROM cauce.verify('cauce.archived_session')});
		is($verified->{out} || $verified->{sqlstate}, { XX001 => 'damaged', 58030 => 'not restored', 55000 => '55000' }->{ $sqlstate{$how} }, 'verified');
	}
	is_deeply([ grep { /socket:|\/base\/|\/pg_wal\// } grep { !/ 2 -> / } split /\n/, $cluster->log ], [], 'no socket and no file of the server\'s is inherited');
	use_commands('put', 'get', 'remove');
	is(where($first), 'elsewhere', 'it is where it was');
	is(opened($first)->{out}, 'qzcanary first', 'and opens when storage is well');
	shell('mv "$1/$2" "$1/kept"', $storage, name($first));
	is($cluster->sql(ops => undef, q{SELECT session_id, problem FROM cauce.verify('cauce.archived_session')}), "$first|not restored", 'a file that is missing is named by verify()');
	shell('mv "$1/kept" "$1/$2"', $storage, name($first));
};

subtest 'storage that does not store' => sub {
	my $id = archive('north-pro', 'kept');
	for my $how (qw(hang true lose fail))
	{
		use_commands($how, 'get', 'remove');
		if ($how eq 'hang')
		{
			visit('begin');
			await('sleeper');
			chomp(my $sleeper = shell('cat "$1/sleeper"', $storage));
			is($cluster->superuser(q{SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE backend_type = 'cauce retention worker'}), 't', 'hang: the worker ends within a second');
			like(shell('sed -n "s/^State:\t//p" "/proc/$1/status" 2>/dev/null || true', $sleeper), qr/^(Z.*)?$/, 'and takes the program along');
		}
		else
		{
			visit();
			like($cluster->sql(ops => undef, 'SELECT last_failure FROM cauce.storage_status'), qr/^58030: cauce\.(archive|restore)_command failed: /, "$how: is shown");
			is($cluster->superuser("SELECT count(*) FROM cauce.stored_bundle WHERE session_id = '$id' AND retry_at > now()"), '1', 'put off');
		}
		is(where($id), 'here', "$how: it stays in the table");
	}
	like($cluster->log, qr/storage: out of order/, 'what storage says is in the log');
	my $before = () = journal();
	use_commands('put', 'get', 'remove');
	visit('all');
	is(where($id), 'here', 'what failed is put off');
	is(scalar(() = journal()), $before, 'and not tried at each visit');
	use_commands('chatty', 'get', 'remove');
	visit();
	is(where($id), 'elsewhere', 'and handed over when storage is well, whatever it prints');
	is($cluster->sql(ops => undef, 'SELECT failing, next_retry FROM cauce.storage_status'), '0|', 'and nothing fails');
};

subtest 'storage that is down is asked once a visit' => sub {
	archive('north-pro', $_) for 1 .. 3;
	use_commands('fail', 'get', 'remove');
	my $before = () = journal();
	visit();
	is(scalar(() = journal()), $before + 1, 'once');
	use_commands('put', 'get', 'remove');
	visit();
	is($cluster->sql(ops => undef, 'SELECT here FROM cauce.storage_status'), '0', 'then all go');
};

subtest 'a statement that waits for it can be cancelled' => sub {
	use_commands('put', 'hang', 'remove');
	shell('rm -f "$1/sleeper"', $storage);
	is($cluster->try_sql(app => $token{'north-pro'}, "SET statement_timeout = '1s'; SELECT cauce.restore_session('$first')")->{sqlstate}, '57014', 'restore_session');
	chomp(my $sleeper = shell('cat "$1/sleeper"', $storage));
	like(shell('sed -n "s/^State:\t//p" "/proc/$1/status" 2>/dev/null || true', $sleeper), qr/^(Z.*)?$/, 'with the program');
	my $session = CauceSession->open($cluster, app => $token{'north-pro'});
	shell('rm -f "$1/sleeper"', $storage);
	$session->{in} .= "SELECT cauce.restore_session('$first');\n";
	for (1 .. 100) { $session->{run}->pump_nb; last if !$cluster->as_postgres('test', '-s', "$storage/sleeper")->{status}; select undef, undef, undef, 0.05 }
	is($cluster->superuser(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid IN (SELECT pid FROM pg_stat_activity WHERE usename = 'app')}), '0', 'nothing is locked meanwhile');
	$cluster->superuser(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'app'});
	$session->{run}->kill_kill;
	use_commands('put', 'get', 'remove');
	is(where($first), 'elsewhere', 'it is where it was');
};

subtest 'restored' => sub {
	my $name = name($first);
	is(restored($first)->{status}, 0, 'it comes back');
	is($cluster->sql(app => $token{'north-pro'}, "SELECT title, (SELECT body = repeat('qzcanary first ', 40) FROM cauce.report WHERE session_id = s.id) FROM cauce.session s WHERE id = '$first'"), 'qzcanary first|t', 'whole');
	visit();
	ok((grep { $_ eq $name } files()), 'its file stays while a backup of the database may need it');
	$cluster->sql(app => $token{'north-pro'}, "DELETE FROM cauce.session WHERE id = '$first'");
	is($cluster->sql(ops => undef, 'SELECT to_remove FROM cauce.storage_status'), '1', 'erased, it is to be removed');
	use_commands('put', 'get', 'fail');
	visit();
	is($cluster->sql(ops => undef, 'SELECT to_remove, failing, last_failure FROM cauce.storage_status'), '1|1|58030: cauce.archive_cleanup_command failed: child process exited with exit code 3', 'and is so until that succeeds');
	use_commands('put', 'get', 'remove');
	visit();
	ok(!(grep { $_ eq $name } files()), 'then it is gone');
	is($cluster->sql(ops => undef, 'SELECT to_remove, failing FROM cauce.storage_status'), '0|0', 'and forgotten');
};

subtest 'erased while storage is down' => sub {
	my ($deleted, $due, $held) = (archive('north-pro', 'deleted'), archive('north-pro', 'due'), archive('north-pro', 'held'));
	archive('solo', 'mine') for 1 .. 2;
	$cluster->superuser(qq{UPDATE cauce.archived_session SET legal_hold = true WHERE id = '$held'});
	visit();
	is(where($held), 'here', 'what is under legal hold stays in the table');
	use_commands('fail', 'fail', 'fail');
	$cluster->sql(app => $token{'north-pro'}, "DELETE FROM cauce.archived_session WHERE id = '$deleted'");
	is($cluster->superuser("SELECT counts FROM cauce.erasure_certificate WHERE subject = 'archive' ORDER BY erased_at DESC LIMIT 1"), '{"archives": 1, "archives_stored": 1}', 'DELETE, whose certificate says that it was elsewhere');
	$cluster->superuser("UPDATE cauce.archived_session SET delete_after = now() - interval '1 day' WHERE id = '$due'");
	is($cluster->sql(ops => undef, 'SELECT deleted, failed FROM cauce.run_retention()'), '1|0', 'retention');
	my $certificate = $cluster->sql(app => $token{solo}, q{SELECT cauce.delete_my_data('solo')});
	is($cluster->superuser("SELECT counts->>'archives', counts->>'archives_stored', cauce.verify_certificate(id) FROM cauce.erasure_certificate WHERE id = '$certificate'"), '2|2|t', 'delete_my_data()');
	is($cluster->sql(ops => undef, 'SELECT to_remove FROM cauce.storage_status'), '4', 'what is left is known');
	my @before = files();
	use_commands('put', 'get', 'remove');
	visit();
	is(scalar(() = files()), @before - 4, 'and removed when storage is back');
	$cluster->superuser("UPDATE cauce.archived_session SET legal_hold = false WHERE id = '$held'");
	visit();
	is(where($held), 'elsewhere', 'released, it is handed over');
};

# during has something happen while an archive is on its way to storage.
sub during
{
	my ($id, $do) = @_;
	use_commands('slow', 'get', 'remove');
	visit('begin');
	await('slow');
	$do->();
	shell('rm -f "$1/slow"', $storage);
	$cluster->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cauce retention worker'}, '0');
	use_commands('put', 'get', 'remove');
	return;
}

subtest 'what happens while it is handed over wins' => sub {
	my $id = archive('north-pro', 'deleted meanwhile');
	during($id, sub { $cluster->sql(app => $token{'north-pro'}, "DELETE FROM cauce.archived_session WHERE id = '$id'") });
	is($cluster->superuser("SELECT count(*) FROM cauce.archived_session WHERE id = '$id'"), '0', 'deleted, it is gone');
	visit();
	is((grep { /^$id/ } files()), 0, 'and gone from storage');
	$id = archive('north-pro', 'restored meanwhile');
	during($id, sub { is(restored($id)->{status}, 0, 'restored') });
	is($cluster->sql(app => $token{'north-pro'}, "SELECT title FROM cauce.session WHERE id = '$id'"), 'qzcanary restored meanwhile', 'it is restored');
	$cluster->sql(app => $token{'north-pro'}, "SELECT cauce.archive_session('$id')");
	during($id, sub { is(restored($id)->{status}, 0, 'restored'); $cluster->sql(app => $token{'north-pro'}, "SELECT cauce.archive_session('$id')") });
	is(where($id), 'here', 'archived anew meanwhile, it is another bundle, and stays');
	visit();
	is(where($id), 'elsewhere', 'until it goes as itself');
	is(opened($id)->{out}, 'qzcanary restored meanwhile', 'and opens');
	$id = archive('north-pro', 'held meanwhile');
	during($id, sub { $cluster->superuser("UPDATE cauce.archived_session SET legal_hold = true WHERE id = '$id'") });
	is(where($id), 'here', 'put under legal hold, it stays');
	$cluster->superuser("UPDATE cauce.archived_session SET legal_hold = false WHERE id = '$id'");
	my $other = CauceSession->open($cluster, app => $token{'north-pro'});
	during($id, sub { $other->query("BEGIN; DELETE FROM cauce.archived_session WHERE id = '$id'") });
	is(where($id), 'here', 'locked, it stays, and nobody waits');
	$other->query('ROLLBACK');
	$other->close;
};

subtest 'rotated keys' => sub {
	my $id = archive('north-pro', 'rotated');
	visit();
	my $name = name($id);
	$cluster->superuser('SELECT cauce.rotate_data_keys()');
	$cluster->poll_until("SELECT count(*) FROM cauce.data_key WHERE session_id = '$id' AND superseded_at IS NOT NULL", '1');
	for (1 .. 5) { visit(); last if $cluster->superuser('SELECT bool_and(finished_at IS NOT NULL) FROM cauce.rotation_status') eq 't' }
	is($cluster->superuser('SELECT bool_and(finished_at IS NOT NULL) FROM cauce.rotation_status'), 't', 'come to their end');
	visit();
	is(where($id), 'elsewhere', 'with the archive in storage again');
	isnt(name($id), $name, 'as another file');
	is(substr(unpack('H*', shell('head -c 4 "$1/$2"', $storage, name($id))), 4, 4), '0002', 'sealed under the next generation');
	is(opened($id)->{out}, 'qzcanary rotated', 'and it opens');
};

subtest 'killed' => sub {
	my $id = archive('north-pro', 'killed');
	$cluster->sql(app => $token{'north-pro'}, "SELECT cauce.restore_session('$id'); INSERT INTO cauce.report (session_id, body) SELECT '$id', string_agg(md5(random()::text), '') FROM generate_series(1, 10000); SELECT cauce.archive_session('$id')");
	# In the midst of writing, which a pipe does not take all at once; and when all is stored and not known to be.
	for my $how (qw(late slow))
	{
		use_commands($how, 'get', 'remove');
		visit('begin');
		await('slow');
		# The worker first: one that sees the postmaster's end takes the program along.
		$cluster->as_postgres('kill', '-9', $cluster->superuser(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'cauce retention worker'}));
		$cluster->kill_server;
		shell('rm -f "$1/slow"', $storage);
		# The program goes on by itself, unless a process of the server's had the time to end it.
		for (1 .. 200) { last if shell('pgrep -f "^/bin/sh $1/run" || true', $storage) eq ''; select undef, undef, undef, 0.05 }
		is(scalar(grep { /^$id/ } files()), $how eq 'late' ? 0 : 1, "$how: what is in storage");
		$cluster->pg_ctl('start');
		is(where($id), 'here', 'it is in the table');
		is($cluster->superuser("SELECT count(*) FROM cauce.stored_bundle WHERE session_id = '$id'"), '1', 'and noted as in storage');
	}
	use_commands('put', 'get', 'remove');
	visit();
	is(where($id), 'elsewhere', 'and goes under the same name');
	is((grep { /^$id/ } files()), 1, 'once');
	is(opened($id)->{out}, 'qzcanary killed', 'whole');
};

subtest 'copies of the database' => sub {
	my $id = archive('north-pro', 'copied');
	my $away = archive('north-pro', 'copied, from storage');
	visit();
	my $standby = CauceTest->standby_of($cluster, settings => "cauce.retention_naptime = 1\nrestart_after_crash = on");
	my $here = archive('north-pro', 'on a standby');
	$standby->catch_up_with($cluster);
	my $before = () = journal();
	is($standby->sql(app => $token{'north-pro'}, "SELECT cauce.open_archive(account_id, id, bundle)->'session'->>'title' FROM cauce.archived_session WHERE id = '$id'"), 'qzcanary copied', 'a standby brings it back');
	is(scalar(() = journal()), $before + 1, 'from storage');
	select undef, undef, undef, 1.5;
	is(scalar(grep { /^(put|remove)/ } (journal())[ $before .. (() = journal()) - 1 ]), 0, 'and hands nothing over itself');
	$standby->stop;
	my $dump = $cluster->as_postgres('pg_dump', '-h', $cluster->host, '-U', 'postgres', '-e', 'cauce', '-e', 'pgcrypto', 'cauce');
	$cluster->superuser('CREATE DATABASE copy');
	run [ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $cluster->dsn('postgres', 'copy') ], '<', \$dump->{out}, '>', \my $out, '2>', \my $err;
	is($?, 0, 'a dump is restored') or diag $err;
	is($cluster->superuser('SELECT count(*) FROM cauce.stored_bundle', database => 'copy'), $cluster->superuser('SELECT count(*) FROM cauce.stored_bundle'), 'it knows what is in storage');
	is($cluster->sql(app => $token{'north-pro'}, "SELECT cauce.restore_session('$away') \\g /dev/null\nSELECT title FROM cauce.session WHERE id = '$away'", database => 'copy'), 'qzcanary copied, from storage', 'and brings it back');
};

subtest 'nothing of what was said' => sub {
	for my $word ('qzcanary', $cluster->as_postgres('sed', '-n', 's/.*"k": *"\([^"]*\)".*/\1/p', $cluster->keyring_file)->{out} =~ /^(\S+)/)
	{
		is($cluster->as_postgres('grep', '-rlaF', $word, $storage)->{out}, '', 'is in storage');
		is(index($cluster->log, $word), -1, 'or in the log');
	}
	is(join(' ', grep { !/^(put|get|remove|true|lose|fail|hang|chatty|changed|short|long|flood|other|files|slow|late) [0-9a-f-]{36}-[0-9a-f]{64}$/ } journal()), '', 'a program is told a name and nothing else');
};

done_testing;
