# The sandbox: a table of tries to break it, all denied; no inherited file stays open; and a whole served
# session opens no file for writing and writes to nothing but sockets, pipes, events and the log.
use strict;
use warnings;
use Server;
use Test::More;
use Worker;

my $worker = worker_path();
my $table = qx($worker selftest | cat);
my @lines = split /\n/, $table;
like($lines[-1], qr/^Landlock version \d+; (?:all memory|memory for audio) locked; every try was denied$/, 'selftest');
my $limited = qx(prlimit --memlock=8388608:8388608 setpriv --bounding-set=-sys_resource,-ipc_lock $worker selftest | cat);
like($limited, qr/; memory for audio locked; every try was denied$/, 'under a limit of locked memory');
cmp_ok(scalar @lines, '>=', 38, 'tries');
is_deeply([ grep { !/^(?:landlock|seccomp|limits)  .* denied$/ } @lines[ 0 .. $#lines - 1 ] ], [], 'each denied');
like($table, qr/^$_  /m, "some by $_") for qw(landlock seccomp limits);
my $file = scratch() . '/table';
is(system("$worker selftest >$file 2>/dev/null") >> 8, 1, 'an output that is a file is found');

# swappable gives the mappings of a process that the kernel may write to swap: what is private and writable.
sub swappable { return grep { /^[0-9a-f]+-[0-9a-f]+ .w.p/ } split /^(?=[0-9a-f]+-[0-9a-f]+ )/m, slurp("/proc/$_[0]/smaps") }

my ($wav) = (recordings())[1];
my $raw = raw_file('speech', $wav, 'pad', 0, 1);
my $trace = scratch() . '/trace';
# A file that was open when the server was started, for writing at that.
open my $left, '>', scratch() . '/left' or die "left: $!";
fcntl $left, Fcntl::F_SETFD(), 0;
my $server = start_serve([], before => [ qw(strace -f -qq -yy -v -s 0 -o), $trace ]);
my $strace = serve_pid($server);
my ($pid) = split ' ', qx(pgrep -P $strace);    # what strace runs
my @open = map { readlink $_ } glob "/proc/$pid/fd/*";
is_deeply([ grep { /left|\.crt|\.key|onnx/ } @open ], [], 'no file stays open') or diag "@open";
my $status = slurp("/proc/$pid/status");
like($status, qr/^Seccomp:\s+2$/m, 'seccomp');
like($status, qr/^NoNewPrivs:\s+1$/m, 'no new privileges');
is((stat "/proc/$pid/environ")[4], 0, 'not dumpable');
SKIP:
{
	skip 'memory cannot be locked here', 1 if $server->{err} !~ /event=sandbox .*locked=all$/m;
	is_deeply([ grep { !/^VmFlags:.* lo\b/m && !/\[v\w+\]$/m } swappable($pid) ], [], 'no memory can be swapped out');
}
like(slurp("/proc/$pid/limits"), qr/^$_ +0 +0 /m, $_) for 'Max file size', 'Max core file size';

my $session = open_session();
for my $protocol ('/v1/listen?encoding=linear16&sample_rate=16000&interim_results=true&keep_session=true', '/')
{
	my @end = $protocol eq '/' ? [ text => '{"eof": 1}' ] : [ text => '{"type": "CloseStream"}' ];
	my @config = $protocol eq '/' ? [ text => '{"config": {"sample_rate": 16000, "keep_session": true}}' ] : ();
	my @messages = run_client('script', { url => url($server, $protocol), headers => { Authorization => 'Token $TOKEN' },
			steps => [ @config, [ file => $raw, 3200, 10 ], @end ] }, stream_token($session));
	is($messages[-1]{close}, 1000, "$protocol under strace");
}
like(texts($session), qr/young man.*young man/i, 'both are transcribed');
http($server, '/metrics');
kill 'TERM', $pid;
finish_worker($server);

my @calls = split /\n/, slurp($trace);
my ($entered) = grep { $calls[$_] =~ /seccomp\(SECCOMP_SET_MODE_FILTER/ } 0 .. $#calls;
ok(defined $entered, 'strace sees the sandbox');
my ($first) = grep { $calls[$_] =~ /\baccept4?\(.*= \d/ } 0 .. $#calls;
cmp_ok($entered, '<', $first, 'which comes before the first client');
# What trials tried ends with an error; nothing but the log's child came before.
my @done = grep { !/= -1 / && !/<unfinished/ } @calls[ $entered + 1 .. $#calls ];
is_deeply([ grep { /\bopen(?:at2?)?\(.*(?:O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE)|\bcreat\(|\bmemfd_create\(/ } @done ], [],
	'no file is opened for writing');
my @written = map { /\b(?:p?writev?|pwrite64|sendto|sendmsg|send)\(\d+<([^>]*)>/ ? $1 : () } @done;
cmp_ok(scalar @written, '>', 20, 'strace sees what is written');
is_deeply([ grep { !/^(?:TCP|TCPv6|UNIX|UNIX-STREAM|UDP|NETLINK|socket|pipe|anon_inode)/ && !m{^/dev/(?:null|pts|tty)} } @written ], [],
	'nothing but to sockets, pipes and events');
is_deeply([ grep { /\b(?:execve|fork|vfork|shmget|ptrace|process_vm_writev|io_uring_setup)\(/ } @done ], [], 'nor by another way');

done_testing();
