# One connection for many identities, as a pooler makes it: what one of them handed in is not opened
# for the next, and a statement or function with a literal works for all of them.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my %token = map { $_ => $cluster->token($_) } qw(north-pro south-pro solo);
$cluster->superuser('CREATE TABLE public.loose (note cauce.encrypted_text); GRANT ALL ON public.loose TO app');
$cluster->superuser(q{CREATE FUNCTION public.template(session uuid) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE result text;
	BEGIN
		INSERT INTO cauce.report (session_id, body) VALUES (session, 'a template') RETURNING body INTO result;
		RETURN result;
	END $$});

my $pooled = CauceSession->open($cluster, 'app', undef);

# turn runs statements of one identity in a transaction of its own.
sub turn
{
	my ($who, $sql) = @_;
	my $result = $pooled->try("BEGIN; SET LOCAL cauce.token = '$token{$who}'; $sql; COMMIT");
	$pooled->try('ROLLBACK') if $result->{sqlstate};
	return $result;
}

subtest 'a value that another identity left in a table without the trigger' => sub {
	is(turn(solo => q{INSERT INTO public.loose VALUES ('a secret of solo')})->{sqlstate}, '', 'is sealed for the one who left it');
	my $stolen = turn('south-pro' => q{INSERT INTO cauce.session (title) SELECT note FROM public.loose RETURNING title});
	is($stolen->{sqlstate}, '42501', 'does not go through the sealing trigger for the next');
	unlike("$stolen->{out}$stolen->{err}", qr/secret/, 'and is not shown');
	unlike(turn('south-pro' => 'SELECT note FROM public.loose')->{out}, qr/secret/, 'nor by a plain query');
	like(turn(solo => 'INSERT INTO cauce.session (title) SELECT note FROM public.loose RETURNING title')->{out}, qr/a secret of solo/, 'its owner moves it');
};

subtest 'what an account without a key hands in' => sub {
	# Rows of a dump come without keys; the first one is made where something can be written.
	$cluster->superuser(q{INSERT INTO cauce.account (subject) VALUES ('keyless')});
	$token{keyless} = $cluster->token('keyless');
	$pooled->query('CREATE TEMP TABLE passed_on (note cauce.encrypted_text)');
	my $result = $pooled->try("BEGIN READ ONLY; SET LOCAL cauce.token = '$token{keyless}'; INSERT INTO passed_on VALUES ('a secret of keyless'); COMMIT");
	is($result->{sqlstate}, '25006', 'is refused where no key can be made');
	$pooled->try('ROLLBACK');
	is(turn(keyless => q{INSERT INTO passed_on VALUES ('a secret of keyless')})->{sqlstate}, '', 'and sealed under its own elsewhere');
	unlike(turn('south-pro' => 'INSERT INTO cauce.session (title) SELECT note FROM passed_on RETURNING title')->{out}, qr/secret/, 'which opens for nobody else');
};

subtest 'a superuser with a token of their own' => sub {
	my $result = $cluster->try_sql(postgres => $token{'south-pro'}, 'INSERT INTO cauce.session (title) SELECT note FROM public.loose RETURNING title');
	is($result->{sqlstate}, '42501', 'does not get at what others handed in');
	unlike($result->{out}, qr/secret/, 'nor sees it');
};

subtest 'literals in plans that are kept' => sub {
	$pooled->query(q{PREPARE open_session AS INSERT INTO cauce.session (title) VALUES ('a literal') RETURNING title});
	for my $who (qw(north-pro south-pro north-pro solo))
	{
		like(turn($who => 'EXECUTE open_session')->{out}, qr/a literal/, "a prepared statement serves $who");
		my $result = turn($who => 'SELECT public.template(id) FROM cauce.session LIMIT 1');
		like($result->{out}, qr/a template/, "and so does a function") or diag $result->{err};
	}
};

done_testing;
