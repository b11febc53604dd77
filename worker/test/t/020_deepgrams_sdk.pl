# Deepgram's own SDK, unmodified, streams a session with only its address changed: interim and final
# text come, and what is final is in the database.
use strict;
use warnings;
use Server;
use Test::More;
use Worker;

my $server = start_serve([]);
my $raw = raw_file('all', recording(), 'pad', 0, 1);

my $session = open_session();
my @messages = run_client('deepgram', { url => url($server), file => $raw, piece => 3200, pause => 5,
		args => { model => 'nova-3', language => 'en', punctuate => 'true', encoding => 'linear16', sample_rate => 16000,
			interim_results => 'true', vad_events => 'true', utterance_end_ms => 1000, endpointing => 300 } },
	stream_token($session));

my %of;
push @{ $of{ $_->{type} } }, $_ for @messages;
is($of{error}, undef, 'no error');
is_deeply([ @{ $of{close}[0] }{qw(code reason)} ], [ 1000, '' ], 'a clean end') or diag $server->{err};
my @finals = grep { $_->{is_final} } @{ $of{Results} };
my @interims = grep { !$_->{is_final} } @{ $of{Results} };
cmp_ok(scalar @finals, '>=', 4, 'final results');
cmp_ok(scalar @interims, '>=', 4, 'interim results');
cmp_ok(wer(reference(), finals(@messages)), '<=', 0.12, 'with what was said') or diag finals(@messages);
is(texts($session), finals(@messages), 'which is what the database has');
is(scalar @{ $of{Metadata} }, 1, 'metadata at the end');
cmp_ok(abs($of{Metadata}[0]{duration} - (-s $raw) / 32000), '<', 0.01, 'with the duration');
is($messages[-2]{type}, 'Metadata', 'as the last message');
cmp_ok(scalar @{ $of{SpeechStarted} // [] }, '>=', scalar @finals / 2, 'SpeechStarted');
cmp_ok(scalar @{ $of{UtteranceEnd} // [] }, '>=', 1, 'UtteranceEnd');

my ($first) = @finals;
is_deeply($first->{channel_index}, [ 0, 1 ], 'channel_index');
ok($first->{speech_final}, 'speech_final');
is($first->{channel}{alternatives}[0]{confidence}, undef, 'no confidence is made up');
my @words = @{ $first->{channel}{alternatives}[0]{words} };
is(join(' ', map { $_->{punctuated_word} } @words), $first->{channel}{alternatives}[0]{transcript}, 'words');
ok(!(grep { $_->{start} >= $_->{end} } @words), 'each takes time');
is($words[0]{start}, $first->{start}, 'the first begins with the result');
cmp_ok(abs($words[-1]{end} - $first->{start} - $first->{duration}), '<', 0.002, 'the last ends with it');
my @rows = transcript($session);
is(1000 * $first->{start}, $rows[0]{start_ms}, 'times are those of the database');

# An interim text belongs to the final that follows, and its agreed words are not taken back.
my ($before, @flicker) = ('');
for my $result (@{ $of{Results} })
{
	my $text = $result->{channel}{alternatives}[0]{transcript};
	push @flicker, "$before / $text" if !$result->{is_final} && length $text < length($before) / 2;
	$before = $result->{is_final} ? '' : $text;
}
is_deeply(\@flicker, [], 'interim text does not flicker');

is(as_owner("SELECT status, ended_at IS NOT NULL FROM cauce.session WHERE id = '$session'"), 'ended|t',
	'the session has ended with the stream');

# Finalize ends what is being spoken at once.
$session = open_session();
@messages = run_client('deepgram', { url => url($server), file => $raw, piece => 3200, pause => 1, finalize_at => 3200 * 30,
		args => { model => 'x', encoding => 'linear16', sample_rate => 16000, keep_session => 'true',
			queryParams => { keep_session => 'true', offset_ms => 60000 } } },
	stream_token($session));
my @flushed = grep { ($_->{type} // '') eq 'Results' && $_->{from_finalize} } @messages;
is(scalar @flushed, 1, 'Finalize has an answer');
cmp_ok($flushed[0]{start} + $flushed[0]{duration}, '<', 3.3, 'of what had been said by then');
is(texts($session), finals(@messages), 'stored');
is((transcript($session))[0]{start_ms}, 60_000 + 1000 * $flushed[0]{start}, 'where the stream begins in its session');

is(stop_serve($server), 0, 'exit status');
unlike($server->{err}, qr/$words[1]{word}|ill-disposed|eyJ/i, 'no content and no token in the log');

done_testing();
