# One flipped bit anywhere in a stored value is noticed (XX001), a value that was carried to another
# place opens for nobody but its owner, and no damage brings the server down.
use strict;
use warnings;
use CauceTest;
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;

my $cluster = CauceTest->start;
my $token = $cluster->token('north-pro');
my $other = $cluster->token('south-pro');
my $id = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
my $report = $cluster->sql(app => $token, qq{INSERT INTO cauce.report (session_id, body) VALUES ('$id', 'abc') RETURNING id});
my $started = $cluster->superuser('SELECT pg_postmaster_start_time()');

# form gives the stored form of the report's body.
sub form { return $cluster->superuser("SELECT body FROM cauce.report WHERE id = '$report'") }

# A table whose rows are stored values, put there by a superuser as they are: no trigger.
$cluster->superuser('CREATE TABLE public.exhibit (n int PRIMARY KEY, body cauce.encrypted_text); GRANT ALL ON public.exhibit TO app');
$cluster->superuser(q{CREATE FUNCTION public.outcome(which int) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		RETURN 'opened: ' || (SELECT body::text FROM public.exhibit WHERE n = which);
	EXCEPTION WHEN OTHERS THEN
		RETURN sqlstate;
	END $$});

# put stores raw bytes by binary COPY's text twin: the varlena is replaced in the heap through bytea.
$cluster->superuser('CREATE CAST (bytea AS cauce.encrypted_text) WITHOUT FUNCTION');

