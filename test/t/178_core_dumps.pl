# A process that has handled content or keys leaves no core dump when it crashes; and one that is taken of it
# by force, which would hold what the server's buffers hold, has no key in it.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use File::Temp qw(tempdir);
use IPC::Run qw(run);
use JSON::PP qw(decode_json);
use Test::More;

my $cluster = CauceTest->start(settings => "shared_buffers = '16MB'");
my $token = $cluster->token('north-pro');
my $private = tempdir(CLEANUP => 1);
chmod 0700, $private;
# pg_ctl allows core files (-c) as a careless service does; core_pattern decides whether they are files.
$cluster->pg_ctl('restart', '-c', '-m', 'fast')->{status} == 0 or BAIL_OUT('the server does not restart');

# file writes a file that only this test can read.
sub file
{
	my ($name, $content) = @_;
	open my $out, '>', "$private/$name" or die "$name: $!";
	print $out $content;
	close $out or die "$name: $!";
	return "$private/$name";
}

# limit gives soft and hard limit of a session's core dumps.
sub limit
{
	my ($session) = @_;
	my $pid = $session->query('SELECT pg_backend_pid()');
	return join ' ', $cluster->as_postgres('cat', "/proc/$pid/limits")->{out} =~ /^Max core file size\s+(\S+)\s+(\S+)/m;
}

# sudo, for one, gives the server a limit of 0, which nobody but the system's root can raise.
chomp(my $postmaster = $cluster->as_postgres('head', '-n', '1', $cluster->pgdata . '/postmaster.pid')->{out});
my $may_dump = $cluster->as_postgres('cat', "/proc/$postmaster/limits")->{out} !~ /^Max core file size\s+0\s+0/m;
my $plain = CauceSession->open($cluster, 'app', undef);
my $mine = CauceSession->open($cluster, app => $token);
my $write = q{UPDATE cauce.account SET display_name = 'qzcanary name' WHERE id = cauce.account_id();
	INSERT INTO cauce.session (title, client) VALUES ('qzcanary title', 'qzcanary client');
	INSERT INTO cauce.report (session_id, body) SELECT id, repeat('qzcanary report ', 100) FROM cauce.session};
# A certificate is signed.
my $erase = q{INSERT INTO cauce.report (session_id, body) SELECT id, 'x' FROM cauce.session; DELETE FROM cauce.report WHERE body = 'x'};
my $read = 'SELECT display_name FROM cauce.account; SELECT title FROM cauce.session; SELECT body FROM cauce.report';
$mine->query($write);
like($mine->query($read), qr/^(qzcanary.*\n?){3}$/, 'a session seals and opens');

subtest 'the limit' => sub {
	plan skip_all => 'the server may write no core files anyway' if !$may_dump;
	isnt(limit($plain), '1 1', 'is the server\'s where nothing was handled');
	# core(5): 1 is the value that suppresses files and pipes alike; 0 suppresses files only.
	is(limit($mine), '1 1', 'is 1 for a session that seals and opens, and cannot be raised');
	my $told = CauceSession->open($cluster, app => $token);
	is(limit($told), '1 1', 'for one that has been told a token');
	$told->close;
	my $loader = CauceSession->open($cluster, 'postgres', undef);
	$loader->query(q{SELECT 'words'::cauce.encrypted_text});
	is(limit($loader), '1 1', 'and for one that seals without identity');
	$loader->close;
};

subtest 'where the server\'s own limit is 0 already' => sub {
	# 0 lets the pipes of core_pattern through and cannot be raised to 1: the process is made undumpable.
	chomp(my $postmaster = $cluster->as_postgres('head', '-n', '1', $cluster->pgdata . '/postmaster.pid')->{out});
	is($cluster->as_postgres('prlimit', '--pid', $postmaster, '--core=0:0')->{status}, 0, 'the limit is set');
	# owner tells to whom the kernel gives a process: to root what must not be dumped.
	my $owner = sub {
		my ($session) = @_;
		my $pid = $session->query('SELECT pg_backend_pid()');
		return $cluster->as_postgres('stat', '-c', '%U', "/proc/$pid/limits")->{out};
	};
	my @session = map { CauceSession->open($cluster, 'app', $_) } undef, $token;
	is(limit($session[1]), '0 0', 'it is 0 for new sessions');
	is($owner->($session[0]), "postgres\n", 'one without identity is as it was');
	is($owner->($session[1]), "root\n", 'one with an identity is undumpable');
	is($session[1]->query(q{SELECT title FROM cauce.session}), 'qzcanary title', 'and works');
	$_->close for @session;
};
$cluster->pg_ctl('restart', '-c', '-m', 'fast')->{status} == 0 or BAIL_OUT('the server does not restart');
($plain, $mine) = map { CauceSession->open($cluster, 'app', $_) } undef, $token;
$mine->query($write);
$mine->query($erase);
$mine->query($read);

