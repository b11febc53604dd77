# A hundred megabytes go in and come out, of each type, compressible and not, in text and in binary; their
# sealed form dumps and restores. What is beyond the limits is refused with 54000, and says so.
use strict;
use warnings;
use CauceTest;
use CauceWire;
use Test::More;

use constant SIZE => 100 * 1024 * 1024;

my $cluster = CauceTest->start;
my $token = $cluster->token('north-pro');
$cluster->superuser(q{
	CREATE TABLE public.large (id int PRIMARY KEY, t cauce.encrypted_text, j cauce.encrypted_jsonb, b cauce.encrypted_bytea);
	CREATE TABLE public.restored (LIKE public.large);
	GRANT ALL ON public.large TO app; GRANT SELECT ON public.restored TO app});

my $wire = CauceWire->connect($cluster, 'app');
$wire->execute(q{SELECT set_config('cauce.token', $1, false)}, [$token]);

sub int4 { return pack 'N', $_[0] }

# random_bytes gives SIZE bytes that do not compress.
sub random_bytes
{
	open my $in, '<:raw', '/dev/urandom' or die "urandom: $!";
	read($in, my $bytes, SIZE) == SIZE or die 'urandom is short';
	return $bytes;
}

subtest 'bytes that do not compress' => sub {
	my $bytes = random_bytes();
	my $result = $wire->execute('INSERT INTO public.large (id, b) VALUES ($1, $2) RETURNING b', [ int4(1), $bytes ], binary => 1);
	is($result->{error}, '', 'go in, in binary');
	ok($result->{rows}[0][0] eq $bytes, 'and come back');
	$result = $wire->execute('SELECT b FROM public.large WHERE id = 1');
	ok($result->{rows}[0][0] eq '\x' . unpack('H*', $bytes), 'and in text');
};

subtest 'bytes that compress' => sub {
	my $bytes = "\0\1\2\3" x (SIZE / 4);
	my $result = $wire->execute('INSERT INTO public.large (id, b) VALUES ($1, $2) RETURNING b', [ 2, '\x' . unpack('H*', $bytes) ]);
	is($result->{error}, '', 'go in, in text');
	ok($result->{rows}[0][0] eq '\x' . unpack('H*', $bytes), 'and come back');
	$result = $wire->execute('SELECT b FROM public.large WHERE id = 2', [], binary => 1);
	ok($result->{rows}[0][0] eq $bytes, 'and in binary');
	is($wire->simple('SELECT pg_column_size(b) < 1000000 FROM public.large WHERE id = 2')->{rows}[0][0], 't', 'and take little room');
};

subtest 'text and a document' => sub {
	my $text = "s\x{c3}\x{ad}\n\t\\ " x (SIZE / 8);
	my $result = $wire->execute('INSERT INTO public.large (id, t) VALUES ($1, $2) RETURNING t', [ int4(3), $text ], binary => 1);
	is($result->{error}, '', 'text goes in');
	ok($result->{rows}[0][0] eq $text, 'and comes back');
	my $json = '{"words": "' . 'lorem ipsum ' x (SIZE / 12) . '"}';
	$result = $wire->execute('INSERT INTO public.large (id, j) VALUES ($1, $2) RETURNING j', [ 4, $json ]);
	is($result->{error}, '', 'a document goes in');
	ok($result->{rows}[0][0] eq $json, 'and comes back');
	$result = $wire->execute(q{SELECT length(j->>'words') FROM public.large WHERE id = 4});
	is($result->{rows}[0][0], length($json) - 13, 'and opens as jsonb');
};

subtest 'a row that is bound' => sub {
	my $session = $wire->simple(q{INSERT INTO cauce.session (title) VALUES ('long') RETURNING id})->{rows}[0][0];
	my $text = 'lorem ipsum ' x (SIZE / 12);
	my $result = $wire->execute('INSERT INTO cauce.report (session_id, body) VALUES ($1, $2) RETURNING body', [ $session, $text ]);
	is($result->{error}, '', 'text goes through the trigger');
	ok($result->{rows}[0][0] eq $text, 'and comes back');
};

subtest 'sealed forms' => sub {
	my $file = $cluster->dir . '/run/large.copy';
	$cluster->superuser("COPY (SELECT * FROM public.large WHERE id = 1) TO '$file'; COPY public.restored FROM '$file'");
	is($cluster->sql(app => $token, 'SELECT r.b::bytea = l.b FROM public.restored r, public.large l WHERE l.id = r.id'), 't', 'dump and restore');
};

subtest 'beyond the limits' => sub {
	my %too_long = (
		'text' => q{SELECT repeat('x', 1073741819)::cauce.encrypted_text},
		'a document' => q{SELECT to_jsonb(repeat('x', 268435456))::cauce.encrypted_jsonb},
		'bytes, to be shown' => q{SET bytea_output = escape; SELECT decode(repeat('00', 270000000), 'hex')::cauce.encrypted_bytea},
	);
	for my $what (sort keys %too_long)
	{
		my $result = $wire->simple($too_long{$what});
		is($result->{sqlstate}, '54000', "$what: 54000") or diag $result->{error};
		like($result->{error}, qr/limit|exceed/, 'with a reason');
	}
};

done_testing;
