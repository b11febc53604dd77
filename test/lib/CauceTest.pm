# What the TAP tests stand on: clusters of dev/cluster that go away however a test ends, and
# SQL under a database role and a signed identity.
#
#	use CauceTest;
#	my $cluster = CauceTest->start;           # or ->standby_of($cluster), ->sibling_of($cluster)
#	my $token = $cluster->token('north-pro');
#	my $id = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('a') RETURNING id});
#	my $result = $cluster->try_sql(app => undef, 'SELECT …');    # {status, out, err, sqlstate}
#
# The checkout under test is that of $CAUCE_ROOT, or the one this file is in. No token ever is
# an argument of a program.
package CauceTest;

use strict;
use warnings;
use Carp qw(croak);
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IPC::Run qw(run);

our $ROOT = $ENV{CAUCE_ROOT} || abs_path(dirname(__FILE__) . '/../..');

# The clusters of this process, by directory.
my %started;

# A test that is told to stop still runs its END blocks.
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);

END
{
	my $status = $?;
	$_->stop for values %started;
	$? = $status;
}

# start makes a cluster and gives a handle to it. `settings` are lines for postgresql.conf.
sub start
{
	my ($class, %option) = @_;
	return $class->_make([ 'start' ], %option);
}

# standby_of makes a hot standby of a running cluster, with its own copy of the keyring. Settings as for start.
sub standby_of
{
	my ($class, $primary, %option) = @_;
	return $class->_make([ 'standby', $primary->{dir} ], %option);
}

# sibling_of makes a cluster with a copy of another's keyring and token keys, and nothing in its database.
sub sibling_of
{
	my ($class, $source, %option) = @_;
	return $class->_make([ 'sibling', $source->{dir} ], %option);
}

# _make has dev/cluster make one.
sub _make
{
	my ($class, $command, %option) = @_;
	my $dir = tempdir('cauce-test-XXXXXX', TMPDIR => 1);
	my ($out, $err) = ('', '');
	my $self = bless { dir => $dir, pid => $$, pg_config => $ENV{PG_CONFIG} || 'pg_config' }, $class;

	if (!run [ "$ROOT/dev/cluster", @$command, $dir ], '<', \undef, '>', \$out, '2>', \$err)
	{
		rmdir $dir;
		croak "dev/cluster @$command: $err";
	}
	$started{$dir} = $self;
	# The values hold no blank: dev/cluster chooses a socket directory without one.
	$self->{env} = { $out =~ /\b(PG[A-Z]+)=(\S+)/g };
	if ($option{settings})
	{
		$self->configure($option{settings});
		$self->restart;
	}
	return $self;
}

# stop ends the cluster and removes it; also called at the end of the test.
sub stop
{
	my ($self) = @_;
	return if $self->{pid} != $$ || !delete $started{ $self->{dir} };
	run [ "$ROOT/dev/cluster", 'stop', $self->{dir} ], '<', \undef;
	return;
}

sub dir { return $_[0]{dir} }
sub pgdata { return "$_[0]{dir}/data" }
sub host { return $_[0]{env}{PGHOST} }
sub keyring_file { return "$_[0]{dir}/keys/keyring/keyring.json" }

