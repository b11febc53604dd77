# Clusters of dev/cluster live side by side, leave nothing behind, and touch nothing of others.
use strict;
use warnings;
use CauceTest;
use File::Temp qw(tempdir);
use IPC::Run qw(run);
use MIME::Base64 qw(decode_base64url);
use Test::More;

my $root = $CauceTest::ROOT;

# tool runs one of dev/ and gives {status, out, err}.
sub tool
{
	my ($name, @arguments) = @_;
	my ($out, $err) = ('', '');
	run [ "$root/dev/$name", @arguments ], '<', \undef, '>', \$out, '2>', \$err;
	return { status => $? >> 8, out => $out, err => $err };
}

subtest 'two at once, each with its own keys' => sub {
	my @clusters = map { CauceTest->start } 1 .. 2;

	$clusters[0]->superuser('CREATE TABLE only_here ()');
	is($clusters[1]->superuser(q{SELECT to_regclass('only_here') IS NULL}), 't', 'databases are apart');
	my $token = $clusters[0]->token('north-pro');
	isnt($clusters[0]->sql(app => $token, 'SELECT cauce.account_id()'), '', 'a token opens its own cluster');
	my $foreign = $clusters[1]->try_sql(app => $token, 'SELECT cauce.account_id()');
	is($foreign->{sqlstate}, '28000', 'and no other');

	my @left = map { ($_->dir, $_->host) } @clusters;
	$_->stop for @clusters;
	is_deeply([ grep { -e } @left ], [], 'nothing is left of them');
};

subtest 'the keyring is for the server alone' => sub {
	my $cluster = CauceTest->start;
	my $modes = $cluster->as_postgres('stat', '-c', '%a %U', $cluster->keyring_file)->{out};

	is($modes, "600 postgres\n", 'its mode and owner');
	unlike($cluster->keyring_file, qr/^\Q${\$cluster->pgdata}\E/, 'it is outside the data directory');
	$cluster->kill_server;
	$cluster->stop;
	ok(!-e $cluster->dir, 'a cluster whose server was killed goes away, too');
};

subtest 'a directory of somebody else stays as it is' => sub {
	my $dir = tempdir(CLEANUP => 1);
	open my $file, '>', "$dir/precious" or die $!;
	close $file;

	my $start = tool('cluster', 'start', $dir);
	isnt($start->{status}, 0, 'start refuses a directory with something in it');
	is($start->{out}, '', 'and prints nothing for the shell');
	isnt(tool('cluster', 'stop', $dir)->{status}, 0, 'stop refuses what start did not make');
	ok(-e "$dir/precious", 'the file is still there');
	is(tool('cluster', 'stop', "$dir/none")->{status}, 0, 'to stop what is gone is no error');
};

subtest 'tokens say what they were asked to say' => sub {
	my $cluster = CauceTest->start;
	my $token = $cluster->token('a"b', scope => 'stream', session => "x'y", ttl => 60, purpose => 'care');
	my ($header, $claims) = map { decode_base64url($_) } split /\./, $token;

	like($header, qr/"alg":"ES256"/, 'ES256');
	like($header, qr/"kid":"[^"]+"/, 'the key is named');
	like($claims, qr/"sub":"a\\"b"/, 'the subject is quoted as JSON');
	like($claims, qr/"session":"x'y"/, 'the session');
	like($claims, qr/"scope":"stream"/, 'the scope');
	my ($issued) = $claims =~ /"iat":(\d+)/;
	my ($expires) = $claims =~ /"exp":(\d+)/;
	is($expires - $issued, 60, 'the time to live');
	isnt(tool('token', $cluster->dir, 'x', '--ttl', 'soon')->{status}, 0, 'a bad time to live is refused');
};

done_testing;