# exhibit fills the table with byte strings.
sub exhibit
{
	my (@bytes) = @_;
	my $rows = join '', map { "$_\t\\\\x" . unpack('H*', $bytes[$_]) . "\n" } 0 .. $#bytes;
	$cluster->superuser("TRUNCATE public.exhibit; CREATE TEMP TABLE raw (n int, bytes bytea);
		COPY raw FROM STDIN;\n$rows\\.\nINSERT INTO public.exhibit SELECT n, bytes::cauce.encrypted_text FROM raw");
	return;
}

# outcomes gives what the owner gets for each row.
sub outcomes
{
	my ($who) = @_;
	return split /\n/, $cluster->sql(app => $who, 'SELECT public.outcome(n) FROM public.exhibit ORDER BY n');
}

my $bytes = decode_base64(form() =~ s/^cauce1://r);
my $bits = 8 * length $bytes;

exhibit($bytes);
is((outcomes($token))[0], 'opened: abc', 'the value as it is, opened by its owner');
is((outcomes($other))[0], '42501', 'and by nobody else, wherever it lies');

subtest 'every single bit' => sub {
	exhibit(map { my $copy = $bytes; vec($copy, $_, 1) ^= 1; $copy } 0 .. $bits - 1);
	my %seen;
	$seen{$_}++ for outcomes($token);
	is_deeply(\%seen, { XX001 => $bits }, "each of $bits flips is XX001 for the owner");
	my %foreign;
	$foreign{$_}++ for outcomes($other);
	is(join(' ', grep { /opened/ } keys %foreign), '', 'and opens for nobody else');
	# Output, not only the cast, must notice; and without identity the damage travels as it is.
	my $out = $cluster->try_sql(app => $token, "SELECT body FROM public.exhibit WHERE n = " . ($bits - 1));
	is($out->{sqlstate}, 'XX001', 'output notices, too');
	like($out->{err}, qr/DETAIL:.*HINT:/s, 'with DETAIL and HINT');
};

subtest 'every length, and rubbish' => sub {
	exhibit(map { substr $bytes, 0, $_ } 0 .. length($bytes) - 1);
	my %seen;
	$seen{$_}++ for outcomes($token);
	is_deeply(\%seen, { XX001 => length $bytes }, 'each truncation is XX001');
	exhibit($bytes . "\0", "\0" x 100, "\xff" x 100, 'cauce1:' x 20, $bytes . $bytes);
	is(join(' ', outcomes($token)), join(' ', ('XX001') x 5), 'so is more than there was, and rubbish');
};

subtest 'compressed values' => sub {
	my $long = 'All work and no play. ' x 200;
	my $second = $cluster->sql(app => $token, "INSERT INTO cauce.report (session_id, body) VALUES ('$id', '$long') RETURNING id");
	my $packed = decode_base64($cluster->superuser("SELECT body FROM cauce.report WHERE id = '$second'") =~ s/^cauce1://r);
	ok(length $packed < 600, 'prose of 4 KB takes less than 600 bytes');
	exhibit($packed, map { my $copy = $packed; vec($copy, 8 * $_ + $_ % 8, 1) ^= 1; $copy } 0 .. length($packed) - 1);
	my ($whole, @damaged) = outcomes($token);
	is($whole, "opened: $long", 'whole');
	is(scalar(grep { $_ ne 'XX001' } @damaged), 0, 'a flip in any byte is XX001');
};

subtest 'the sealed form as text' => sub {
	my $form = form();
	my %bad = (
		'no base64' => 'cauce1:!!!', 'nothing behind the prefix' => 'cauce1:', 'half of it' => substr($form, 0, 40),
		'too short' => 'cauce1:' . encode_base64('x' x 20, ''), 'another version' => 'cauce1:' . encode_base64("\x02" . substr($bytes, 1), ''));
	is($cluster->try_sql(postgres => undef, "SELECT '$bad{$_}'::cauce.encrypted_text")->{sqlstate}, 'XX001', $_) for sort keys %bad;
	is($cluster->superuser("SELECT '$form'::cauce.encrypted_text"), $form, 'and the whole form goes in and comes out as it is');
	is($cluster->sql(app => $token, qq{SELECT '$form'::cauce.encrypted_text = '$form'}), 't', 'for an application it is ordinary text');
};

subtest 'damage in a table of cauce, by a superuser' => sub {
	my $damaged = $bytes;
	vec($damaged, 8 * 50, 1) ^= 1;
	my $form = 'cauce1:' . encode_base64($damaged, '');
	my $put = sub {
		$cluster->superuser("SET session_replication_role = replica; UPDATE cauce.report SET body = '$_[0]' WHERE id = '$report'");
	};
	$put->($form);
	my $read = $cluster->try_sql(app => $token, "SELECT body FROM cauce.report WHERE id = '$report'");
	is($read->{sqlstate}, 'XX001', 'the owner hears of it');
	is($cluster->sql(app => $token, "SELECT count(*) FROM cauce.report WHERE id <> '$report' AND body ILIKE 'All%'"), '1', 'other rows are not concerned');
	is($cluster->superuser("SELECT body FROM cauce.report WHERE id = '$report'"), $form, 'a dump carries it as it is');
	$cluster->sql(app => $token, "UPDATE cauce.report SET kind = 'note' WHERE id = '$report'");
	is($cluster->superuser("SELECT body FROM cauce.report WHERE id = '$report'"), $form, 'a change beside it leaves it as it is');
	$cluster->sql(app => $token, "UPDATE cauce.report SET body = 'abc' WHERE id = '$report'");
	is($cluster->sql(app => $token, "SELECT body FROM cauce.report WHERE id = '$report'"), 'abc', 'and the owner can replace it');
};

subtest 'values carried to other places' => sub {
	my $foreign = $cluster->sql(app => $other, q{INSERT INTO cauce.session (title) VALUES ('y') RETURNING id});
	my $target = $cluster->sql(app => $other, "INSERT INTO cauce.report (session_id, body) VALUES ('$foreign', 'mine') RETURNING id");
	my $form = form();
	$cluster->superuser("SET session_replication_role = replica; UPDATE cauce.report SET body = '$form' WHERE id = '$target'");
	is($cluster->try_sql(app => $other, "SELECT body::text FROM cauce.report WHERE id = '$target'")->{sqlstate}, '42501',
		'in another account\'s row it does not open for that account');
	is($cluster->sql(app => $other, "SELECT body FROM cauce.report WHERE id = '$target'"), $form, 'which gets the sealed form');
	is($cluster->try_sql(app => $other, "UPDATE cauce.report SET body = body || '' WHERE id = '$target'")->{sqlstate}, '42501', 'and cannot make it its own');
	is($cluster->try_sql(postgres => undef, "UPDATE cauce.report SET body = '$form' WHERE id = '$target'")->{sqlstate}, '42501',
		'with triggers on, not even a superuser carries it there');
	is($cluster->try_sql(postgres => $other, "UPDATE cauce.report SET body = '$form' WHERE id = '$target'")->{sqlstate}, '42501', 'with or without the target\'s identity');
	is($cluster->try_sql(postgres => undef, "INSERT INTO cauce.report (account_id, session_id, body) VALUES
		((SELECT account_id FROM cauce.session WHERE id = '$foreign'), '$foreign', '$form')")->{sqlstate}, '42501', 'nor in a new row');
	is($cluster->superuser('SELECT count(*) FROM cauce.report'), '3', 'nothing came of it');
};

subtest 'damaged keys' => sub {
	my $save = $cluster->superuser("SELECT encode(wrapped, 'hex') FROM cauce.data_key WHERE session_id = '$id'");
	my $set = sub { $cluster->superuser("SET session_replication_role = replica; UPDATE cauce.data_key SET $_[0] WHERE session_id = '$id'") };
	my $read = sub { return $cluster->try_sql(app => $token, "SELECT body FROM cauce.report WHERE id = '$report'") };
	my @wrong;
	for my $at (0 .. length($save) / 2 - 1)
	{
		my $copy = pack 'H*', $save;
		vec($copy, 8 * $at, 1) ^= 1;
		$set->("wrapped = '\\x" . unpack('H*', $copy) . "'") if $at % 4 == 0 || $at < 8;
		push @wrong, $at if $read->()->{sqlstate} !~ /^(XX001|0A000|55000)$/;
	}
	is_deeply(\@wrong, [], 'a flipped bit in a wrapped key is an error');
	$set->("wrapped = '\\x$save'");
	is($read->()->{out}, 'abc', 'whole again it opens');
	$set->("wrapped = '\\x'");
	is($read->()->{sqlstate}, 'XX001', 'an empty one is damage');
	$set->("wrapped = '\\x$save', epoch = epoch + 7");
	is($read->()->{sqlstate}, 'XX001', 'the epoch is authenticated');
	$set->('epoch = epoch - 7, organization_id = NULL');
	is($read->()->{sqlstate}, 'XX001', 'the organization is');
	my $account = $cluster->superuser("SELECT account_id FROM cauce.session WHERE id <> '$id'");
	$set->("organization_id = (SELECT organization_id FROM cauce.session WHERE id = '$id'), account_id = '$account'");
	is($read->()->{sqlstate}, 'XX001', 'the account is');
	is($cluster->try_sql(app => $other, 'SELECT body::text FROM public.exhibit')->{sqlstate}, 'XX001', 'so that nobody gets a key by claiming it');
};

is($cluster->superuser('SELECT pg_postmaster_start_time()'), $started, 'the server ran through');
unlike($cluster->log, qr/terminated by signal/, 'no process crashed');

done_testing;
