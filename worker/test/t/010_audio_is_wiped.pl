# Audio is kept in locked memory only as long as its segment is not decoded: afterwards no window of
# 50 ms of it is there any more.
use strict;
use warnings;
use Memory;
use Test::More;
use Worker;

plan skip_all => 'reading the memory of another process takes root' if $> != 0;

# found counts windows of 50 ms that the memory holds, as integers or as floating point.
sub found
{
	my ($memory, $samples) = @_;
	my $count = 0;
	my $window = 800 * 2;
	for (my $at = 0; $at + $window <= length $samples; $at += $window)
	{
		my $integers = substr $samples, $at, $window;
		my $floats = pack 'f<*', map { $_ / 32768 } unpack 's<*', $integers;
		$count++ if index($memory, $integers) >= 0 || index($memory, $floats) >= 0;
	}
	return $count;
}

my ($path) = recordings();
my $samples = pcm($path);
my $session = open_session();
my $worker = start_worker(
	[ '--dsn', dsn(), '--token-file', token_file($session), '--rate', 16000 ]);
my $pid = worker_pid($worker);
my $half = substr $samples, 0, 32000 * 4;

feed($worker, $half);
# Under 32 ms are still unjudged, and the pipe is empty before the sample is taken.
ok(wait_until(sub { found(locked($pid), substr $half, 16000) > 50 }, $worker),
	'a segment that is spoken is in locked memory, where this test can see it');
stop_server();
feed($worker, substr($samples, length $half) . "\0" x 48000);
ok(wait_until(sub { $worker->{err} =~ /no luck/ }, $worker), 'decoded, and waiting for the database');
is(found(locked($pid), $samples), 0, 'nothing of a decoded segment is left');
start_server();
is(finish_worker($worker)->{code}, 0, 'exit status');
cmp_ok(wer(reference($path), texts($session)), '<=', 0.10, 'its text is stored');

done_testing();
