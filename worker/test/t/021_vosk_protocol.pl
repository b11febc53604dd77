# A vosk client, which sends a message and waits for its answer, works with only its address changed:
# one answer for each message of audio, results with words, a last one for eof.
use strict;
use warnings;
use Server;
use Test::More;
use Worker;

my $server = start_serve([]);
my $wav = recording();
my $raw = raw_file('all', $wav, 'pad', 0, 1);
my @auth = (headers => { Authorization => 'Bearer $TOKEN' });

# The samples of a recording, at the rate that the configuration names.
my $session = open_session();
my @messages = run_client('script', { url => url($server, '/'), @auth, steps => [
			[ text => '{"config" : {"sample_rate" : 16000, "words": true}}' ], [ turns => $raw, 8000 ],
			[ print => 'eof' ], [ text => '{"eof" : 1}' ] ] },
	stream_token($session));
my ($mark) = grep { defined $_->{mark} } @messages;
is($mark->{count}, POSIX::ceil((-s $raw) / 8000), 'an answer for each message');
my @results = grep { defined $_->{text} } @messages;
my @partials = grep { defined $_->{partial} } @messages;
is($messages[-1]{close}, 1000, 'a clean end') or diag $server->{err};
ok(defined $messages[-2]{text}, 'after a last result');
my $text = join ' ', grep { length } map { $_->{text} } @results;
cmp_ok(wer(reference(), $text), '<=', 0.12, 'the words') or diag $text;
is(texts($session), $text, 'which the database has');
cmp_ok(scalar(grep { length $_->{partial} } @partials), '>=', 4, 'partial text on the way');
my ($result) = grep { length $_->{text} } @results;
is(scalar @{ $result->{result} }, scalar(my @w = split ' ', $result->{text}), 'words of a result');
is_deeply([ sort keys %{ $result->{result}[0] } ], [qw(end start word)], 'with times; no confidence is made up');
is(as_owner("SELECT status FROM cauce.session WHERE id = '$session'"), 'ended', 'eof ends the session');

# Without a configuration samples come at 8 kHz, and a WAV file says its own format.
my ($short) = (recordings())[1];
for my $file (raw_file('narrow', $short, 'pad', 0, 1, 'rate', 8000), $short)
{
	$session = open_session();
	@messages = run_client('script', { url => url($server, '/'), @auth, steps => [ [ file => $file, 4000 ], [ text => '{"eof" : 1}' ] ] },
		stream_token($session));
	cmp_ok(wer(reference($short), texts($session)), '<=', 0.25, $file) or diag texts($session);
}

# reset ends the utterance; the token may come with the configuration; a channel has its speaker.
$session = open_session();
@messages = run_client('script', { url => url($server, '/'), steps => [
			[ text => '{"config": {"sample_rate": 16000, "token": "$TOKEN", "speakers": ["Ann"], "words": 0, "keep_session": true}}' ],
			[ file => raw_file('cut', $short, 'trim', 0, 1.5), 4000 ], [ text => '{"reset": 1}' ], [ until => 'text' ], [ text => '{"eof": 1}' ] ] },
	stream_token($session));
my @rows = transcript($session);
is(scalar @rows, 1, 'reset ends an utterance');
is($rows[0]{speaker}, 'Ann', 'whose speaker is the client\'s');
is(scalar(grep { defined $_->{result} } @messages), 0, 'words only where they are asked for');
is(as_owner("SELECT status FROM cauce.session WHERE id = '$session'"), 'live', 'keep_session keeps it');

# The next stream into the session begins where its client says; its own answers count from its beginning.
@messages = run_client('script', { url => url($server, '/'), @auth, steps => [
			[ text => '{"config": {"sample_rate": 16000, "words": true, "offset_ms": 60000, "keep_session": true}}' ],
			[ file => raw_file('cut', $short, 'trim', 0, 1.5), 4000 ], [ text => '{"eof": 1}' ] ] },
	stream_token($session));
my ($second) = grep { $_->{seq} > $rows[0]{seq} } transcript($session);
is($second->{start_ms}, 60_000 + $rows[0]{start_ms}, 'the second stream begins at its place');
my ($told) = grep { $_->{result} } @messages;
cmp_ok($told->{result}[0]{start}, '<', 60, 'and its answers at 0');

# What is refused, is so with a reason.
for (
	[ '{"config": {"offset_ms": -1}}', 1003, qr/offset_ms is 0 to/ ],
	[ '{"config": {"offset_ms": "soon"}}', 1003, qr/offset_ms is 0 to/ ],
	[ '{"config": {"model": "big"}}', 1003, qr/config.model is refused/ ],
	[ '{"config": {"sample_rate": 4000}}', 1003, qr/8000 to 48000/ ],
	[ '{"hello": 1}', 1003, qr/does not have/ ], [ 'not JSON', 1003, qr/does not have/ ],
	[ '{"config": {"speakers": [7]}}', 1003, qr/list of names/ ])
{
	my ($message, $code, $reason) = @$_;
	@messages = run_client('script', { url => url($server, '/'), @auth, steps => [ [ text => $message ] ] }, stream_token($session));
	is($messages[-1]{close}, $code, $message);
	like($messages[-1]{reason}, $reason, 'says why');
}
@messages = run_client('script', { url => url($server, '/'), @auth, steps => [
			[ file => $short, 4000 ], [ text => '{"config": {"sample_rate": 16000}}' ] ] }, stream_token($session));
like($messages[-1]{reason}, qr/before audio/, 'config comes before audio');
is(stop_serve($server), 0, 'exit status');

done_testing();
