# Once the last segment is stored, no memory of the process holds 50 ms of what was said: neither the
# worker's, nor what the engine, libsoxr and libpq have on the heap or have given back, nor a stack.
use strict;
use warnings;
use List::Util qw(max);
use Memory;
use Test::More;
use Worker;

plan skip_all => 'reading the memory of another process takes root' if $> != 0;

my $window = 0.05;    # seconds
my $session = open_session();

# longest tells how many seconds the longest piece has that a process's memory holds.
sub longest { return max(0, map { $_->{seconds} } pieces(@_)) }

# none_left tests that there is none of 50 ms, and says where there is.
sub none_left
{
	my ($pid, $needles, $name) = @_;
	my @left = grep { $_->{seconds} >= $window } pieces($pid, $needles);
	is(scalar @left, 0, $name);
	diag sprintf '%.4f s as %s', @{$_}{qw(seconds where)} for @left;
	return;
}

# hear feeds a stream and returns the worker, which waits for more, once all segments are stored.
# In the middle of the first segment it calls back.
sub hear
{
	my ($rate, $samples, $segments, $callback) = @_;
	my $worker = start_worker(
		[ '--dsn', dsn(), '--token-file', token_file($session), '--rate', $rate, '--print' ]);
	my $half = 2 * 4 * $rate;
	feed($worker, substr $samples, 0, $half);
	ok(wait_until(sub { $callback->(worker_pid($worker)) }, $worker), "$rate Hz: control");
	feed($worker, substr($samples, $half) . "\0" x (2 * $rate));
	ok(wait_until(sub { ($worker->{out} =~ tr/\n//) == $segments }, $worker), 'all is stored');
	return $worker;
}

# As it came, and as floating point.
{
	my $samples = pcm(recording());
	my $needles = needles(16000, s16 => $samples,
		f32 => pack 'f<*', map { $_ / 32768 } unpack 's<*', $samples);
	cmp_ok(scalar keys %{ $needles->{keys} }, '>', 2000, 'enough to look for');
	my $worker = hear(16000, $samples, 5, sub { longest($_[0], $needles) > 1 });
	my $pid = worker_pid($worker);
	none_left($pid, $needles, 'nothing is left');

	# What is said is left where libpq sends it from, until the next segment takes the place.
	my ($words) = $worker->{out} =~ /: (.{20})[^\n]*\n\z/ or die $worker->{out};
	cmp_ok(scalar occurrences($pid, $words), '<=', 1, 'the last text is there once at most');
	($words) = $worker->{out} =~ /: (.{20})/;
	is(scalar occurrences($pid, $words), 0, 'the first is not');
	is(finish_worker($worker)->{code}, 0, 'exit status');
}

# As it came at another rate, and as the resampler put it out: what that is, the worker's own memory
# tells while the segment is spoken.
for my $rate (44100, 8000)
{
	my ($path) = recordings();
	my $samples = pcm(sox("$rate.wav", $path, '-r', $rate, 'OUT'));
	my $input = needles($rate, s16 => $samples,
		f32 => pack 'f<*', map { $_ / 32768 } unpack 's<*', $samples);
	my $output;
	my $worker = hear($rate, $samples, 1, sub {
		$output = needles(16000, f32 => locked($_[0]));
		return longest($_[0], $output) > 1 });
	my $pid = worker_pid($worker);
	none_left($pid, $input, 'nothing is left as it came');
	none_left($pid, $output, 'nothing is left as it was resampled');
	is(finish_worker($worker)->{code}, 0, 'exit status');
}

done_testing();
