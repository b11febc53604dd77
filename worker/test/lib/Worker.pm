# What the tests of cauce-worker share: a cluster, a session, a token, recorded speech, and the
# worker itself as a process.
#
#	CAUCE_CLUSTER	dev/cluster, which starts and stops a throw-away cluster
#	WORKER			the program to test
package Worker;

use strict;
use warnings;
use Exporter 'import';
use File::Basename qw(dirname);
use File::Temp ();
use IPC::Run ();
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);
use Wer;

our @EXPORT = qw(
	scratch worker_path recordings recording reference open_session stream_token token_file
	transcript texts words distance wer run_worker start_worker feed offer finish_worker stop_server start_server kill_server memory
	dsn psql as_owner slurp spew sox pcm wait_until worker_pid as_root
);

# Debian package pocketsphinx-testdata: five utterances of a LibriVox reading, 16 kHz, 16 bit.
my $corpus = '/usr/share/pocketsphinx/test/data/librivox';
my $patience = $ENV{CAUCE_LONG} ? 3600 : 90;    # seconds that anything may take
my $pause = 0.01;     # seconds between two looks

my $scratch = File::Temp->newdir('worker-test.XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $scratch or die "chmod: $!";
my ($cluster, %server);
our @workers;    # all that were started, so that none outlives its test

sub scratch { return "$scratch" }

sub worker_path { return $ENV{WORKER} // die 'WORKER does not name the program' }

sub slurp
{
	my ($path) = @_;
	open my $file, '<:raw', $path or die "$path: $!";
	local $/ = undef;
	return scalar <$file>;
}

sub spew
{
	my ($path, $bytes) = @_;
	open my $file, '>:raw', $path or die "$path: $!";
	print $file $bytes;
	close $file or die "$path: $!";
	return $path;
}

# command runs a program and returns what it prints.
sub command
{
	my ($command, $input) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run($command, '<', \($input // ''), '>', \$out, '2>', \$err)
	  or die "@$command: $err";
	return $out;
}

# as_root is command with the rights of root: a worker's files under /proc are root's.
sub as_root
{
	my (@command) = @_;
	return command([ $> == 0 ? () : ('sudo', '-n', '--'), @command ]);
}

# server starts the cluster when it is first needed.
sub server
{
	return \%server if %server;
	my $program = $ENV{CAUCE_CLUSTER} // die 'CAUCE_CLUSTER does not name dev/cluster';
	$cluster = "$scratch/cluster";
	my $exports = command([ $program, 'start', $cluster ]);
	%server = $exports =~ /(PG\w+)=(\S+)/g;
	return \%server;
}

END
{
	my $status = $?;
	$_->{run}->kill_kill for grep { $_->{run}->pumpable } @workers;
	system($ENV{CAUCE_CLUSTER}, 'stop', $cluster) if defined $cluster;
	$? = $status;
}

# control runs pg_ctl. The server must not inherit the pipes to a worker that is being tested, or
# that worker's input would never end.
sub control
{
	my (@arguments) = @_;
	my $bin = command([ $ENV{PG_CONFIG} // 'pg_config', '--bindir' ]);
	chomp $bin;
	my @as =
	    $> == 0                          ? ('runuser', '-u', 'postgres', '--')
	  : (getpwuid $>)[0] eq 'postgres' ? ()
	  :                                    ('sudo', '-n', '-u', 'postgres', '--');
	my @pg_ctl = ("$bin/pg_ctl", '-D', "$cluster/data", qw(-s -w -l), "$cluster/log/server.log");
	my $child = fork // die "fork: $!";
	if ($child == 0)
	{
		POSIX::close($_) for 3 .. 255;
		open STDOUT, '>', '/dev/null' or POSIX::_exit(1);
		open STDERR, '>', '/dev/null' or POSIX::_exit(1);
		chdir '/' or POSIX::_exit(1);
		exec { $as[0] // $pg_ctl[0] } @as, @pg_ctl, @arguments or POSIX::_exit(1);
	}
	waitpid $child, 0;
	die "pg_ctl @arguments" if $? != 0;
	return;
}

sub stop_server  { server(); control('stop', '-m', $_[0] // 'immediate'); return }
sub start_server { server(); control('start'); return }

# kill_server kills the server's processes, all at once, as a machine that loses its power does.
sub kill_server
{
	server();
	my ($head) = slurp("$cluster/data/postmaster.pid") =~ /^(\d+)/;
	my @family = ($head, split ' ', command([ 'pgrep', '-P', $head ]));
	as_root('kill', '-KILL', @family);
	wait_until(sub { !grep { -d "/proc/$_" } @family });
	return;
}

# memory tells how many KiB of memory a process has.
sub memory { return slurp("/proc/$_[0]/status") =~ /^VmRSS:\s+(\d+)/m ? $1 : 0 }

sub dsn
{
	my (%more) = @_;
	my %parts = (host => server()->{PGHOST}, port => server()->{PGPORT},
		dbname => server()->{PGDATABASE}, user => 'app', %more);
	return join ' ', map { "$_=$parts{$_}" } sort keys %parts;
}

sub psql
{
	my ($user, $script) = @_;
	my @psql = qw(psql -X -A -t -q -v ON_ERROR_STOP=1);
	my $out = command([ @psql, '-d', dsn(user => $user) ], $script);
	chomp $out;
	return $out;
}

# as_owner runs SQL in a transaction with the identity of north-pro.
sub as_owner
{
	my ($sql) = @_;
	server();
	my $token = command([ dirname($ENV{CAUCE_CLUSTER}) . '/token', "$scratch/cluster", 'north-pro' ]);
	chomp $token;
	return psql('app', "BEGIN;\n\\o /dev/null\n"
		  . "SELECT set_config('cauce.token', '$token', true);\n\\o\n$sql;\nCOMMIT;\n");
}

sub open_session
{
	return as_owner("INSERT INTO cauce.session (title) VALUES ('x') RETURNING id");
}

sub stream_token
{
	my ($session, $ttl) = @_;
	return as_owner("SELECT cauce.stream_token('$session', '" . ($ttl // '10 minutes') . "')");
}

# token_file writes a token, a fresh one for the session if none is given.
sub token_file
{
	my ($session, $token) = @_;
	my ($file, $path) = File::Temp::tempfile('token.XXXXXX', DIR => $scratch);
	print $file $token // stream_token($session), "\n";
	close $file or die "$path: $!";
	return $path;
}

# transcript returns the rows that the owner reads, in the order of the stream.
sub transcript
{
	my ($session) = @_;
	my $rows = as_owner('SELECT channel, seq, speaker, start_ms, end_ms, confidence IS NULL, body'
		  . " FROM cauce.transcript_segment WHERE session_id = '$session' ORDER BY seq, channel");
	my @names = qw(channel seq speaker start_ms end_ms unsure body);
	return map { my %row; @row{@names} = split /\|/, $_, 7; \%row } split /\n/, $rows;
}

sub texts { return join ' ', map { $_->{body} } transcript($_[0]) }

sub recordings { return sort glob "$corpus/*.wav" }

# recording is all recordings, one after the other, as one WAV file.
sub recording
{
	my $path = "$scratch/all.wav";
	command([ 'sox', recordings(), $path ]) unless -e $path;
	return $path;
}

# sox makes a variant of a recording and returns its path.
sub sox
{
	my ($name, @arguments) = @_;
	my $path = "$scratch/$name";
	command([ 'sox', map { $_ eq 'OUT' ? $path : $_ } @arguments ]);
	return $path;
}

# pcm returns the samples of a recording as raw 16-bit PCM.
sub pcm { return command([ 'sox', $_[0], '-t', 'raw', '-e', 'signed', '-b', '16', '-' ]) }

# reference returns what is said in the recordings; in one of them with its path.
sub reference
{
	my ($path) = @_;
	my @said;
	for (split /\n/, slurp("$corpus/transcription"))
	{
		my ($text, $name) = m{<s> (.*) </s> \((.*)\)} or next;
		push @said, $text if !defined $path || $path =~ /\Q$name\E/;
	}
	return join ' ', @said;
}

# start_worker starts `cauce-worker transcribe` with arguments. feed gives it input and returns
# once it has taken that; offer leaves it to the next call to see how much it takes.
sub start_worker
{
	my ($arguments, %how) = @_;
	my $worker = { in => '', out => '', err => '' };
	my @command = (@{ $how{before} // [] }, worker_path(), 'transcribe', @$arguments);
	$worker->{run} = IPC::Run::start(\@command, '<', \$worker->{in}, '>', \$worker->{out},
		'2>', \$worker->{err}, IPC::Run::timeout($patience));
	push @workers, $worker;
	return $worker;
}

sub worker_pid { return $_[0]{run}{KIDS}[0]{PID} }

sub offer { $_[0]{in} .= $_[1]; return }

sub feed
{
	my ($worker, $bytes) = @_;
	offer($worker, $bytes);
	$worker->{in} = ''
	  if !wait_until(sub { !length $worker->{in} || !$worker->{run}->pumpable }, $worker);
	return;
}

sub finish_worker
{
	my ($worker) = @_;
	eval { $worker->{run}->finish; 1 } or diag "worker: $@";
	my $status = $worker->{run}->full_result(0);
	$worker->{code} = $status & 127 ? "signal $status" : $status >> 8;
	return $worker;
}

# run_worker runs it to the end; input is bytes for standard input.
sub run_worker
{
	my ($arguments, %how) = @_;
	my $worker = start_worker($arguments, %how);
	feed($worker, $how{input}) if defined $how{input};
	return finish_worker($worker);
}

# wait_until waits for a condition and returns whether it came true.
sub wait_until
{
	my ($condition, $worker) = @_;
	my $end = time + $patience;
	until ($condition->())
	{
		return 0 if time > $end;
		eval { $worker->{run}->pump_nb } if defined $worker;
		sleep $pause;
	}
	return 1;
}

1;
