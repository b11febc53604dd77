# Where nobody speaks there is no text: silence, noise of three colours from a whisper to full scale, music without
# singing. What is said right after it is heard, so that it is no deafness. With CAUCE_LONG=1 ten minutes of each,
# otherwise seconds.
use strict;
use warnings;
use Test::More;
use Worker;

my $seconds = $ENV{CAUCE_LONG} ? 600 : 12;
my @songs = glob '/usr/share/asterisk/moh/*.wav';    # Debian package asterisk-moh-opsound-wav
my ($clip) = (recordings())[1];

# hears transcribes what has no voice, and then a sentence: the only segment has to be that.
sub hears
{
	my ($name, $rate, @parts) = @_;
	my $speech = sox("speech-$rate.wav", $clip, '-r', $rate, '-c', 1, '-b', 16, 'OUT', 'pad', 1, 0);
	my $session = open_session();
	my $file = sox('heard.wav', @parts, $speech, 'OUT');
	my $worker = run_worker([ '--dsn', dsn(), '--token-file', token_file($session), $file ]);
	is($worker->{code}, 0, "$name, $rate Hz") or diag $worker->{err};
	my @rows = transcript($session);
	is(scalar @rows, 1, 'nothing is heard but what is said after it') or diag join "\n", map { "$_->{start_ms}: $_->{body}" } @rows;
	cmp_ok(wer(reference($clip), $rows[-1]{body} // ''), '<=', 0.15, 'and that is') or diag $rows[-1]{body};
	unlink $file, @parts;
	return;
}

hears('silence', $_, sox('silence.wav', '-n', '-r', $_, '-b', 16, 'OUT', 'trim', 0, $seconds)) for 16000, 8000;
for my $colour ('white', 'pink', 'brown')
{
	my @levels = (-60, -40, -26, -12, -3);    # dB of full scale, peaks
	my $rate = { white => 16000, pink => 44100, brown => 8000 }->{$colour};
	hears("$colour noise", $rate, map {
			sox("$colour$_.wav", '-n', '-r', $rate, '-b', 16, 'OUT', 'synth', $ENV{CAUCE_LONG} ? $seconds : $seconds / 4, "${colour}noise", 'gain', '-n', $_)
	} @levels);
}
ok(scalar @songs, 'music');
my $part = $ENV{CAUCE_LONG} ? 600 : $seconds / 4;
hears('music', 8000, map { sox("music$_.wav", $songs[$_], 'OUT', 'trim', $ENV{CAUCE_LONG} ? 0 : 30, $part) } 0 .. $#songs);

done_testing();
