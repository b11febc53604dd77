# Keys open over a unix socket, or over TLS of at least cauce.min_tls: real connections, each of which is refused
# content with 28000 and a hint, or gets it.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my $address = sprintf '127.%d.%d.%d', 1 + ($$ >> 14 & 127), $$ >> 7 & 127, 1 + ($$ & 127);
my $root = $cluster->dir . '/root.crt';
my ($key, $certificate) = map { $cluster->pgdata . "/server.$_" } qw(key crt);
is($cluster->as_postgres(qw(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=cauce
	-addext), "subjectAltName=IP:$address", '-keyout', $key, '-out', $certificate)->{status}, 0, 'a certificate is made');
{
	open my $out, '>', $root or die "$root: $!";
	print $out $cluster->as_postgres('cat', $certificate)->{out};
	close $out;
}
$cluster->as_postgres('sh', '-c', 'echo "host all all 127.0.0.0/8 trust" >> "$1"', 'sh', $cluster->pgdata . '/pg_hba.conf');
$cluster->configure("ssl = on\nlisten_addresses = '$address'");
$cluster->restart;

my %over = (
	'unix socket' => '',
	'plain TCP' => "host=$address sslmode=disable",
	'TLS 1.2' => "host=$address sslmode=verify-full sslrootcert=$root ssl_max_protocol_version=TLSv1.2",
	'TLS 1.3' => "host=$address sslmode=verify-full sslrootcert=$root ssl_min_protocol_version=TLSv1.3",
);
my $token = $cluster->token('north-pro');
my $id = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('confidence') RETURNING id});
my $stream = $cluster->sql(app => $token, "SELECT cauce.stream_token('$id')");
$cluster->superuser(q{CREATE ROLE nora LOGIN IN ROLE cauce_app; SELECT cauce.set_login_role(id, 'nora') FROM cauce.account WHERE subject = 'north-pro'});
my $read = 'SELECT title FROM cauce.session';
my $how = q{SELECT coalesce((SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl), host(inet_server_addr()), 'unix')};

# A parallel worker has no connection of its own, and must not open what its leader may not.
$cluster->sql(nora => undef, "INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)
	SELECT '$id', n, n, n, 'segment ' || n FROM generate_series(1, 5000) n");
$cluster->superuser('CREATE TABLE public.loose AS SELECT body FROM cauce.transcript_segment; GRANT SELECT ON public.loose TO cauce_app; ANALYZE public.loose');
my $parallel = 'SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
	SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off; SELECT count(*), sum(length(body)) > 0 FROM public.loose';

# opens checks that content is had over these channels and refused over the others.
sub opens
{
	my (%good) = map { $_ => 1 } @_;
	my %expected_how = ('unix socket' => 'unix', 'plain TCP' => $address, 'TLS 1.2' => 'TLSv1.2', 'TLS 1.3' => 'TLSv1.3');
	for my $channel (sort keys %over)
	{
		subtest $channel => sub {
			my $try = sub { return $cluster->try_sql($_[0] => $_[1], $_[2], over => $over{$channel}) };
			is($try->(app => undef, $how)->{out}, $expected_how{$channel}, 'the connection is what it is taken for');
			my %result = (
				'a token' => $try->(app => $token, $read),
				'SET LOCAL' => $try->(app => undef, "BEGIN; SET LOCAL cauce.token = '$token'; $read"),
				'a login' => $try->(nora => undef, $read),
				'a superuser with a token' => $try->(postgres => $token, $read),
			);
			{
				local $ENV{PGOPTIONS} = "-c cauce.token=$token";
				$result{'the startup packet'} = $try->(app => undef, $read);
			}
			my $append = "INSERT INTO cauce.alert (session_id, kind, detail) VALUES ('$id', 'x', 'y'); SELECT 'confidence'";
			$result{'a stream token'} = $try->(app => $stream, $append);
			$result{'a login that writes'} = $try->(nora => undef, "INSERT INTO cauce.session (title) VALUES ('x'); DELETE FROM cauce.session WHERE title = 'x'; SELECT 'confidence'");
			for my $what (sort keys %result)
			{
				my $got = $result{$what};
				if ($good{$channel})
				{
					is("$got->{sqlstate} $got->{out}", ' confidence', "$what: content") or diag $got->{err};
					next;
				}
				# psql does not say the SQLSTATE of a connection that was not made.
				is($got->{sqlstate}, '28000', "$what: refused") if $what ne 'the startup packet';
				like($got->{err}, qr/^psql: .*FATAL:  the identity token is refused/, "$what: refused") if $what eq 'the startup packet';
				is($got->{out}, '', '... all of it');
				like($got->{err}, qr/cauce\.min_tls.*HINT:  Connect with sslmode=verify-full/s, '... with a hint');
				unlike($got->{err}, qr/eyJ/, '... and without the token');
			}
			my $workers = $try->(nora => undef, $parallel);
			is("$workers->{sqlstate} $workers->{out}", $good{$channel} ? ' 5000|t' : '28000 ', 'parallel workers');
			like($try->(app => undef, 'SELECT body FROM public.loose LIMIT 1')->{out}, qr/^cauce1:/, 'the sealed form is had by nobody, over anything');
			is($try->(nora => undef, 'SELECT 1')->{out}, '1', 'what is not of cauce is none of its business');
		};
	}
	return;
}

subtest q{cauce.min_tls = 'TLSv1.3'} => sub { opens('unix socket', 'TLS 1.3') };

my $set_min = sub {
	$cluster->configure("cauce.min_tls = '$_[0]'");
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until('SHOW cauce.min_tls', $_[0]), "cauce.min_tls = '$_[0]'");
};
$set_min->('TLSv1.2');
subtest q{cauce.min_tls = 'TLSv1.2'} => sub { opens('unix socket', 'TLS 1.2', 'TLS 1.3') };

subtest 'raised while identities are in force' => sub {
	my %open = (token => CauceSession->open($cluster, app => $token, over => $over{'TLS 1.2'}), login => CauceSession->open($cluster, nora => undef, over => $over{'TLS 1.2'}));
	is($open{$_}->query($read), 'confidence', "$_: content") for sort keys %open;
	$set_min->('TLSv1.3');
	for my $what (sort keys %open)
	{
		is($open{$what}->try($read)->{sqlstate}, '28000', "$what: no more");
		$open{$what}->close;
	}
};

subtest 'hostssl lines keep others out altogether' => sub {
	$cluster->as_postgres('sed', '-i', 's/^host all/hostssl all/', $cluster->pgdata . '/pg_hba.conf');
	$cluster->configure("ssl_min_protocol_version = 'TLSv1.3'");
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until('SHOW ssl_min_protocol_version', 'TLSv1.3'), 'as docs/identity.md advises');
	is($cluster->try_sql(app => undef, 'SELECT 1', over => $over{$_})->{status}, 2, "$_: no connection") for 'plain TCP', 'TLS 1.2';
	is($cluster->try_sql(app => $token, $read, over => $over{$_})->{out}, 'confidence', "$_: content") for 'unix socket', 'TLS 1.3';
};

done_testing;