subtest 'a core that is taken by force' => sub {
	my $keyring = file('keyring.json', $cluster->as_postgres('cat', $cluster->keyring_file)->{out});
	my $rows = file('rows', $cluster->superuser('SELECT to_jsonb(k) FROM cauce.data_key k'));
	# found gives the keys that are in a file, and how many were looked for.
	my $found = sub {
		my ($core) = @_;
		my ($out, $err) = ('', '');
		run [ 'node', "$CauceTest::ROOT/test/find_keys.mjs", $keyring, $rows, $core ], '<', \undef, '>', \$out, '2>', \$err or diag $err;
		return split /\n/, $out;
	};
	# core takes a core of a session's process.
	my $core = sub {
		my ($session) = @_;
		my $pid = $session->query('SELECT pg_backend_pid()');
		my @root = $> == 0 || getpwuid($>) eq 'postgres' ? () : qw(sudo -n);
		my $out = '';
		run [ @root, 'gcore', '-o', $cluster->host . '/core', $pid ], '<', \undef, '>&', \$out, init => sub { chdir '/' } or diag $out;
		run [ @root, 'chmod', '644', $cluster->host . "/core.$pid" ];
		return $cluster->host . "/core.$pid";
	};

	my $taken = $core->($mine);
	is((run [ 'grep', '-qaF', 'qzcanary report', $taken ]) ? 'found' : 'not found', 'found', 'holds what was opened');
	my @idle = $found->($taken);
	like($idle[-1] // '', qr/^[56]\d\d keys$/, 'is searched for every key of keyring and database');
	is_deeply([ @idle[ 0 .. $#idle - 1 ] ], [], 'and holds none while the session is idle');

	# In a transaction AES key schedules, which begin with the key, are in OpenSSL's own memory.
	$mine->query('BEGIN; SELECT body FROM cauce.report \g /dev/null');
	is_deeply([ grep { !/^data key|^\d+ keys$/ } $found->($core->($mine)) ], [], 'nor a master or epoch key while a transaction is open');
	$mine->query('COMMIT');

	$mine->query("BEGIN; $erase");
	is_deeply([ grep { /^sign/ } $found->($core->($mine)) ], [], 'nor the signing key once a certificate is signed');
	$mine->query('COMMIT');

	# The search does find keys.
	my ($master) = grep { $_->{kid} eq 'master-1' } @{ decode_json(do { local (@ARGV, $/) = $keyring; <> })->{keys} };
	my @planted = $found->(file('planted', 'x' x 1000 . $master->{k} . 'x' x 1000));
	is_deeply(\@planted, [ 'master-1 in base64url at 1000', $idle[-1] ], 'a key that is there is found');
};

subtest 'a crash' => sub {
	# crash aborts a session's process, and tells whether the kernel left a core.
	my $crash = sub {
		my ($session) = @_;
		my $pid = $session->query('SELECT pg_backend_pid()');
		my $find = sub { return $cluster->as_postgres('find', $cluster->pgdata, '-maxdepth', '1', '-name', 'core*')->{out} };
		my $before = $find->();
		$cluster->as_postgres('kill', '-ABRT', $pid);
		$session->{run}->kill_kill;
		for (1 .. 100)
		{
			last if $cluster->log =~ /\(PID $pid\) was terminated by signal 6/;
			select undef, undef, undef, 0.1;
		}
		like($cluster->log =~ s/.*(?=\(PID $pid\))//sr, qr/^\(PID $pid\) was terminated by signal 6/, 'it crashes');
		ok($cluster->poll_until('SELECT 1', '1', 60), 'the server comes back');
		return $find->() ne $before;
	};
	my $pattern = $cluster->as_postgres('cat', '/proc/sys/kernel/core_pattern')->{out};
	ok(!$crash->($mine), 'of a session with an identity leaves no core');
	my $other = CauceSession->open($cluster, 'app', undef);
	my $left = $crash->($other);
	SKIP: {
		skip 'no core files are made in the working directory', 1 if !$may_dump || $pattern !~ /^core/;
		ok($left, 'while that of any other session does');
	}
};

done_testing;
