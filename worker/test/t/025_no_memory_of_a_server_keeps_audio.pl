# Once the last segment of a served stream is stored, no memory of the server holds 50 ms of what was
# said: not the ring, the TLS library, the WebSocket library, the resampler, or the engine. Nor does it
# hold the token of a stream that has ended.
use strict;
use warnings;
use List::Util qw(max);
use Memory;
use Server;
use Test::More;
use Worker;

plan skip_all => 'reading the memory of another process takes root' if $> != 0;

my $window = 0.05;    # seconds
my $server = start_serve([ '--capacity', 2 ]);
my $pid = serve_pid($server);
my ($wav) = recordings();

sub floats { return pack 'f<*', map { $_ / 32768 } unpack 's<*', $_[0] }

sub none_left
{
	my ($needles, $name) = @_;
	my @left = grep { $_->{seconds} >= $window } pieces($pid, $needles);
	is(scalar @left, 0, $name);
	diag sprintf '%.4f s as %s', @{$_}{qw(seconds where)} for @left;
	return;
}

for my $rate (16000, 48000)
{
	my $speech = raw_file("speech$rate", $wav, 'rate', $rate);
	my $silence = raw_file("silence$rate", $wav, 'rate', $rate, 'trim', 0, 1, 'vol', 0);
	my $samples = slurp($speech);
	my $needles = needles($rate, s16 => $samples, f32 => floats($samples));
	cmp_ok(scalar keys %{ $needles->{keys} }, '>', 200, 'enough to look for');
	my $session = open_session();
	my $token = stream_token($session);
	my $client = start_client('script', { url => url($server, "/v1/listen?encoding=linear16&sample_rate=$rate&keep_session=true"),
			headers => { Authorization => 'Token $TOKEN' },
			steps => [ [ file => $speech, $rate / 10, 25 ], [ file => $silence, 3200, 10 ], [ print => 'said' ], [ wait => 9000 ],
				[ text => '{"type":"CloseStream"}' ] ] }, $token);
	my $most = 0;
	wait_until(sub { $most = max($most, map { $_->{seconds} } pieces($pid, $needles)) if $most < 0.3 && $rate == 16000; $client->{out} =~ /said/ }, $client);
	# At another rate what is kept of an open segment is what the resampler made of it.
	cmp_ok($most, '>', 0.3, 'control: it is there while it is spoken') if $rate == 16000;
	ok(wait_until(sub { $client->{out} =~ /Results/ && $client->{out} =~ /said/ }, $client), 'all is stored');
	my ($secret) = $token =~ /([^.]+)$/;
	cmp_ok(scalar occurrences($pid, $secret), '>=', 1, 'control: the token is in use');
	none_left($needles, 'nothing is left while the stream goes on');
	finish_client($client);
	wait_until(sub { (http($server, '/metrics'))[1] =~ /^cauce_worker_streams 0$/m });
	none_left($needles, 'nor after it');
	is_deeply([ occurrences($pid, $secret) ], [], 'nor is its token');
	my ($words) = texts($session) =~ /(.{20})/;
	is_deeply([ occurrences($pid, $words) ], [], 'nor a word');
}
is(stop_serve($server), 0, 'exit status');

done_testing();
