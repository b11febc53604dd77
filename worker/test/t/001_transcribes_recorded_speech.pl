# The main job: recorded speech becomes text in the session's transcript, at most one word in ten
# wrong, and every segment says who spoke and when.
use strict;
use warnings;
use Test::More;
use Worker;

my ($heard, $said) = ('', '');
for my $path (recordings())
{
	my $session = open_session();
	my $worker = run_worker([ '--dsn', dsn(), '--token-file', token_file($session), $path ]);

	is($worker->{code}, 0, "$path is transcribed") or diag $worker->{err};
	is($worker->{out}, '', 'nothing is printed where nobody asked');
	like($worker->{err},
		qr/^cauce-worker: segments stored: \d+, audio: [\d.]+ s, channels: 1, real-time factor: [\d.]+\n$/,
		'the summary is one line of numbers');
	my @rows = transcript($session);
	cmp_ok(scalar @rows, '>=', 1, 'the owner reads segments');
	for my $row (@rows)
	{
		is($row->{channel}, 0, 'channel');
		is($row->{speaker}, 'speaker', 'speaker');
		is($row->{unsure}, 't', 'no confidence is made up');
		cmp_ok($row->{start_ms}, '<', $row->{end_ms}, 'a segment starts before it ends');
		cmp_ok($row->{end_ms}, '<=', 1000 * (-s $path) / 32000, 'and ends within the stream');
	}
	$heard .= ' ' . texts($session);
	$said .= ' ' . reference($path);
}
my $rate = wer($said, $heard);
cmp_ok($rate, '<=', 0.10, sprintf 'word error rate %.1f %%', 100 * $rate);

done_testing();
