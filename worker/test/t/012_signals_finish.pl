# SIGTERM and SIGINT end the reading, and what was heard is stored. A second one leaves at once,
# though the database does not answer.
use strict;
use warnings;
use Test::More;
use Worker;

my ($path) = recordings();
my $samples = pcm($path);

for my $signal ('TERM', 'INT')
{
	my $session = open_session();
	my $worker = start_worker(
		[ '--dsn', dsn(), '--token-file', token_file($session), '--rate', 16000 ]);
	my $process = '/proc/' . worker_pid($worker);
	feed($worker, substr $samples, 0, 32000 * 4);
	wait_until(sub { (as_root('cat', "$process/io") =~ /^rchar: (\d+)/m)[0] > 32000 * 4 + 100000
			&& slurp("$process/limits") =~ /^Max file size +0 +0 /m }, $worker);
	select undef, undef, undef, 1;
	kill $signal, worker_pid($worker);
	ok(wait_until(sub { !$worker->{run}->pumpable }, $worker), "SIG$signal ends it");
	is(finish_worker($worker)->{code}, 0, 'with success');
	like(texts($session), qr/john dashwood had then/i, 'what was heard is stored');
}

my $session = open_session();
my $worker = start_worker(
	[ '--dsn', dsn(), '--token-file', token_file($session), '--rate', 16000 ]);
wait_until(sub { slurp('/proc/' . worker_pid($worker) . '/limits') =~ /^Max file size +0 +0 /m },
	$worker);
stop_server();
feed($worker, $samples . "\0" x 48000);
wait_until(sub { $worker->{err} =~ /no luck/ }, $worker);
kill 'TERM', worker_pid($worker);
select undef, undef, undef, 0.5;
ok($worker->{run}->pumpable, 'one signal waits for the database');
kill 'TERM', worker_pid($worker);
ok(wait_until(sub { !$worker->{run}->pumpable }, $worker), 'a second one does not');
is(finish_worker($worker)->{code}, 5, 'exit status');
like($worker->{err}, qr/not stored: 1$/m, 'it says what is lost');
start_server();

done_testing();
