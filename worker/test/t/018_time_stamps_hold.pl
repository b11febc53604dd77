# Time stamps come from the count of samples: after an hour of speech and silence they are within 50 ms of the truth,
# at the models' own rate and through the resampler. With CAUCE_LONG=1 an hour, otherwise a minute.
#
# The truth: a clip is put in at known places. Where its voice begins and ends within it is what the worker says in the
# first seconds of a stream, on the average of some places, as it judges in frames of 32 ms. The clips begin with the
# voice: a breath before it counts or not, as it falls.
use strict;
use warnings;
use List::Util qw(max min);
use Test::More;
use Worker;

my $length = $ENV{CAUCE_LONG} ? 3600 : 60;    # seconds
my $near = 50;                                 # milliseconds
my $places = 4;
srand 7;

# stamps transcribes samples (16 bit) and returns where its segments begin and end, in milliseconds.
sub stamps
{
	my ($rate, $samples) = @_;
	my $session = open_session();
	my $file = spew(scratch() . '/samples', $samples);
	my $worker = run_worker([ '--dsn', dsn(), '--token-file', token_file($session), '--rate', $rate, $file ]);
	is($worker->{code}, 0, 'exit status') or diag $worker->{err};
	return map { [ $_->{start_ms}, $_->{end_ms} ] } transcript($session);
}

# own tells where the voice begins and ends in each clip, in milliseconds.
sub own
{
	my ($rate, $silence, @clips) = @_;
	my ($samples, @at) = ('');
	for my $place (0 .. $places * @clips - 1)
	{
		$samples .= $silence->(1.5 + $place * 0.032 / $places);
		push @at, 1000 * length($samples) / 2 / $rate;
		$samples .= $clips[ $place % @clips ];
	}
	my @found = stamps($rate, $samples . $silence->(1));
	is(scalar @found, scalar @at, 'a clip is one segment');
	my @own = map { [ 0, 0 ] } @clips;
	for my $place (0 .. min($#found, $#at))
	{
		$own[ $place % @clips ][$_] += ($found[$place][$_] - $at[$place]) / $places for 0, 1;
	}
	return @own;
}

for my $rate ($ENV{CAUCE_LONG} ? 16000 : (), 44100, 8000)
{
	my @clips = map { pcm(sox('clip.wav', $_, '-r', $rate, 'OUT', 'trim', 0.25)) } (recordings())[ 1, 4 ];
	my $silence = sub { return "\0\0" x int($rate * $_[0]) };
	my @own = own($rate, $silence, @clips);

	# Silence between clips takes a second or some, and a number of samples that is no number of milliseconds.
	my ($samples, @truth) = ('');
	while (length($samples) / 2 / $rate < $length - 20)
	{
		my $which = int rand @clips;
		$samples .= $silence->(1 + rand($ENV{CAUCE_LONG} ? 28 : 9));
		my $at = 1000 * length($samples) / 2 / $rate;
		push @truth, [ map { $_ + $at } @{ $own[$which] } ];
		$samples .= $clips[$which];
	}
	$samples .= $silence->(max(0, $length - length($samples) / 2 / $rate));
	my @found = stamps($rate, $samples);
	is(scalar @found, scalar @truth, "$rate Hz: a segment each");
	my @off = map { my $i = $_; [ map { abs($found[$i][$_] - $truth[$i][$_]) } 0, 1 ] } 0 .. min($#found, $#truth);
	cmp_ok(max(map { @$_ } @off), '<=', $near, sprintf '%d s of %d Hz: %d segments, the farthest off by %d ms, the last by %d ms',
		$length, $rate, scalar @found, max(map { @$_ } @off), max(@{ $off[-1] }));
}

done_testing();