# dsn gives a connection string for a role, by default the application's.
sub dsn
{
	my ($self, $role, $database) = @_;
	return join ' ', "host=" . $self->host, "port=$self->{env}{PGPORT}",
	  'dbname=' . ($database // 'cauce'), 'user=' . ($role // 'app');
}

# token gives a signed token; options are those of dev/token: scope, session, ttl, purpose, audience.
sub token
{
	my ($self, $subject, %option) = @_;
	my ($out, $err) = ('', '');

	run [ "$ROOT/dev/token", $self->{dir}, $subject, map { ("--$_", $option{$_}) } sort keys %option ],
	  '<', \undef, '>', \$out, '2>', \$err
	  or croak "dev/token: $err";
	chomp $out;
	return $out;
}

# try_sql runs SQL in one psql session under a role and, when given, a token. It gives a hash of
# status, out (unaligned rows), err and sqlstate (of the first error). Options: database, separator,
# env (variables that a script may read with \getenv), over (what the connection string says beside, or
# otherwise than by the unix socket).
sub try_sql
{
	my ($self, $role, $token, $sql, %option) = @_;
	my ($out, $err) = ('', '');
	# Settings reach psql as statements on its standard input, tokens through its environment.
	my $script = "\\set QUIET on\n\\set VERBOSITY verbose\n";

	if (defined $token)
	{
		$script .= "\\getenv token CAUCE_TEST_TOKEN\n"
		  . "SELECT set_config('cauce.token', :'token', false) \\g /dev/null\n";
	}
	local @ENV{ 'CAUCE_TEST_TOKEN', keys %{ $option{env} // {} } } = ($token // '', values %{ $option{env} // {} });
	run [
		'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1',
		'-F', $option{separator} // '|',
		'-d', join(' ', $self->dsn($role, $option{database}), $option{over} // ())
	  ],
	  '<', \"$script$sql\n", '>', \$out, '2>', \$err;
	my $status = $? >> 8;

	chomp $out;
	my ($sqlstate) = $err =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5}):/;
	return { status => $status, out => $out, err => $err, sqlstate => $sqlstate // '' };
}

# sql runs SQL as try_sql does, dies when it fails, and gives the rows.
sub sql
{
	my ($self, @call) = @_;
	my $result = $self->try_sql(@call);
	croak "SQL failed: $result->{err}" if $result->{status};
	return $result->{out};
}

# superuser runs SQL as the superuser without an identity.
sub superuser
{
	my ($self, $sql, %option) = @_;
	return $self->sql(postgres => undef, $sql, %option);
}

# poll_until waits until a query of the superuser gives `expected`, and says whether it did. Options as for try_sql.
sub poll_until
{
	my ($self, $sql, $expected, $seconds, %option) = @_;
	my $deadline = time + ($seconds // 30);

	while (time <= $deadline)
	{
		my $result = $self->try_sql(postgres => undef, $sql, %option);
		return 1 if !$result->{status} && $result->{out} eq $expected;
		select undef, undef, undef, 0.1;
	}
	return 0;
}

# catch_up_with waits until this standby has replayed all that the primary has written, and says whether it has.
sub catch_up_with
{
	my ($self, $primary) = @_;
	my $position = $primary->superuser('SELECT pg_current_wal_flush_lsn()');
	return $self->poll_until("SELECT pg_last_wal_replay_lsn() >= '$position'", 't');
}

# as_postgres runs a program as the OS user of the server and gives {status, out, err}.
sub as_postgres
{
	my ($self, @command) = @_;
	my ($out, $err) = ('', '');

	if (getpwuid($>) ne 'postgres')
	{
		unshift @command, $> == 0 ? qw(runuser -u postgres --) : qw(sudo -n -u postgres --);
	}
	# The server's user may not be able to enter the directory of the test.
	run \@command, '<', \undef, '>', \$out, '2>', \$err, init => sub { chdir '/' };
	return { status => $? >> 8, out => $out, err => $err };
}

# configure appends lines to postgresql.conf; restart or reload makes them count.
sub configure
{
	my ($self, $lines) = @_;
	$self->as_postgres('sh', '-c', 'printf "%s\n" "$1" >> "$2"', 'sh', $lines,
		$self->pgdata . '/postgresql.conf')->{status} == 0
	  or croak 'cannot write postgresql.conf';
	return;
}

# move_clock moves the server's calendar clock, from its next start on, by so many seconds; step_clock does so
# while it runs, if it was moved before.
sub move_clock
{
	my ($self, $seconds) = @_;
	my $library = "$self->{dir}/shifted_clock.so";
	run [ qw(gcc -O2 -Wall -Wextra -Werror -shared -fPIC -o), $library, "$ROOT/test/clock/shifted_clock.c" ]
	  or croak 'shifted_clock.c does not compile';
	chmod 0755, $library;
	$self->step_clock($seconds);
	$self->{clock} = [ 'env', "LD_PRELOAD=$library", "CAUCE_TEST_CLOCK_FILE=$self->{dir}/clock" ];
	return;
}

sub step_clock
{
	my ($self, $seconds) = @_;
	# Written in place: running processes have mapped it.
	CORE::open my $out, -e "$self->{dir}/clock" ? '+<' : '>', "$self->{dir}/clock" or croak "clock: $!";
	syswrite($out, pack 'l!', $seconds) == 8 or croak "clock: $!";
	CORE::close $out or croak "clock: $!";
	chmod 0644, "$self->{dir}/clock";
	return;
}

# pg_ctl controls the server: start, stop, restart, reload, with options as pg_ctl takes them.
sub pg_ctl
{
	my ($self, @arguments) = @_;
	chomp(my $bin = qx{"$self->{pg_config}" --bindir});
	my $log = "$self->{dir}/log/server.log";
	# A server that it starts must hold none of this test's pipes, or their ends never come.
	my $script = q{
		for fd in "/proc/$BASHPID/fd"/*; do
			fd=${fd##*/}
			[ "$fd" -le 2 ] || [ "$fd" -eq 255 ] || eval "exec $fd>&-"
		done
		log=$1
		shift
		exec "$@" >>"$log" 2>&1
	};
	return $self->as_postgres('bash', '-c', $script, 'bash', $log,
		@{ $self->{clock} // [] }, "$bin/pg_ctl", '-D', $self->pgdata, '-l', $log, '-s', '-w', '-t', '60', @arguments);
}

sub restart
{
	my ($self, $mode) = @_;
	$self->pg_ctl('restart', '-m', $mode // 'fast')->{status} == 0
	  or croak "the server does not restart:\n" . $self->log;
	return;
}

# kill_server kills the postmaster and its children without notice, as a crash does, and waits until
# they have left the process table. Stopped first, it has no more children: one that is missed keeps
# the next start from shared memory.
sub kill_server
{
	my ($self) = @_;
	my $script = q{
		postmaster=$(head -n 1 "$1/postmaster.pid")
		kill -STOP "$postmaster"
		all="$postmaster $(pgrep -P "$postmaster")"
		kill -9 $all
		for try in $(seq 100); do
			left=
			for pid in $all; do ! kill -0 "$pid" 2>/dev/null || left=1; done
			[ "$left" ] || exit 0
			sleep 0.1
		done
		exit 1
	};
	$self->as_postgres('sh', '-c', $script, 'sh', $self->pgdata)->{status} == 0
	  or croak 'the server does not die';
	return;
}

# log gives the server's log.
sub log
{
	my ($self) = @_;
	open my $in, '<', "$self->{dir}/log/server.log" or croak "server.log: $!";
	local $/;
	return scalar <$in>;
}

# files_with gives the files of the data directory, WAL included, that hold a string in any case.
sub files_with
{
	my ($self, $string) = @_;
	$self->superuser('CHECKPOINT');
	my $result = $self->as_postgres('grep', '-r', '-l', '-a', '-i', '-F', '-e', $string, $self->pgdata);
	croak "grep: $result->{err}" if $result->{status} > 1;
	return split /\n/, $result->{out};
}

1;
