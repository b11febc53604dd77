# Two streams into one session are both kept, in the order in which they came. A number that is
# taken is an error, never a segment that is silently left out. Each begins where in the session it is said to.
use strict;
use warnings;
use Test::More;
use Worker;

my ($first, $second) = (recordings())[ 1, 4 ];
my $session = open_session();
my @common = ('--dsn', dsn(), '--token-file', token_file($session));

is(run_worker([ @common, $_ ])->{code}, 0, "$_ is stored") for $first, $second, $first;
my @said = map { reference($_) } $first, $second, $first;
cmp_ok(wer("@said", texts($session)), '<=', 0.10, 'all three, in their order');

$session = open_session();
@common = ('--dsn', dsn(), '--token-file', token_file($session), '--first-seq', 7);
is(run_worker([ @common, $first ])->{code}, 0, 'numbers can be chosen');
is_deeply([ map { $_->{seq} } transcript($session) ], [7], 'they start there');
my $worker = run_worker([ @common, $second ]);
is($worker->{code}, 4, 'the same number again is refused');
like($worker->{err}, qr/number 7 of channel 0 is taken.*not stored: 1$/m, 'and it says so');
cmp_ok(wer(reference($first), texts($session)), '<=', 0.10, 'what was there stays');

$session = open_session();
is(run_worker([ '--dsn', dsn(), '--token-file', token_file($session), '--offset', $_, $first ])->{code}, 0, "one at $_ ms") for 0, 3_600_000;
my ($now, $later) = transcript($session);
is_deeply([ @$later{qw(start_ms end_ms)} ], [ map { $_ + 3_600_000 } @$now{qw(start_ms end_ms)} ], 'an hour apart');
like(run_worker([ @common, '--offset', -1, $first ])->{err}, qr/--offset/, 'it begins in the session');

done_testing();
