# The database may be away before, during and after speech: every word is there afterwards, once.
# Only whoever says --give-up gets an end instead, and hears how many segments that cost.
use strict;
use warnings;
use Test::More;
use Worker;

# Half a second of silence more at each end: each recording is a segment of its own.
my @pieces = map { pcm(sox("piece$_.wav", (recordings())[$_], 'OUT', 'pad', 0.5, 0.5)) } 0 .. 4;
my @raw = ('--rate', 16000);

sub arguments { return [ '--dsn', dsn(), '--token-file', token_file($_[0]), @raw, @_[ 1 .. $#_ ] ] }

my $calm = open_session();
is(run_worker(arguments($calm), input => join '', @pieces)->{code}, 0, 'without an outage');

my $session = open_session();
my $worker = start_worker(arguments($session));
feed($worker, $pieces[0]);
ok(wait_until(sub { transcript($session) > 0 }, $worker), 'a segment is stored while others come');
stop_server();
feed($worker, $pieces[$_]) for 1 .. 3;
ok(wait_until(sub { $worker->{err} =~ /no luck with the database/ }, $worker), 'an outage is told');
start_server();
feed($worker, $pieces[4]);
is(finish_worker($worker)->{code}, 0, 'exit status after an outage');
like($worker->{err}, qr/answers again/, 'its end is told');
is(texts($session), texts($calm), 'every word is there, once');

$session = open_session();
my $arguments = arguments($session);
stop_server('fast');
$worker = start_worker($arguments);
offer($worker, $_) for @pieces;
ok(wait_until(sub { $worker->{err} =~ /no luck/ }, $worker), 'the database is away at the start');
start_server();
is(finish_worker($worker)->{code}, 0, 'exit status');
is(texts($session), texts($calm), 'every word is there');

$session = open_session();
$arguments = arguments($session, '--give-up', 2);
$worker = start_worker($arguments);
feed($worker, $pieces[0]);
wait_until(sub { transcript($session) > 0 }, $worker);
stop_server();
feed($worker, $pieces[1]);
is(finish_worker($worker)->{code}, 5, '--give-up ends with an exit status of its own');
like($worker->{err}, qr/did not answer for 2 s: .*not stored: 1$/m, 'and says what it cost');
start_server();
is(transcript($session), 1, 'what was stored before stays');

done_testing();
