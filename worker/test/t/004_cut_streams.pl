# A stream that stops anywhere, in a sample or in a word, is transcribed as far as it came; the
# worker says so in one line and all of that is stored.
use strict;
use warnings;
use Test::More;
use Worker;

my ($path) = recordings();
my $bytes = slurp($path);
my $samples = pcm($path);
my $whole = length($samples) / 2;

sub heard
{
	my ($arguments, $input) = @_;
	my $session = open_session();
	my $worker = run_worker([ '--dsn', dsn(), '--token-file', token_file($session), @$arguments ],
		input => $input);
	return ($worker->{code}, $worker->{err}, texts($session));
}

# live is a WAV header as an encoder writes it that cannot know the size of its data.
sub live
{
	my ($size, $audio) = @_;
	return 'RIFF' . pack('V', $size) . 'WAVEfmt ' . pack('VvvVVvv', 16, 1, 1, 16000, 32000, 2, 16)
	  . 'data' . pack('V', $size) . $audio;
}

# In "... John Dashwood had then leisure to con|sider ...".
my ($code, $err, $text) = heard([], substr $bytes, 0, 44 + 32000 * 3 + 1);
is($code, 0, 'cut in a word, in a sample');
like($err, qr/^cauce-worker: the stream ended \d+ bytes before/m, 'and it says so');
is(scalar(() = $err =~ /\n/g), 2, 'in one line, beside the summary');
like($text, qr/john dashwood had/i, 'what was said before is there');

($code, $err, $text) = heard([ '--rate', 16000 ], substr $samples, 0, 32000 * 3 + 1);
is($code, 0, 'raw PCM cut in a sample');
like($err, qr/^cauce-worker: the stream ended inside a sample; its 1 bytes/m, 'and it says so');
like($text, qr/john dashwood had/i, 'what was said before is there');

for my $size (0, 0xFFFFFFFF, 0x7FFFFFFF)
{
	($code, $err, $text) = heard([], live($size, $samples));
	is($code, 0, "a live encoder's size $size");
	unlike($err, qr/ended/, 'is no reason to complain');
	cmp_ok(wer(reference($path), $text), '<=', 0.10, 'all is heard');
}
($code, $err, $text) = heard([], live(length($samples), $samples) . "LIST\4\0\0\0abcd" x 10);
is($code, 0, 'what follows the audio is no audio');
cmp_ok(wer(reference($path), $text), '<=', 0.10, 'all is heard');

done_testing();
