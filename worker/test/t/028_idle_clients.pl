# Clients that connect and say nothing - before TLS, after it, in the middle of a request, as WebSockets without a
# token - keep nobody out: as many as there is room for stay, of more the oldest give way. A stream that goes on does
# not notice, a new one is let in, memory and descriptors stay bounded. With CAUCE_LONG=1 they are 10,000.
use strict;
use warnings;
use Server;
use Test::More;
use Worker;

my ($room, $flood) = $ENV{CAUCE_LONG} ? (1024, 2500) : (150, 200);    # the flood is of each kind
my $few = 80;
my $files_max = $room + 64 + 64;
my $server = start_serve([ '--connections', $room ]);
my $pid = serve_pid($server);
my ($wav) = (recordings())[1];
my $raw = raw_file('speech', $wav, 'pad', 0, 1);
my $url = url($server, '/v1/listen?encoding=linear16&sample_rate=16000&keep_session=true');
my @token = (headers => { Authorization => 'Token $TOKEN' });
my @speak = ([ file => $raw, 3200 ], [ text => '{"type":"CloseStream"}' ]);

sub files { return scalar(() = glob "/proc/$pid/fd/*") }
sub closed { return scalar(() = $_[0]{out} =~ /"closed"/g) }

# idle starts clients of a kind and waits until they are as far as they go.
sub idle
{
	my ($kind, $count) = @_;
	my $client = start_client('idle', { port => serve_port($server), kind => $kind, count => $count });
	ok(wait_until(sub { $client->{out} =~ /settled/ }, $client), "$count $kind") or diag $client->{err};
	return $client;
}

sub leave
{
	my ($client) = @_;
	kill 'KILL', worker_pid($client);
	finish_worker($client);
	return;
}

# A stream that is there all the time; what it says last has to be heard as what it said first.
my $steady = start_client('script', { url => $url, @token,
		steps => [ [ file => $raw, 3200 ], (map { ([ wait => 4000 ], [ text => '{"type":"KeepAlive"}' ]) } 1 .. 300), @speak ] }, stream_token(open_session(), '2 hours'));
wait_until(sub { $steady->{out} =~ /Results/ }, $steady);
my $before = memory($pid);
my ($files, $memory) = (0, 0);

for my $kind ($ENV{CAUCE_LONG} ? ('tcp', 'tls') : (), 'header', 'websocket')
{
	# Fewer than there is room for: a newcomer is let in beside them, before they are closed for their silence. Where
	# the machine is too slow to show it, once more.
	my $beside = 0;
	for (1 .. 5)
	{
		my $few = idle($kind, $few);
		my ($status) = http($server, '/healthz');
		eval { $few->{run}->pump_nb };
		$beside = $status == 200 && closed($few) == 0;
		leave($few);
		last if $beside;
	}
	ok($beside, 'a new client is let in beside them');

	# More than that.
	my $many = idle($kind, $flood);
	ok(wait_until(sub { closed($many) >= $flood - $room }, $many), 'the oldest have given way');
	my ($now, $size) = (files(), memory($pid));
	$files = $now if $now > $files;
	$memory = $size if $size > $memory;
	my $id = open_session();
	is((run_client('script', { url => $url, @token, steps => \@speak }, stream_token($id)))[-1]{close}, 1000, 'a new client is served');
	like(texts($id), qr/young man/, 'and heard');
	leave($many);
}
cmp_ok($files, '<=', $files_max, "$files descriptors at most");
cmp_ok($memory - $before, '<', 110 * $room, sprintf '%d KiB of memory a socket', ($memory - $before) / $room);
ok(wait_until(sub { files() < 40 }), 'none is left');
is((http($server, '/healthz'))[0], 200, 'health');

# Nobody reads the log, and there is much of it: others do not notice. F_SETPIPE_SZ (1031) makes the pipe small.
my $stuck = start_serve([], before => [ 'bash', '-c',
		q(exec "$@" 2> >(exec perl -e 'fcntl STDIN, 1031, 4096; while (sysread STDIN, $_, 1) { print STDERR; last if /\n/ && ++$n == 3 } $p = getppid; sleep 1 while getppid == $p')), 'bash' ]);
my $noisy = start_client('idle', { port => serve_port($stuck), kind => 'websocket', count => 100 });
ok(wait_until(sub { $noisy->{out} =~ /settled/ }, $noisy), 'much to log');
leave($noisy);
is((http($stuck, '/healthz', '-m', 60))[0], 200, 'a log that nobody reads holds up nobody');
is(stop_serve($stuck), 0, 'exit status');

kill 'TERM', $pid;
my @messages = finish_client($steady);
is($messages[-1]{close}, 1001, 'the stream of before is there to the end') or diag explain \@messages;
is(finish_worker($server)->{code}, 0, 'exit status');

done_testing();
