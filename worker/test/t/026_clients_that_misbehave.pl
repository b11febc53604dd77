# Clients that send garbage, too much or nothing, do not read, or vanish: another client's stream goes on as if
# they were not there, and nothing of them stays. With CAUCE_LONG=1 there are 1,000 of each.
use strict;
use warnings;
use IO::Socket::INET;
use Server;
use Test::More;
use Worker;

my $many = $ENV{CAUCE_LONG} ? 1000 : 40;
my $server = start_serve([ '--connections', 4000 ]);
my $pid = serve_pid($server);
my ($wav) = (recordings())[1];
my $raw = raw_file('speech', $wav, 'pad', 0, 1);
my $listen = '/v1/listen?encoding=linear16&sample_rate=16000&keep_session=true&interim_results=true';
my @token = (headers => { Authorization => 'Token $TOKEN' });
my $session = open_session();
my $token = stream_token($session);

# speaks is a client that behaves; it tells whether it was served as it should be.
sub speaks
{
	my ($name) = @_;
	my $id = open_session();
	my @messages = run_client('script', { url => url($server, $listen), @token, steps => [ [ file => $raw, 3200 ], [ text => '{"type":"CloseStream"}' ] ] }, stream_token($id));
	is($messages[-1]{close}, 1000, "$name: another client is served") or diag explain \@messages;
	like(texts($id), qr/young man/, 'and heard');
	return;
}

sub files { return scalar(() = glob "/proc/$pid/fd/*") }
sub threads { return slurp("/proc/$pid/status") =~ /^Threads:\s+(\d+)/m ? $1 : 0 }

# Half-open: a socket that says nothing, and one that stops in the middle of a handshake.
my @idle = map { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => serve_port($server)) } 1 .. $many;
print { $idle[0] } "\x16\x03\x01\x02\x00\x01";
print { $idle[1] } "GET / HTTP/1.1\r\n\r\n";
is(scalar(grep { defined } @idle), $many, 'connections that say nothing');
speaks('half-open');
$_->close for @idle;

# Garbage: as audio, as text, as configuration.
my $garbage = spew(scratch() . '/garbage', join '', map { chr int rand 256 } 1 .. 200_000);
for my $url ($listen, '/v1/listen', '/')
{
	my @messages = run_client('script', { url => url($server, $url), @token, steps => [ [ file => $garbage, 7777 ],
				[ text => $url eq '/' ? '{"eof":1}' : '{"type":"CloseStream"}' ] ] }, $token);
	unlike($messages[-1]{reason}, qr/--/, 'no hint about a command line');
	ok(defined $messages[-1]{close}, "garbage as audio to $url: $messages[-1]{close} $messages[-1]{reason}");
}
$token = stream_token(open_session(), '2 hours');    # eof has ended that session
for my $text ('{', '{"type": 7}', '[]', '{"config": []}', "\x{7f}" x 1000)
{
	my @messages = run_client('script', { url => url($server, '/'), @token, steps => [ [ text => $text ] ] }, $token);
	is($messages[-1]{close}, 1003, 'garbage as text');
}
my @messages = run_client('script', { url => url($server, '/'), @token, steps => [ [ text => 'x' x 100_000 ] ] }, $token);
is($messages[-1]{close}, 1009, 'a text message without an end');
speaks('garbage');

# One message of audio that is larger than anything that is kept: it has to wait, and is heard.
my $id = open_session();
my $long = raw_file('long', recording(), 'repeat', 1);
@messages = run_client('script', { url => url($server, $listen), @token, steps => [ [ file => $long, 1 << 24 ], [ text => '{"type":"CloseStream"}' ] ] }, stream_token($id));
is($messages[-1]{close}, 1000, 'one message of audio of any size');
cmp_ok(wer(join(' ', (reference()) x 2), texts($id)), '<=', 0.15, 'is heard');

# A client that does not read.
my $deaf = start_client('script', { url => url($server, $listen), @token, steps => [ ['pause'], [ file => $long, 32000, 5 ], [ wait => 60000 ] ] }, $token);
wait_until(sub { $server->{err} =~ /event=listening stream/ }, $server);
speaks('one that does not read');
kill 'KILL', worker_pid($deaf);
finish_worker($deaf);

# Connect, speak, abort, again and again.
my $warm = 10;
my ($files, $threads, $memory);
for my $rounds ($warm, $many)
{
	my ($end) = run_client('abort', { url => url($server, $listen), file => $raw, times => $rounds }, $token);
	is($end->{aborted}, $rounds, "$rounds streams are aborted");
	ok(wait_until(sub { (http($server, '/metrics'))[1] =~ /^cauce_worker_streams 0$/m }, $server), 'none is left');
	ok(wait_until(sub { files() <= ($files // 99) }), 'nor its files');
	if (!defined $files) { ($files, $threads, $memory) = (files(), threads(), memory($pid)); next }
	is(files(), $files, 'as many files as before');
	is(threads(), $threads, 'as many threads');
	cmp_ok(memory($pid), '<', $memory + 20_000, sprintf 'as much memory: %d KiB more', memory($pid) - $memory);
}
like((http($server, '/metrics'))[1], qr/^cauce_worker_channels_free 8$/m, 'all channels are free');
speaks('all of them');
is(stop_serve($server), 0, 'exit status');

done_testing();
