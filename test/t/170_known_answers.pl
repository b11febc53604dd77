# The functions that seal and open give the answers that their standards give: AES-256-GCM against
# NIST's vectors, forged ones refused, AES key wrap, HKDF and SHA-256. They run in a server, in the very
# object file that the extension is linked from.
use strict;
use warnings;
use CauceTest;
use IPC::Run qw(run);
use Test::More;

my $source = "$CauceTest::ROOT/test/kat";
my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
my $built = '';
# A make that called this one must not steer it.
delete local @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL)};
run([ 'make', '-s', '-C', $source, "PG_CONFIG=$pg_config", 'with_llvm=no', 'kat.so' ], '<', \undef, '>&', \$built)
  or BAIL_OUT("test/kat does not build: $built");

my $cluster = CauceTest->start;
# The server's user may not be able to enter the checkout.
my $module = $cluster->dir . '/kat.so';
run([ 'install', '-m', '755', "$source/kat.so", $module ]) or BAIL_OUT('test/kat cannot be copied');

my %arguments = (seal => 4, open => 5, wrap => 2, unwrap => 2, derive => 3, digest => 1);
my $prepare = join "\n", map {
	"CREATE FUNCTION pg_temp.$_(" . join(', ', ('bytea') x $arguments{$_}) . ") RETURNS bytea AS '$module', 'kat_$_' LANGUAGE C STRICT;"
} sort keys %arguments;

# vectors gives the file's lines, each as [function, expected answer, arguments…].
sub vectors
{
	my @vectors;
	open my $in, '<', "$source/vectors.txt" or die "vectors.txt: $!";
	while (<$in>)
	{
		next if /^(#|$)/;
		my ($function, @field) = map { $_ eq '-' ? '' : $_ } split;
		# CAVP lists ciphertext and tag apart; sealing gives them as one.
		my $answer = pop @field;
		$answer = pop(@field) . $answer if $function eq 'seal';
		push @vectors, [ $function, $answer, @field ];
	}
	return @vectors;
}

# answers asks the server for all of them, in one session, in the order of the file.
sub answers
{
	my @calls = map {
		my ($function, undef, @argument) = @$_;
		"SELECT coalesce(encode(pg_temp.$function(" . join(', ', map { "'\\x$_'" } @argument) . "), 'hex'), 'FAIL');"
	} @_;
	return split /\n/, $cluster->superuser(join("\n", $prepare, @calls)), -1;
}

my @vectors = vectors();
my @answers = answers(@vectors);
my %asked;
my %wrong;
for my $at (0 .. $#vectors)
{
	my ($function, $answer) = @{ $vectors[$at] };
	my $class = $answer eq 'FAIL' ? "$function, refused" : $function;
	$asked{$class}++;
	push @{ $wrong{$class} }, "$answer is known, $answers[$at] was given" if $answers[$at] ne $answer;
}
is(scalar @answers, scalar @vectors, 'an answer to each');
is_deeply(\%asked, { seal => 75, open => 50, 'open, refused' => 50, wrap => 11, unwrap => 9, 'unwrap, refused' => 8,
		derive => 3, digest => 4 }, 'all kinds of vectors were asked');
is_deeply($wrong{$_} // [], [], "$_: $asked{$_} known answers") for sort keys %asked;

is($cluster->superuser("$prepare SELECT encode(pg_temp.digest(convert_to(repeat('a', 1000000), 'UTF8')), 'hex')"),
	'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0', 'SHA-256 of a million times a (FIPS 180-4)');

# The contexts are kept from call to call: what one call leaves must not reach the next.
subtest 'in any order' => sub {
	my @sealing = grep { $_->[0] =~ /^(seal|open)$/ } @vectors;
	my @mixed = map { $sealing[ $_ * 73 % @sealing ] } 0 .. $#sealing;
	is_deeply([ answers(@mixed) ], [ map { $_->[1] } @mixed ], 'sealing and opening, mixed, under changing keys');
	my ($one) = grep { $_->[0] eq 'seal' && length $_->[5] } @vectors;
	is_deeply([ answers(($one) x 3) ], [ ($one->[1]) x 3 ], 'the same key again');
};

subtest 'a known answer with one bit changed is refused' => sub {
	my ($whole) = grep { $_->[0] eq 'open' && $_->[1] ne 'FAIL' && length $_->[4] && length $_->[5] } @vectors;
	my (undef, undef, @part) = @$whole;
	my @flips;
	for my $at (0 .. $#part)
	{
		for my $bit (0 .. 4 * length($part[$at]) - 1)
		{
			my @changed = @part;
			my $bytes = pack 'H*', $part[$at];
			vec($bytes, $bit, 1) ^= 1;
			$changed[$at] = unpack 'H*', $bytes;
			push @flips, [ 'open', 'FAIL', @changed ];
		}
	}
	cmp_ok(scalar @flips, '>', 600, 'every bit of key, nonce, associated data, ciphertext and tag');
	is_deeply([ grep { $_ ne 'FAIL' } answers(@flips) ], [], 'none opens');
};

my $callable = $cluster->try_sql(postgres => undef,
	q{CREATE FUNCTION seal(bytea) RETURNS bytea AS '$libdir/cauce', 'CipherSealWithNonce' LANGUAGE C});
is($callable->{sqlstate}, '42883', 'no SQL function can be made of the extension\'s own that takes a nonce');

done_testing;
