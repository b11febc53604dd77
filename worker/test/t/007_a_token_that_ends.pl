# When the token expires in the middle, what was stored stays, and the worker ends by itself, says
# how many segments are lost and never writes the token anywhere.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep time);
use Worker;

my ($first, $second) = map { pcm(sox("piece$_.wav", (recordings())[$_], 'OUT', 'pad', 0.5, 1)) } 1, 4;
my $session = open_session();
my $token = stream_token($session, '12 seconds');
my $end = time + 12.5;
my $worker =
  start_worker([ '--dsn', dsn(), '--token-file', token_file($session, $token), '--rate', 16000 ]);

feed($worker, $first);
ok(wait_until(sub { transcript($session) == 1 }, $worker), 'a segment is stored');
sleep $end - time if $end > time;
feed($worker, $second);
ok(wait_until(sub { !$worker->{run}->pumpable }, $worker), 'the worker ends though its input goes on');
is(finish_worker($worker)->{code}, 4, 'exit status');
like($worker->{err}, qr/refused: .*SQLSTATE 28000.*not stored: 1$/m, 'it says why');
unlike($worker->{err}, qr/\Q$token\E/, 'and keeps the token to itself');
is(transcript($session), 1, 'what was stored stays');

done_testing();
