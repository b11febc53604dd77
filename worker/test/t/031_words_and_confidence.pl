# Where the model tells when its tokens were said and how probable they were, words have their own times and confidence,
# in both protocols, and a row has its confidence: as the model says, and none where it says nothing. The models are
# those of test/models, through the engine itself; the truth is where their tones were put.
use strict;
use warnings;
use Server;
use Test::More;
use Tones;
use Worker;

my ($wav) = (recordings())[1];
my @said = ([ 1.0, 'four' ], [ 1.2, 'teen' ], [ 1.7, 'six' ], [ 2.3, 'seven' ]);
my @words = ([ fourteen => 1.0, 'four', 'teen' ], [ six => 1.7, 'six' ], [ seven => 2.3, 'seven' ]);
my $audio = raw_file('tones', tone_file('tones', $wav, @said));

# truth checks words and the times and confidences that they have.
sub truth
{
	my ($name, $tells, $key, $start, $end, @found) = @_;
	is(join(' ', map { $_->{word} } @found), 'fourteen six seven', "$name: words");
	for my $i (0 .. $#words)
	{
		my ($word, $at, @tones) = @{ $words[$i] };
		my $off = 1000 * abs $found[$i]{start} - $at;
		cmp_ok($off, '<=', tone_ms(), "$name: $word begins where it is said");
		is($found[$i]{end}, $i < $#words ? $found[ $i + 1 ]{start} : $end, "$name: $word ends where the next begins");
		sure("$name: $word", $tells, $found[$i]{$key}, @tones);
	}
	cmp_ok($found[0]{start}, '>=', $start, "$name: none begins before its segment");
	return;
}

# sure checks a confidence.
sub sure
{
	my ($name, $tells, $found, @tones) = @_;
	return is($found, undef, "$name has no confidence") if !$tells;
	return cmp_ok(abs($found - tone_sure($tells, @tones)), '<', 1e-4, "$name is as sure as the model");
}

# A model's name, and at which temperature it tells how sure it is, if it does.
for ([ offline => 1 ], [ streaming => 2 ], [ ctc => 0 ])
{
	my ($model, $tells) = @$_;
	my $server = start_serve([ '--models', tone_models($model) ]);

	my $session = open_session();
	my @messages = run_client('script', { url => url($server, '/v1/listen?encoding=linear16&sample_rate=16000&interim_results=true'),
			headers => { Authorization => 'Token $TOKEN' },
			steps => [ [ file => $audio, 3200, 5 ], [ text => '{"type": "CloseStream"}' ] ] },
		stream_token($session));
	is($messages[-1]{close}, 1000, "$model: a clean end") or diag $server->{err};
	my @results = grep { ($_->{type} // '') eq 'Results' } @messages;
	my ($final) = grep { $_->{is_final} } @results;
	my ($alternative) = @{ $final->{channel}{alternatives} };
	my $end = 0 + sprintf '%.3f', $final->{start} + $final->{duration};
	truth("$model, Deepgram", $tells, 'confidence', $final->{start}, $end, @{ $alternative->{words} });
	sure("$model, Deepgram", $tells, $alternative->{confidence}, map { $_->[1] } @said);
	my $row = as_owner("SELECT confidence FROM cauce.transcript_segment WHERE session_id = '$session'");
	sure("$model, row", $tells, length $row ? $row : undef, map { $_->[1] } @said);
	my ($row_end) = map { $_->{end_ms} } transcript($session);
	is($row_end, 1000 * $end, "$model: which is the message's");

	$session = open_session();
	@messages = run_client('script', { url => url($server, '/'), headers => { Authorization => 'Bearer $TOKEN' },
			steps => [ [ text => '{"config": {"sample_rate": 16000, "words": true}}' ], [ file => $audio, 8000 ], [ text => '{"eof": 1}' ] ] },
		stream_token($session));
	my ($result) = grep { length($_->{text} // '') } @messages;
	truth("$model, vosk", $tells, 'conf', 0, $end, @{ $result->{result} });
	is(stop_serve($server), 0, "$model: exit status");
}

done_testing();
