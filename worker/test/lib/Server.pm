# `cauce-worker serve` as a process, and clients of it that know nothing of cauce.
package Server;

use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use IPC::Run ();
use JSON::PP;
use Test::More;
use Worker;

our @EXPORT = qw(start_serve serve_port serve_pid stop_serve client run_client start_client finish_client finals raw_file http url json);

my $clients = abs_path(dirname(__FILE__) . '/../clients');
my $json = JSON::PP->new->canonical->allow_nonref;
my $patience = $ENV{CAUCE_LONG} ? 3600 : 120;    # seconds that anything may take
my $lifetime = $ENV{CAUCE_LONG} ? 7200 : 280;    # and that a server may run

sub json { return $json->encode($_[0]) }

# certificate makes one for localhost, once.
sub certificate
{
	my $path = scratch() . '/tls';
	return $path if -e "$path.crt";
	system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
		  . " -addext subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1 -keyout $path.key -out $path.crt 2>/dev/null") == 0
	  or die 'openssl';
	return $path;
}

# start_serve starts it on a free port and returns once it is ready.
sub start_serve
{
	my ($options, %how) = @_;
	my $tls = certificate();
	my $server = { err => '', out => '' };
	my @command = (@{ $how{before} // [] }, worker_path(), 'serve', '--dsn', $how{dsn} // dsn(),
		'--listen', $how{listen} // '127.0.0.1:0', '--tls-cert', "$tls.crt", '--tls-key', "$tls.key",
		'--capacity', 8, @$options);
	$server->{run} = IPC::Run::start(\@command, '<', \undef, '>', \$server->{out}, '2>', \$server->{err},
		IPC::Run::timeout($lifetime));
	push @Worker::workers, $server;
	wait_until(sub { $server->{err} =~ /event=ready/ || !$server->{run}->pumpable }, $server);
	($server->{port}) = $server->{err} =~ /event=listening port=(\d+)/ or die "serve: $server->{err}";
	return $server;
}

sub serve_port { return $_[0]{port} }
sub serve_pid { return $_[0]{run}{KIDS}[0]{PID} }

# stop_serve sends SIGTERM and returns the exit status.
sub stop_serve
{
	my ($server) = @_;
	kill 'TERM', serve_pid($server);
	return finish_worker($server)->{code};
}

sub url
{
	my ($server, $path, $scheme) = @_;
	return ($scheme // 'wss') . "://localhost:$server->{port}" . ($path // '');
}

# start_client starts one of test/clients with what it is to do and a token.
sub start_client
{
	my ($name, $how, $token) = @_;
	my $client = { out => '', err => '', in => '' };
	local $ENV{TOKEN} = $token // '';
	local $ENV{NODE_EXTRA_CA_CERTS} = certificate() . '.crt';
	local $ENV{NODE_NO_WARNINGS} = 1;
	$client->{run} = IPC::Run::start([ 'node', "$clients/$name.mjs", json($how) ], '<', \undef,
		'>', \$client->{out}, '2>', \$client->{err}, IPC::Run::timeout($patience));
	push @Worker::workers, $client;
	return $client;
}

# finish_client waits for its end and returns its messages.
sub finish_client
{
	my ($client) = @_;
	finish_worker($client);
	diag $client->{err} if length $client->{err};
	return messages($client);
}

# messages returns those that are there.
sub messages
{
	my ($client) = @_;
	return map { $json->decode($_) } grep { /^\{.*\}$/ } split /\n/, $client->{out};
}

sub run_client { return finish_client(start_client(@_)) }

# finals returns the final texts of Deepgram's Results.
sub finals
{
	return join ' ', grep { length } map { $_->{channel}{alternatives}[0]{transcript} }
	  grep { ($_->{type} // '') eq 'Results' && $_->{is_final} } @_;
}

# raw_file writes a recording as raw samples and returns the path.
sub raw_file
{
	my ($name, $wav, @effects) = @_;
	return sox("$name.raw", $wav, '-t', 'raw', '-e', 'signed', '-b', '16', 'OUT', @effects);
}

# http asks by HTTP and returns status and body.
sub http
{
	my ($server, $path, @options) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'curl', '-s', '--cacert', certificate() . '.crt', '-w', "\n%{http_code}", @options,
		url($server, $path, 'https') ], '>', \$out, '2>', \$err);
	my ($body, $status) = $out =~ /\A(.*)\n(\d+)\z/s;
	return ($status, $body);
}

1;
