# Neither the token nor a password is in the list of processes, in a message or in what is printed.
use strict;
use warnings;
use Test::More;
use Worker;

my $session = open_session();
my $token = stream_token($session);
my $file = token_file($session, $token);
my ($wav) = (recordings())[1];

my $worker =
  start_worker([ '--dsn', dsn(password => 'hunter2'), '--token-file', $file, '--print' ]);
my $process = '/proc/' . worker_pid($worker);
ok(wait_until(sub { slurp("$process/limits") =~ /^Max file size +0 +0 /m }, $worker), 'it runs');
unlike(slurp("$process/cmdline"), qr/hunter2/, 'the password is not in the list of processes');
feed($worker, slurp($wav));
is(finish_worker($worker)->{code}, 0, 'exit status');
unlike($worker->{out} . $worker->{err}, qr/hunter2|\Q$token\E/, 'nor in a message');

for my $dsn (dsn(password => 'hunter2', dbname => 'none'),
	'host=' . scratch() . ' password=hunter2', "password=hunter2 what is this",
	'postgresql://app:hunter2@/cauce?nonsense=hunter2')
{
	$worker = run_worker([ '--dsn', $dsn, '--token-file', $file, '--give-up', 1, $wav ]);
	isnt($worker->{code}, 0, 'a connection that fails');
	unlike($worker->{err}, qr/hunter2|\Q$token\E/, 'keeps the password to itself');
}
is($worker->{code}, 2, 'exit status of a bad DSN');

$worker = run_worker(
	[ '--dsn', 'host=' . scratch(), '--token-file', $file, '--give-up', 1, $wav ]);
is($worker->{code}, 5, 'exit status where nobody answers');
like($worker->{err}, qr/did not answer for 1 s/, 'and why');

done_testing();
