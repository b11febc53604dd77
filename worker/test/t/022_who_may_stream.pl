# The database decides whether a stream opens and goes on: tokens in each of their places, tokens that are
# none, for another session, that run out, sessions that end or are deleted in the middle. And nobody gets
# more than there is, or speaks an older TLS.
use strict;
use warnings;
use Server;
use Test::More;
use Worker;

my $server = start_serve([]);
my ($wav) = (recordings())[1];
my $raw = raw_file('speech', $wav, 'pad', 0, 1);
my $listen = url($server, '/v1/listen?encoding=linear16&sample_rate=16000&keep_session=true');
my @speak = ([ file => $raw, 3200 ], [ text => '{"type":"CloseStream"}' ]);

my %places = (
	'Authorization: Token' => { headers => { Authorization => 'Token $TOKEN' } },
	'Authorization: Bearer' => { headers => { Authorization => 'bearer $TOKEN' } },
	'Sec-WebSocket-Protocol: token' => { protocols => [ 'token', '$TOKEN' ] },
	'Sec-WebSocket-Protocol: bearer' => { protocols => [ 'bearer', '$TOKEN' ] },
	'the first message' => { steps => [ [ text => '{"token": "$TOKEN"}' ], @speak ] });
for my $place (sort keys %places)
{
	my $session = open_session();
	my @messages = run_client('script', { url => $listen, steps => \@speak, %{ $places{$place} } }, stream_token($session));
	is($messages[-1]{close}, 1000, $place) or diag $server->{err};
	like(texts($session), qr/young man/, 'stored');
}

# refused gives what a client hears.
sub refused
{
	my ($token, %how) = @_;
	my @messages = run_client('script', { url => $listen, headers => { Authorization => 'Token $TOKEN' }, steps => [ @speak, [ wait => 3000 ] ], %how }, $token);
	return $messages[-1];
}

my $session = open_session();
my $good = stream_token($session);
is(refused('nonsense')->{status}, 401, 'no JWT');
(my $forged = $good) =~ s/(.)(.)$/$2$1/;
$forged = substr($good, 0, -20) . ('A' x 20);
my $no = refused($forged);
is($no->{close}, 1008, 'a forged signature');
like($no->{reason}, qr/28000/, 'says what the database says');
unlike($no->{reason}, qr/eyJ/, 'without the token');
is(refused('', headers => {}, steps => [ [ file => $raw, 3200 ] ])->{close}, 1008, 'audio without a token');
is(refused('', headers => {}, steps => [ [ wait => 15000 ] ])->{close}, 1008, 'nothing at all');
is(refused($good, url => url($server, '/v1/speak'))->{status}, 404, 'another path');
for (['encoding=flac', 'encoding'], ['encoding=linear16', 'sample_rate'], ['encoding=linear16&sample_rate=7', 'sample_rate'],
	['channels=9', 'channels'], ['callback=https://example.org', 'callback'], ['language=fr', 'language'], ['language=english', 'language'], ['language=', 'language'],
	['endpointing=soon', 'endpointing'])
{
	my ($query, $word) = @$_;
	my $answer = refused($good, url => url($server, "/v1/listen?$query"));
	is($answer->{status}, 400, $query);
	like($answer->{body}, qr/$word/, 'says why');
}
as_owner("UPDATE cauce.session SET status = 'ended' WHERE id = '$session'");
is(refused($good)->{close}, 1008, 'a session that has ended');

# In the middle: what was said before is stored, the rest is refused with a close code.
for (
	[ 'a token that runs out', sub { }, '3 seconds', 1008 ],
	[ 'a session that ends', sub { as_owner("UPDATE cauce.session SET status = 'ended' WHERE id = '$_[0]'") }, '10 minutes', 1008 ],
	[ 'a session that is deleted', sub { as_owner("DELETE FROM cauce.session WHERE id = '$_[0]'") }, '10 minutes', 1008 ])
{
	my ($name, $event, $ttl, $code) = @$_;
	my $id = open_session();
	my $client = start_client('script', { url => $listen, headers => { Authorization => 'Token $TOKEN' },
			steps => [ [ file => $raw, 3200 ], [ until => 'Results' ], [ wait => 4000 ], [ file => $raw, 3200 ], [ wait => 5000 ] ] },
		stream_token($id, $ttl));
	ok(wait_until(sub { $client->{out} =~ /Results/ }, $client), "$name: something is stored before");
	$event->($id);
	my @messages = finish_client($client);
	is($messages[-1]{close}, $code, "$name: ends with a code");
	isnt($messages[-1]{reason}, '', $messages[-1]{reason});
}

# Eight channels are there: the ninth has to wait.
my @many = map { start_client('script', { url => "$listen&channels=2", headers => { Authorization => 'Token $TOKEN' }, steps => [ [ wait => 60000 ] ] },
		stream_token(open_session())) } 1 .. 4;
ok(wait_until(sub { (http($server, '/metrics'))[1] =~ /^cauce_worker_streams 4$/m }, $server), 'as many as there is room for');
my $full = refused(stream_token(open_session()));
is($full->{status}, 503, 'more than there is room for');
like((http($server, '/metrics'))[1], qr/^cauce_worker_refused_total\{reason="capacity"\} 1$/m, 'counted');
kill 'KILL', worker_pid($_) for @many;
finish_worker($_) for @many;
ok(wait_until(sub { (http($server, '/metrics'))[1] =~ /^cauce_worker_streams 0$/m }, $server), 'there is room again');

# A container has five by its header, a config asks for five after the token: as many are left for others.
my $wide = sox('wide.wav', '-M', (sox('padded.wav', $wav, 'OUT', 'pad', 0, 1)) x 5, 'OUT');
my $five = '{"config": {"channels": 5, "sample_rate": 16000}}';
for ([ 'a header', '/v1/listen?keep_session=true', [ file => $wide, 64000 ] ], [ 'a config', '/', [ text => $five ], [ file => $raw, 3200 ] ])
{
	my ($name, $path, @steps) = @$_;
	my $client = start_client('script', { url => url($server, $path), headers => { Authorization => 'Token $TOKEN' }, steps => [ @steps, [ wait => 9000 ] ] },
		stream_token(open_session()));
	ok(wait_until(sub { $client->{out} =~ /Results|"result"|"partial"/ }, $client), "$name is heard");
	is(refused(stream_token(open_session()), url => "$listen&channels=4")->{status}, 503, 'four more are refused');
	is(refused(stream_token(open_session()), url => "$listen&channels=3", steps => [ [ text => '{"type":"CloseStream"}' ] ])->{close}, 1000, 'three are let in');
	kill 'KILL', worker_pid($client);
	finish_worker($client);
	ok(wait_until(sub { (http($server, '/metrics'))[1] =~ /^cauce_worker_streams 0$/m }, $server), 'there is room again');
}

my $address = "localhost:" . serve_port($server);
my $tls = sub { return qx(openssl s_client $_[0] -connect $address </dev/null 2>&1) };
like($tls->('-tls1_3'), qr/TLSv1.3/, 'TLS 1.3');
like($tls->('-tls1_2'), qr/alert|no protocols|error/i, 'and nothing older');
unlike($tls->('-tls1_2'), qr/Cipher is (?!\(NONE\))/, 'at all');
is(stop_serve($server), 0, 'exit status');

done_testing();
