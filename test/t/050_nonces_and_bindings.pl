# The same text sealed 10,000 times gives 10,000 different sealed values under 10,000 different
# nonces, whatever way it comes in, and each value is bound to its own row and column.
use strict;
use warnings;
use CauceTest;
use MIME::Base64 qw(decode_base64);
use Test::More;

use constant COUNT => 10_000;
# Offsets in the stored form; docs/format.md.
use constant { HEADER => 48, TAG => 16 };

my $cluster = CauceTest->start;
my $token = $cluster->token('north-pro');
my $text = 'the same words';
my $insert = 'INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)';

# parts takes a sealed form apart.
sub parts
{
	my ($form) = @_;
	my $bytes = decode_base64($form =~ s/^cauce1://r);
	my %part;
	@part{qw(version flags generation key binding nonce)} = unpack 'C C n a16 a16 a12', $bytes;
	$part{ciphertext} = substr $bytes, HEADER, length($bytes) - HEADER - TAG;
	$part{tag} = substr $bytes, -(TAG);
	return \%part;
}

# new_session opens a session of north-pro's.
sub new_session
{
	return $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
}

# distinct counts the different values of a part.
sub distinct
{
	my ($name, @parts) = @_;
	my %seen = map { $_->{$name} => 1 } @parts;
	return scalar keys %seen;
}

my %nonce;    # of all values under one key, over all ways

# check_way inserts COUNT values by SQL and looks at what is stored.
sub check_way
{
	my ($name, $role, $session, $sql) = @_;
	subtest $name => sub {
		$cluster->sql($role => $token, "\\o /dev/null\n$sql");
		my @form = split /\n/, $cluster->superuser("SELECT body FROM cauce.transcript_segment WHERE session_id = '$session'");
		my @part = map { parts($_) } @form;
		my %form = map { $_ => 1 } @form;

		is(scalar @form, COUNT, 'all are there');
		is(scalar keys %form, COUNT, 'no two sealed values are alike');
		is(distinct(nonce => @part), COUNT, 'no two nonces');
		is(distinct(ciphertext => @part), COUNT, 'no two ciphertexts');
		is(distinct(tag => @part), COUNT, 'no two tags');
		is(distinct(binding => @part), COUNT, 'each is bound to its own row');
		is(distinct(key => @part), 1, 'under one key, the session\'s');
		is(distinct(flags => @part) . $part[0]{flags}, '11', 'none is as input sealed it');
		is($part[0]{version}, 1, 'format version 1');
		is(length $part[0]{ciphertext}, length $text, 'as long as the text');
		is($cluster->sql(app => $token, "SELECT count(*), min(body), max(body) FROM cauce.transcript_segment WHERE session_id = '$session'"),
			COUNT . "|$text|$text", 'and every one opens');
	};
	return;
}

my $plain = new_session();
check_way('plain INSERTs', app => $plain,
	"BEGIN;\n" . join('', map { "$insert VALUES ('$plain', $_, 0, 0, '$text');\n" } 1 .. COUNT) . "COMMIT;");

# A literal is sealed once, by input, and lies in the plan; a parameter each time.
my $literal = new_session();
check_way('one prepared statement with a literal', app => $literal,
	"BEGIN; PREPARE add (bigint) AS $insert VALUES ('$literal', \$1, 0, 0, '$text');\n"
	  . join('', map { "EXECUTE add ($_);\n" } 1 .. COUNT) . 'COMMIT;');
my $parameter = new_session();
check_way('one prepared statement with a parameter', app => $parameter,
	"BEGIN; PREPARE add (bigint, text) AS $insert VALUES ('$parameter', \$1, 0, 0, \$2);\n"
	  . join('', map { "EXECUTE add ($_, '$text');\n" } 1 .. COUNT) . 'COMMIT;');

my $function = new_session();
check_way('a PL/pgSQL function with a literal and one with a variable', app => $function,
	"DO \$\$ BEGIN FOR n IN 1 .. 5000 LOOP $insert VALUES ('$function', n, 0, 0, '$text'); END LOOP; END \$\$;
	DO \$\$ DECLARE words cauce.encrypted_text := '$text'; BEGIN FOR n IN 5001 .. 10000 LOOP
		$insert VALUES ('$function', n, 0, 0, words); END LOOP; END \$\$;");
my $set = new_session();
check_way('INSERT … SELECT', app => $set, "$insert SELECT '$set', n, 0, 0, '$text' FROM generate_series(1, @{[COUNT]}) n");
# PostgreSQL has no COPY FROM under row-level security; loads are done as superuser.
my $copy = new_session();
my $account = $cluster->sql(app => $token, 'SELECT cauce.account_id()');
check_way('COPY FROM', postgres => $copy,
	"COPY cauce.transcript_segment (account_id, session_id, seq, start_ms, end_ms, body) FROM STDIN;\n"
	  . join('', map { "$account\t$copy\t$_\t0\t0\t$text\n" } 1 .. COUNT) . "\\.");

subtest 'values that no trigger seals anew differ, too' => sub {
	$cluster->superuser('CREATE TABLE public.loose (body cauce.encrypted_text); GRANT INSERT, SELECT ON public.loose TO app');
	$cluster->sql(app => $token, "DO \$\$ DECLARE words text := '$text'; BEGIN FOR n IN 1 .. 10000 LOOP
		INSERT INTO public.loose VALUES (words); END LOOP; END \$\$");
	$cluster->sql(app => $token, "INSERT INTO public.loose VALUES ('$text')") for 1 .. 3;
	my @part = map { parts($_) } split /\n/, $cluster->superuser('SELECT body FROM public.loose');
	is(distinct(nonce => @part), 10_003, 'nonces');
	is(distinct(binding => @part), 4, 'every connection has a salt of its own');
	is($cluster->sql(app => $token, 'SELECT count(*) FROM public.loose WHERE body = ' . "'$text'"), '10003', 'the owner opens them');
	is($cluster->try_sql(app => $cluster->token('south-pro'), 'SELECT body::text FROM public.loose')->{sqlstate}, '42501', 'nobody else');
};

subtest 'an UPDATE seals anew what it changes, and only that' => sub {
	my $stored = "SELECT body FROM cauce.transcript_segment WHERE session_id = '$plain' AND seq = 1";
	my $before = $cluster->superuser($stored);
	my $where = "WHERE session_id = '$plain' AND seq = 1";
	$cluster->sql(app => $token, "UPDATE cauce.transcript_segment SET speaker = 'x' $where");
	is($cluster->superuser($stored), $before, 'another column: the value stays');
	$cluster->sql(app => $token, "UPDATE cauce.transcript_segment SET body = body $where");
	is($cluster->superuser($stored), $before, 'itself: the value stays');
	$cluster->sql(app => $token, "UPDATE cauce.transcript_segment SET body = '$text' $where");
	my $after = $cluster->superuser($stored);
	isnt(parts($after)->{nonce}, parts($before)->{nonce}, 'the same words again: a new nonce');
	is(parts($after)->{binding}, parts($before)->{binding}, 'and the same binding');
	$cluster->sql(app => $token, "UPDATE cauce.transcript_segment SET seq = 20000 $where");
	my $moved = $cluster->superuser($stored =~ s/seq = 1/seq = 20000/r);
	isnt(parts($moved)->{binding}, parts($after)->{binding}, 'another primary key: another binding');
	$cluster->sql(app => $token, "UPDATE cauce.transcript_segment SET body = (SELECT body FROM cauce.transcript_segment
		WHERE session_id = '$set' AND seq = 5) WHERE session_id = '$plain' AND seq = 2");
	my $copied = parts($cluster->superuser($stored =~ s/seq = 1/seq = 2/r));
	my $original = parts($cluster->superuser("SELECT body FROM cauce.transcript_segment WHERE session_id = '$set' AND seq = 5"));
	isnt($copied->{$_}, $original->{$_}, "a value copied to another session has another $_") for qw(key binding nonce);
};

subtest 'two columns of one row' => sub {
	my $id = $cluster->sql(app => $token, "INSERT INTO cauce.session (title, client) VALUES ('$text', '$text') RETURNING id");
	my ($title, $client) = map { parts($_) } split /\|/, $cluster->superuser("SELECT title, client FROM cauce.session WHERE id = '$id'");
	is($title->{key}, $client->{key}, 'have one key');
	isnt($title->{$_}, $client->{$_}, "and each its $_") for qw(binding nonce ciphertext);
};

done_testing;
