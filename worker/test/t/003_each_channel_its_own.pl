# Each channel of a stream is a transcript of its own: silence in one gives no text, speech in two
# does not mix.
use strict;
use warnings;
use Test::More;
use Worker;

my ($first, $second) = (recordings())[ 1, 4 ];
my $silence = sox('silence.wav', '-n', '-r', 16000, '-b', 16, 'OUT', 'trim', 0, 4);

sub channels
{
	my ($arguments, %how) = @_;
	my $session = open_session();
	my $worker =
	  run_worker([ '--dsn', dsn(), '--token-file', token_file($session), @$arguments ], %how);
	is($worker->{code}, 0, 'exit status') or diag $worker->{err};
	my (%text, %speaker);
	for (transcript($session))
	{
		$text{ $_->{channel} } .= " $_->{body}";
		$speaker{ $_->{channel} } = $_->{speaker};
	}
	return (\%text, \%speaker);
}

my ($text, $speaker) = channels([ sox('half.wav', '-M', $silence, $first, 'OUT') ]);
is_deeply([ keys %$text ], [1], 'silence gives no text');
is($speaker->{1}, 'channel 1', 'a channel is named by its number');
cmp_ok(wer(reference($first), $text->{1}), '<=', 0.10, 'the other channel is heard');

my $both = sox('both.wav', '-M', $first, $second, 'OUT');
($text, $speaker) = channels([ '--speaker', 'Nora', '--speaker', 'client', $both ]);
is($speaker->{0}, 'Nora',   'a name that was given');
is($speaker->{1}, 'client', 'and the second');
cmp_ok(wer(reference($first),  $text->{0}), '<=', 0.10, 'channel 0');
cmp_ok(wer(reference($second), $text->{1}), '<=', 0.10, 'channel 1');

($text, $speaker) = channels([ '--rate', 16000, '--channels', 2 ], input => pcm($both));
cmp_ok(wer(reference($first),  $text->{0}), '<=', 0.10, 'channel 0 of raw PCM');
cmp_ok(wer(reference($second), $text->{1}), '<=', 0.10, 'channel 1 of raw PCM');

my $eight = sox('eight.wav', '-M', $first, ($silence) x 6, $second, 'OUT');
# Eight channels lock 13 MiB; Debian lets a user lock 8, and root as much as there is.
($text, $speaker) = channels([$eight], before => [ $> == 0 ? () : qw(sudo -n --) ]);
is_deeply([ sort keys %$text ], [ 0, 7 ], 'eight channels');

($text) = channels([$silence]);
is_deeply($text, {}, 'a stream of silence is a stream without text');

done_testing();
