# What operators need: health, metrics, a log without content, options from the environment, IPv6, several
# processes on one port, an end that loses nothing, a man page and a unit that tools accept.
use strict;
use warnings;
use Server;
use Test::More;
use Worker;

my $server = start_serve([]);
my ($wav) = (recordings())[1];
my $raw = raw_file('speech', $wav);
my $listen = '/v1/listen?encoding=linear16&sample_rate=16000&keep_session=true';
my @token = (headers => { Authorization => 'Token $TOKEN' });

is_deeply([ http($server, '/healthz') ], [ 200, "ok\n" ], '/healthz');
is((http($server, '/demo'))[0], 404, 'no demo page unless it is asked for');
is((http($server, '/../../etc/passwd', '--path-as-is'))[0], 404, 'nothing else');

# SIGTERM while somebody speaks: it is stored, the client hears why, nobody new is let in.
my $session = open_session();
my $token = stream_token($session);
my $client = start_client('script', { url => url($server, $listen), @token, steps => [ [ file => $raw, 3200, 5 ], [ print => 'said' ], [ wait => 20000 ] ] }, $token);
wait_until(sub { $client->{out} =~ /said/ }, $client);
kill 'TERM', serve_pid($server);
my @messages = finish_client($client);
is($messages[-1]{close}, 1001, 'SIGTERM: a close code of its own');
like(finals(@messages), qr/young man/, 'after the last words');
is(texts($session), finals(@messages), 'which are stored');
is(finish_worker($server)->{code}, 0, 'exit status');
like($server->{err}, qr/^cauce-worker: event=drain streams=1 deadline_s=20$/m, 'the log says so');
like($server->{err}, qr/^cauce-worker: event=stopped segments=1 unstored=no$/m, 'and how it ended');
is(scalar(grep { !/^cauce-worker: event=\w+( \w+=("[^"]*"|\S+))*$/ } split /\n/, $server->{err}), 0, 'each line is an event with its values')
  or diag $server->{err};
unlike($server->{err}, qr/young|man\b|eyJ/, 'without content');

# The database does not come back: time is up, and the exit status says so.
$server = start_serve([ '--drain', 2 ]);
$session = open_session();
$token = stream_token($session);
$client = start_client('script', { url => url($server, $listen), @token, steps => [ [ wait => 1500 ], [ file => $raw, 3200 ], [ wait => 20000 ] ] }, $token);
wait_until(sub { $server->{err} =~ /event=listening stream/ }, $server);
stop_server();
wait_until(sub { $server->{err} =~ /no luck/ }, $server);
is(stop_serve($server), 5, 'what could not be stored by the deadline is said');
finish_client($client);
start_server();

# Another process on the same port, from the environment, by IPv6 and IPv4.
$server = start_serve([], listen => ':0');
my $port = serve_port($server);
{
	local $ENV{CAUCE_WORKER_CAPACITY} = 3;
	local $ENV{CAUCE_WORKER_THREADS} = 1;
	my $second = start_serve([], listen => ":$port");
	like($second->{err}, qr/event=ready threads=1 channels=8/, 'options from the environment, the command line first');
	is((http($server, '/healthz', '-4'))[0], 200, 'IPv4');
	is((http($server, '/healthz', '-6'))[0], 200, 'IPv6');
	is(stop_serve($second), 0, 'one of two leaves');
}
is((http($server, '/healthz'))[0], 200, 'the other one goes on');
is(stop_serve($server), 0, 'exit status');

my $deploy = $INC{'Server.pm'} =~ s{/test/lib/Server.pm}{/deploy}r;
is(qx(man --warnings -l $deploy/cauce-worker.1 2>&1 >/dev/null), '', 'man page');
like(qx(man -l $deploy/cauce-worker.1 2>/dev/null | col -b), qr/--tls-cert FILE/, 'has the options');

done_testing();
