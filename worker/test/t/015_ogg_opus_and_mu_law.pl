# Ogg Opus and mu-law give the words that the recording gives, in pieces of any size.
use strict;
use warnings;
use Test::More;
use Worker;

my ($wav) = (recordings())[1];

sub heard
{
	my ($name, $input, @options) = @_;
	my $session = open_session();
	my $worker = start_worker([ '--dsn', dsn(), '--token-file', token_file($session), @options ]);
	feed($worker, $_) for unpack '(a999)*', $input;
	is(finish_worker($worker)->{code}, 0, $name) or diag $worker->{err};
	return transcript($session);
}

sub opus
{
	my ($name, $from, @options) = @_;
	my $path = scratch() . "/$name.opus";
	system(qw(opusenc --quiet), @options, $from, $path) == 0 or die 'opusenc';
	return slurp($path);
}

my ($plain) = heard('as it is', slurp($wav));
my ($row) = heard('Ogg Opus', opus('mono', $wav));
cmp_ok(wer(reference($wav), $row->{body}), '<=', 0.15, 'has the words') or diag $row->{body};
cmp_ok(abs($row->{start_ms} - $plain->{start_ms}), '<=', 64, 'at their time');

my @two = heard('two channels', opus('stereo', sox('stereo.wav', $wav, 'OUT', 'remix', '0', '1')));
is(scalar @two, 1, 'one of them silent');
is($two[0]{speaker}, 'channel 1', 'the other heard') if @two;

my $narrow = sox('narrow.wav', $wav, '-r', 8000, '-e', 'mu-law', 'OUT');
($row) = heard('mu-law in WAV', slurp($narrow));
cmp_ok(wer(reference($wav), $row->{body}), '<=', 0.15, 'has the words') or diag $row->{body};
my $again = qx{sox $narrow -t raw -e mu-law -b 8 -};
my ($raw) = heard('raw mu-law', $again, qw(--rate 8000 --format mulaw));
is($raw->{body}, $row->{body}, 'the same');

# What is damaged on the way is passed over.
my $damaged = opus('damaged', $wav, '--max-delay', 100);
substr($damaged, length($damaged) / 2, 50) = 'x' x 50;
my @rows = heard('a damaged page', $damaged);
cmp_ok(scalar @rows, '>=', 1, 'costs its words only');

# One that follows the other in the same file is heard, too.
@rows = heard('two in a chain', opus('first', $wav) . opus('second', $wav, qw(--serial 77)));
cmp_ok(scalar(words(join ' ', map { $_->{body} } @rows)), '>=', 1.6 * words($plain->{body}), 'both');

done_testing();
