# The same speech gives the same text, whichever way it comes: file or pipe, in pieces of any
# size, WAV or raw PCM, at any sample rate from 8 to 48 kHz, as integers or floating point.
use strict;
use warnings;
use Test::More;
use Worker;

my $wav = recording();

sub heard
{
	my ($arguments, %how) = @_;
	my $session = open_session();
	my $worker =
	  run_worker([ '--dsn', dsn(), '--token-file', token_file($session), @$arguments ], %how);
	is($worker->{code}, 0, 'exit status') or diag $worker->{err};
	return texts($session);
}

my $plain = heard([$wav]);
cmp_ok(wer(reference(), $plain), '<=', 0.10, 'all recordings in one stream');
is(heard([],    input => slurp($wav)), $plain, 'from standard input');
is(heard(['-'], input => slurp($wav)), $plain, 'from -');
is(heard([ '--rate', 16000 ], input => pcm($wav)), $plain, 'raw PCM');

{
	my $session = open_session();
	my $worker = start_worker([ '--dsn', dsn(), '--token-file', token_file($session) ]);
	my $bytes = slurp($wav);
	my $position = 0;
	for (my $size = 1; $position < length $bytes; $size = $size * 3 % 20011 + 1)
	{
		feed($worker, substr $bytes, $position, $size);
		$position += $size;
	}
	is(finish_worker($worker)->{code}, 0, 'exit status') or diag $worker->{err};
	is(texts($session), $plain, 'in pieces of odd sizes');
}

for my $rate (8000, 11025, 22050, 24000, 32000, 44100, 48000)
{
	my $text = heard([ sox("$rate.wav", $wav, '-r', $rate, 'OUT') ]);
	# What is above 4 kHz is gone at 8 kHz, as on a telephone line.
	my $bound = $rate < 16000 ? 0.20 : 0.10;
	cmp_ok(wer(reference(), $text), '<=', $bound, "$rate Hz");
}
my $float = sox('float.wav', $wav, '-e', 'floating-point', '-b', 32, 'OUT');
is(heard([$float]), $plain, 'floating point');
my $raw = slurp(sox('float.raw', $wav, '-e', 'floating-point', '-b', 32, 'OUT'));
is(heard([ '--rate', 16000, '--format', 'f32le' ], input => $raw), $plain, 'raw floating point');

done_testing();
