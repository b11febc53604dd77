# From before the first byte of audio the kernel refuses to let any file grow, and the worker
# opens none for writing.
use strict;
use warnings;
use Test::More;
use Worker;

my ($wav) = (recordings())[1];
my $session = open_session();
my @common = ('--dsn', dsn(), '--token-file', token_file($session));

my $worker = start_worker([@common]);
my $process = '/proc/' . worker_pid($worker);
ok(wait_until(sub { slurp("$process/limits") =~ /^Max file size +0 +0 /m }, $worker),
	'RLIMIT_FSIZE is 0 before there is audio');
like(slurp("$process/limits"), qr/^Max core file size +0 +0 /m, 'RLIMIT_CORE is 0');
is((stat "$process/environ")[4], 0, 'the process is not dumpable: its files are root\'s');
feed($worker, slurp($wav));
is(finish_worker($worker)->{code}, 0, 'and the stream is transcribed');

my $trace = scratch() . '/trace';
$worker = run_worker([@common], input => slurp($wav), before => [ qw(strace -f -qq -o), $trace ]);
is($worker->{code}, 0, 'under strace') or diag $worker->{err};
my @lines = split /\n/, slurp($trace);
# Of a process that is not dumpable, root alone is shown the bytes.
my ($first_read) = grep { $lines[$_] =~ /read\(0, (?:"RIFF|0x)/ } 0 .. $#lines;
ok(defined $first_read, 'strace sees the stream');
my @writing = grep { /\bopen(?:at2?)?\(.*O_(?:WRONLY|RDWR|CREAT|TMPFILE)|\bcreat\(|memfd_create\(/
	  && !/"\/dev\/(?:null|tty)"/ && !/= -1 E(?:PERM|ACCES) / } @lines;    # the sandbox's own tries are denied
is_deeply(\@writing, [], 'no file is opened for writing');
my ($limit) = grep { $lines[$_] =~ /RLIMIT_FSIZE, \{rlim_cur=0/ } 0 .. $#lines;
cmp_ok($limit // 1e9, '<', $first_read // -1, 'the limit comes before the first byte');

# What the worker has to say gets into a log file all the same.
my $log = scratch() . '/log';
my $arguments = "--dsn '" . dsn() . "' --token-file " . token_file($session);
is(system(worker_path() . " transcribe $arguments $wav 2>$log"), 0, 'standard error is a file');
like(slurp($log), qr/^cauce-worker: segments stored: 1, /, 'the summary is in it');
isnt(system(worker_path() . " transcribe --print $arguments $wav 2>>$log >$log.out"), 0,
	'a transcript is not printed to a file');
like(slurp($log), qr/\| cat > FILE/, 'it says what to do');
my $printed = qx{@{[worker_path()]} transcribe --print $arguments $wav 2>>$log};
like($printed, qr/^\[00:00\.\d\d - 00:0\d\.\d\d\] speaker: He was not an ill/, 'but to a pipe');

done_testing();
