# What was said is stored, once, whatever happens: the client disconnects in the middle of a word, the
# database goes away and the client has to wait, the worker or PostgreSQL is killed at random moments.
# With CAUCE_LONG=1 it is killed 100 times.
use strict;
use warnings;
use Server;
use Test::More;
use Time::HiRes qw(sleep);
use Worker;

my $kills = $ENV{CAUCE_LONG} ? 50 : 2;    # of each
my $server = start_serve([ '--capacity', 4 ]);
my ($wav) = (recordings())[1];
my $listen = '/v1/listen?encoding=linear16&sample_rate=16000&keep_session=true';
my @token = (headers => { Authorization => 'Token $TOKEN' });

# Cut off in the middle of the last word, with all that was said before sent at once.
my $cut = raw_file('cut', $wav, 'trim', 0, 2.1);
my $session = open_session();
my @messages = run_client('script', { url => url($server, $listen), @token, steps => [ [ file => $cut, 3200 ], [ wait => 50 ], ['abort'] ] },
	stream_token($session));
ok(wait_until(sub { transcript($session) > 0 }), 'a disconnect after a word: it is stored');
like(texts($session), qr/not an ill/, 'every word') or diag texts($session);

# The database is away for as long as it takes to say much more than the worker keeps.
my $long = raw_file('long', recording(), 'repeat', 3);
my $calm = open_session();
run_client('script', { url => url($server, $listen), @token, steps => [ [ file => $long, 32000 ], [ text => '{"type":"CloseStream"}' ] ] }, stream_token($calm));
$session = open_session();
my $before = memory(serve_pid($server));
my $client = start_client('script', { url => url($server, $listen), @token,
		steps => [ [ file => $cut, 3200 ], [ text => '{"type":"Finalize"}' ], [ until => 'Results' ], [ print => 'away' ],
			[ wait => 1500 ], [ file => $long, 32000 ], [ text => '{"type":"CloseStream"}' ] ] }, stream_token($session));
wait_until(sub { $client->{out} =~ /Results/ }, $client);
stop_server();
ok(wait_until(sub { $server->{err} =~ /no luck with the database/ }, $server), 'the database is away');
like((http($server, '/metrics'))[1], qr/^cauce_worker_database_away 1$/m, 'which is to be seen');
sleep 6;
cmp_ok(memory(serve_pid($server)) - $before, '<', 60_000, 'memory stays bounded (KiB)');
start_server();
@messages = finish_client($client);
is($messages[-1]{close}, 1000, 'the stream goes on to its end');
my $stored = texts($session);
is(wer(texts($calm), $stored =~ s/^.*?\.\s*//r) < 0.05, 1, 'every word of it is there') or diag $stored;

# Each final that a client was told of is there, and no text is there twice that was said once.
sub check
{
	my ($id, $name, @heard) = @_;
	my @acknowledged = map { $_->{channel}{alternatives}[0]{transcript} } grep { $_->{is_final} } @heard;
	my %there;
	$there{ $_->{body} . '@' . $_->{start_ms} }++ for transcript($id);
	my @lost = grep { my $text = $_->{channel}{alternatives}[0]{transcript}; length $text && !$there{ $text . '@' . (1000 * $_->{start}) } }
	  grep { $_->{is_final} } @heard;
	my @twice = grep { $there{$_} > 1 } keys %there;
	return (scalar @acknowledged, scalar @lost, scalar @twice);
}

for my $victim ('worker', 'PostgreSQL')
{
	my ($told, $lost, $twice) = (0, 0, 0);
	for my $round (1 .. $kills)
	{
		my $id = open_session();
		my $talk = start_client('script', { url => url($server, $listen), @token, steps => [ [ file => $long, 3200, 8 ], [ text => '{"type":"CloseStream"}' ] ] },
			stream_token($id));
		wait_until(sub { $talk->{out} =~ /Results/ }, $talk);
		my $end = Time::HiRes::time() + rand 2;
		while (Time::HiRes::time() < $end) { eval { $talk->{run}->pump_nb }; sleep 0.01 }
		if ($victim eq 'worker')
		{
			kill 'KILL', serve_pid($server);
			finish_worker($server);
		}
		else
		{
			kill_server();
			start_server();
		}
		my @heard = finish_client($talk);
		is($heard[-1]{close}, 1000, 'the stream outlives it') if $victim ne 'worker';
		$server = start_serve([ '--capacity', 4 ]) if $victim eq 'worker';
		my @counts = check($id, $victim, @heard);
		$told += $counts[0];
		$lost += $counts[1];
		$twice += $counts[2];
	}
	cmp_ok($told, '>=', $kills, "$victim killed $kills times: $told segments acknowledged");
	is($lost, 0, 'none of them lost');
	is($twice, 0, 'none there twice');
}

is(stop_serve($server), 0, 'exit status');

done_testing();
