# Every library in the process gives memory back through the worker's own free and realloc, which
# wipe it.
use strict;
use warnings;
use File::Basename qw(basename);
use Test::More;
use Worker;

# The dynamic linker tells which symbols it binds where. The worker has nothing to do: it is called
# with wrong arguments.
my $worker = run_worker([], before => [qw(env LD_DEBUG=bindings LD_BIND_NOW=1)]);
is($worker->{code}, 2, 'started in vain');
my %bound;
while ($worker->{err} =~ /binding file (\S+) \[0\] to (\S+) \[0\]: normal symbol [`'](\w+)'/g)
{
	$bound{ basename($1) }{$3} = basename($2);
}
my $own = basename(worker_path());
for my $library (qw(libonnxruntime.so libsherpa-onnx-c-api.so libsoxr.so.0 libpq.so.5 libcrypto.so.3
	libstdc++.so.6 libc.so.6))
{
	is($bound{$library}{free}, $own, "$library: free");
	is($bound{$library}{realloc} // $own, $own, "$library: realloc");
}
for my $library (qw(libonnxruntime.so libsherpa-onnx-c-api.so))
{
	like($bound{$library}{_ZdlPv}, qr/^libstdc/, "$library: delete is that of libstdc++, which calls free");
}

done_testing();
