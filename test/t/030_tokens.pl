# What a client can forge without the key is nothing: every token that is not genuine, current and
# meant for this database is refused with 28000, and no token is ever shown or logged.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Digest::SHA qw(hmac_sha256);
use IPC::Run qw(run);
use JSON::PP;
use MIME::Base64 qw(decode_base64url encode_base64url);
use Test::More;

my $cluster = CauceTest->start;
my $keys = $cluster->dir . '/keys';
my $json = JSON::PP->new->canonical;
my %used;

sub slurp
{
	open my $in, '<', $_[0] or die "$_[0]: $!";
	local $/;
	return scalar <$in>;
}

sub spew
{
	my ($path, $text) = @_;
	open my $out, '>', "$path.new" or die "$path: $!";
	print $out $text;
	close $out;
	rename "$path.new", $path or die "$path: $!";
	return;
}

# jose runs the program jose on an input and gives its output.
sub jose
{
	my ($in, @arguments) = @_;
	my ($out, $err) = ('', '');
	run [ 'jose', @arguments ], '<', \$in, '>', \$out, '2>', \$err or die "jose @arguments: $err";
	return $out;
}

# weak_rsa makes an RSA key of 1024 bits, which jose would not, and gives its public JWK.
sub weak_rsa
{
	my ($modulus, $err) = ('', '');
	run [ qw(openssl genrsa -out), "$keys/weak.pem", 1024 ], '>', \my $none, '2>', \$err or die $err;
	run [ qw(openssl rsa -noout -modulus -in), "$keys/weak.pem" ], '>', \$modulus, '2>', \$err or die $err;
	return { kty => 'RSA', kid => 'weak', e => 'AQAB', n => encode_base64url(pack 'H*', $modulus =~ /=([0-9A-F]+)/) };
}

# weak_rsa_signature signs with it.
sub weak_rsa_signature
{
	my ($input) = @_;
	my ($signature, $err) = ('', '');
	run [ qw(openssl dgst -sha256 -sign), "$keys/weak.pem" ], '<', \$input, '>', \$signature, '2>', \$err or die $err;
	return $signature;
}

# claims gives what a good token of north-pro says, changed; a value undef leaves a claim out.
sub claims
{
	my (%change) = @_;
	my %claims = (sub => 'north-pro', aud => 'cauce', iat => time, exp => time + 600, %change);
	delete $claims{$_} for grep { !defined $claims{$_} } keys %claims;
	return $json->encode(\%claims);
}

# signed signs a payload with a key file, as jose does; the header may be anything.
sub signed
{
	my ($key, $header, $payload) = @_;
	my $template = $json->encode({ protected => $header });
	my $token = jose($payload, 'jws', 'sig', '-I', '-', '-k', $key, '-s', $template, '-c');
	chomp $token;
	$used{$token} = 1;
	return $token;
}

# forged puts a token together by hand; the signature is what sign gives for the signing input.
sub forged
{
	my ($header, $payload, $sign) = @_;
	my $input = join '.', map { encode_base64url($_) } $json->encode($header), $payload;
	my $token = "$input." . encode_base64url($sign->($input));
	$used{$token} = 1;
	return $token;
}

my $private = "$keys/token-key.jwk";
my $jwk = $json->decode(slurp($private));
my $kid = $jwk->{kid};
my %es256 = (alg => 'ES256', kid => $kid, typ => 'JWT');
my $genuine = slurp("$keys/tokens.jwks");

# good is a genuine token with changed claims.
sub good { return signed($private, \%es256, claims(@_)) }

# accepted says whether a token names north-pro.
sub accepted
{
	return $cluster->try_sql(app => $_[0], 'SELECT subject FROM cauce.account')->{out} eq 'north-pro';
}

# refused checks one token that must not pass.
sub refused
{
	my ($name, $token, $detail) = @_;
	my $result = $cluster->try_sql(app => $token, 'SELECT cauce.account_id()');
	subtest $name => sub {
		is($result->{sqlstate}, '28000', 'SQLSTATE 28000');
		like($result->{err}, qr/DETAIL:  $detail/, 'DETAIL says why');
		like($result->{err}, qr/HINT:  \S/, 'HINT says what to do');
		is($result->{out}, '', 'nothing is read');
		my $shown = grep { length > 8 && index($result->{err}, $_) >= 0 } split /\./, $token;
		is($shown, 0, 'no part of the token is shown');
	};
	return;
}

ok(accepted(good()), 'a genuine token is accepted');
ok(accepted(good(aud => [ 'other', 'cauce' ])), 'also when the audience is a list');
ok(accepted(good(nbf => time + 5)), 'a clock that is 5 s behind does not matter');
ok(accepted(signed($private, { alg => 'ES256' }, claims())), 'a token need not name its key');
ok($cluster->try_sql(app => '', 'SELECT cauce.account_id() IS NULL')->{out} eq 't', 'the empty token is no identity');

# Claims
refused('expired', good(exp => time - 1, iat => time - 10), 'The token has expired');
refused('not valid yet', good(nbf => time + 300), 'The token is not valid yet');
refused('no expiry', good(exp => undef), 'The token has no expiry');
refused('expiry that is text', good(exp => '' . (time + 600)), 'The token has no expiry');
refused('endless', good(exp => 1e300), '\S');
refused('wrong audience', good(aud => 'billing'), 'The token is for another audience');
refused('no audience', good(aud => undef), 'The token is for another audience');
refused('unknown subject', good(sub => 'mallory'), "The token's subject has no account");
refused('no subject', good(sub => undef), 'The token names no subject');
refused('empty subject', good(sub => ''), 'The token names no subject');
refused('subject longer than any', good(sub => 'x' x 400), 'The token names no subject');
refused('unknown scope', good(scope => 'root'), "The token's scope");
refused('stream scope without a session', good(scope => 'stream'), 'A stream token must name its session');
refused('purpose training', good(purpose => 'training'), "The token's purpose is not in cauce.allowed_purposes");
refused('too long', good(padding => 'x' x 9000), 'The token is too long');

# Signatures
{
	my ($head, $body, $signature) = split /\./, good();
	my $bits = 0;
	for my $part (0 .. 2)
	{
		my @parts = ($head, $body, $signature);
		my $raw = decode_base64url($parts[$part]);
		# A bit in the middle of the last byte, where base64 has no slack.
		for my $at (0, int(length($raw) / 2), length($raw) - 1)
		{
			my $copy = $raw;
			substr($copy, $at, 1) = chr(ord(substr $copy, $at, 1) ^ 0x10);
			$parts[$part] = encode_base64url($copy);
			my $result = $cluster->try_sql(app => join('.', @parts), 'SELECT cauce.account_id()');
			$bits++ if $result->{sqlstate} eq '28000' && $result->{out} eq '';
		}
	}
	is($bits, 9, 'a flipped bit anywhere is noticed');
	my $other = claims(sub => 'south-pro');
	refused('another payload under the signature', join('.', $head, encode_base64url($other), $signature), "The token's signature");
	refused('no signature', "$head.$body.", '\S');
	refused('two parts', "$head.$body", 'The token is not of the form');
	refused('four parts', "$head.$body.$signature.x", 'The token is not of the form');
	refused('a signature in DER', "$head.$body." . encode_base64url("\x30\x44" . decode_base64url($signature)), "The token's signature");
	refused('a signature of zeros', "$head.$body." . encode_base64url("\0" x 64), "The token's signature");
}
refused('garbage', 'not.a.token', '\S');
refused('garbage without dots', 'hello', 'The token is not of the form');
refused('"alg": "' . $_ . '"', forged({ alg => $_, typ => 'JWT' }, claims(), sub { '' }), 'No configured key')
  for qw(none None NONE);
refused('no "alg"', forged({ typ => 'JWT' }, claims(), sub { '' }), 'No configured key');

{
	my $public = jose($json->encode($jwk), 'jwk', 'pub', '-i', '-');
	# The DER of a P-256 public key: RFC 5480, section 2; the prefix is the algorithm's.
	my $der = pack('H*', '3059301306072a8648ce3d020106082a8648ce3d030107034200')
	  . "\x04" . decode_base64url($jwk->{x}) . decode_base64url($jwk->{y});
	my $pem = "-----BEGIN PUBLIC KEY-----\n" . MIME::Base64::encode_base64($der) =~ s/\n//gr =~ s/(.{1,64})/$1\n/gr . "-----END PUBLIC KEY-----\n";
	my %secret = (
		PEM => $pem, DER => $der, JWK => $public, JWKS => $genuine, x => decode_base64url($jwk->{x}),
		point => decode_base64url($jwk->{x}) . decode_base64url($jwk->{y}));
	for my $form (sort keys %secret)
	{
		refused("HS256 with the public key's $form as the secret",
			forged({ alg => 'HS256', kid => $kid }, claims(), sub { hmac_sha256($_[0], $secret{$form}) }),
			'No configured key');
	}
}

jose('{"alg":"ES256"}', qw(jwk gen -i - -o), "$keys/mallory.jwk");
my $mallory = $json->decode(slurp("$keys/mallory.jwk"));
my %mallory_public = map { $_ => $mallory->{$_} } qw(kty crv x y);
refused('signed by a stranger', signed("$keys/mallory.jwk", \%es256, claims()), "The token's signature");
refused('signed by a stranger who brings the key along',
	signed("$keys/mallory.jwk", { %es256, jwk => \%mallory_public }, claims()), "The token's signature");
refused('wrong key id', signed($private, { %es256, kid => 'other' }, claims()), 'No configured key');
refused('a header that demands an extension', signed($private, { %es256, crit => ['exp'] }, claims()), '\S');
refused('a payload that is no object', signed($private, \%es256, '["north-pro"]'), '\S');
refused('a payload that is no JSON', signed($private, \%es256, 'north-pro'), '\S');

subtest 'what the database signs itself is no identity of an application' => sub {
	my $token = $cluster->token('north-pro');
	my $id = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
	my $stream = $cluster->sql(app => $token, "SELECT cauce.stream_token('$id')");
	$used{$stream} = 1;
	is(
		$cluster->sql(app => $stream, 'SELECT cauce.token_scope(), cauce.account_id(), cauce.organization_id(),
			(SELECT count(*) FROM cauce.session), (SELECT count(*) FROM cauce.account)'),
		'stream|||0|0', 'a stream token reads nothing');
	$cluster->sql(app => $token, "DELETE FROM cauce.session WHERE id = '$id'");
	my $certificate = $cluster->sql(app => $token, 'SELECT jws FROM cauce.erasure_certificate');
	refused('a certificate', $certificate, 'An erasure certificate is not a token');
	my ($head, $body, $signature) = split /\./, $certificate;
	my $renamed = encode_base64url(decode_base64url($head) =~ s/cauce-erasure\+jws/cauce-stream+jwt/r);
	refused('a certificate that says it is a stream token', "$renamed.$body.$signature", "The token's signature");
};

subtest 'keys come and go while the server runs' => sub {
	my $session = CauceSession->open($cluster, app => undef);
	# in_force says whether a token is taken in a transaction of the open connection.
	my $in_force = sub {
		my $result = $session->try("BEGIN; SET LOCAL cauce.token = '$_[0]'; SELECT subject FROM cauce.account; COMMIT");
		$session->query('ROLLBACK') if $result->{sqlstate};
		return $result->{out} eq 'north-pro' ? 'yes' : $result->{sqlstate};
	};
	my $set = $json->decode($genuine);
	my %new;
	for my $algorithm (qw(RS256 HS256 ES256))
	{
		my $file = "$keys/\L$algorithm.jwk";
		jose($json->encode({ alg => $algorithm, use => 'sig', kid => "new-$algorithm" }), qw(jwk gen -i - -o), $file);
		$new{$algorithm} = signed($file, { alg => $algorithm, kid => "new-$algorithm" }, claims());
		my $key = $json->decode(slurp($file));
		delete @{$key}{qw(d p q dp dq qi)};
		delete $key->{key_ops};
		push @{ $set->{keys} }, $key;
	}
	my $old = good();
	is($in_force->($old), 'yes', 'the first key');
	is($in_force->($new{$_}), '28000', "$_ of a key that is not configured") for sort keys %new;
	spew("$keys/tokens.jwks", $json->encode($set));
	is($in_force->($new{$_}), 'yes', "$_ of a key that was added") for sort keys %new;
	is($in_force->($old), 'yes', 'the first key still serves');
	my ($head, $body) = split /\./, $new{RS256};
	my ($rsa) = grep { $_->{kty} eq 'RSA' } @{ $set->{keys} };
	is($in_force->(forged({ alg => 'HS256', kid => 'new-RS256' }, claims(), sub { hmac_sha256($_[0], decode_base64url($rsa->{n})) })),
		'28000', 'HS256 with the RSA modulus as the secret');
	shift @{ $set->{keys} };
	spew("$keys/tokens.jwks", $json->encode($set));
	is($in_force->($old), '28000', 'a key that was removed serves no more, remembered or not');
	is($in_force->($new{ES256}), 'yes', 'the others do');

	spew("$keys/tokens.jwks", $json->encode({ keys => [ $set->{keys}[0], weak_rsa() ] }));
	is($in_force->(forged({ alg => 'RS256', kid => 'weak' }, claims(), \&weak_rsa_signature)), '28000', 'an RSA key of 1024 bits is too weak');
	my $secret = 'sixteen bytes...';
	spew("$keys/tokens.jwks", $json->encode({ keys => [ { kty => 'oct', kid => 'weak', k => encode_base64url($secret) } ] }));
	is($in_force->(forged({ alg => 'HS256', kid => 'weak' }, claims(), sub { hmac_sha256($_[0], $secret) })),
		'28000', 'so is a secret of 16 bytes');
	spew("$keys/tokens.jwks", $json->encode({ keys => [ { %{ $json->decode($genuine)->{keys}[0] }, use => 'enc' } ] }));
	is($in_force->($old), '28000', 'a key for encryption verifies nothing');

	for my $broken ('', '{"keys": [', '[]', '{"keys": {}}')
	{
		spew("$keys/tokens.jwks", $broken);
		like($in_force->($old), qr/^(F0000|55000)$/, "a key set of '$broken' is an error");
	}
	unlink "$keys/tokens.jwks";
	is($in_force->($old), '55000', 'so is none');
	spew("$keys/tokens.jwks", $genuine);
	is($in_force->($old), 'yes', 'and all is well with the right one again');
	$session->close;
};

subtest 'a token is in force as long as it was set for' => sub {
	my $session = CauceSession->open($cluster, app => undef);
	my $token = good();
	my $who = q{SELECT coalesce((SELECT subject FROM cauce.account), 'nobody')};
	$session->query("BEGIN; SET LOCAL cauce.token = '$token'");
	is($session->query($who), 'north-pro', 'SET LOCAL');
	$session->query('COMMIT');
	is($session->query($who), 'nobody', 'ends with COMMIT');
	$session->query("BEGIN; SET LOCAL cauce.token = '$token'; ROLLBACK");
	is($session->query($who), 'nobody', 'and with ROLLBACK');
	$session->query("BEGIN; SAVEPOINT a; SET LOCAL cauce.token = '$token'; ROLLBACK TO a");
	is($session->query($who), 'nobody', 'and with ROLLBACK TO');
	$session->query('COMMIT');
	for my $end ('RESET cauce.token', 'RESET ALL', 'DISCARD ALL', q{SET cauce.token = ''}, 'SET cauce.token TO DEFAULT')
	{
		$session->query("SET cauce.token = '$token'");
		is($session->query($who), 'north-pro', 'SET');
		$session->query($end);
		is($session->query($who), 'nobody', "ends with $end");
	}
	$session->query("SET cauce.token = '$token'");
	$session->try("SET cauce.token = 'rubbish'");
	is($session->query($who), 'north-pro', 'a refused token changes nothing');
	my $colleague = $cluster->token('north-pro2');
	$used{$colleague} = 1;
	$session->query("BEGIN; SET LOCAL cauce.token = '$colleague'");
	is($session->query($who), 'north-pro2', 'the innermost counts');
	$session->query('COMMIT');
	is($session->query($who), 'north-pro', 'and the outer one is back after it');
	$session->query("PREPARE who AS $who");
	is($session->query('EXECUTE who'), 'north-pro', 'a prepared statement');
	$session->query("SET cauce.token = '$colleague'");
	is($session->query('EXECUTE who'), 'north-pro2', 'follows the identity');
	$session->close;
};

subtest 'expiry is noticed by the next statement' => sub {
	my $session = CauceSession->open($cluster, app => undef);
	my $first = good(exp => time + 2);
	$session->query("SET cauce.token = '$first'");
	$session->query('BEGIN; DECLARE c CURSOR FOR SELECT subject FROM cauce.account');
	is($session->query('FETCH FORWARD 0 FROM c; SELECT subject FROM cauce.account'), 'north-pro', 'in time');
	sleep 3;
	my $late = $session->try('SELECT subject FROM cauce.account');
	is($late->{sqlstate}, '28000', 'in the same transaction');
	like($late->{err}, qr/DETAIL:  The token has expired\..*HINT:/s, 'DETAIL and HINT');
	$session->query('ROLLBACK');
	is($session->try('SELECT subject FROM cauce.account')->{sqlstate}, '28000', 'and in the next');
	is($session->try(q{INSERT INTO cauce.session (title) VALUES ('late')})->{sqlstate}, '28000', 'for writing, too');
	$session->query('RESET cauce.token');
	is($session->query('SELECT count(*) FROM cauce.account'), '0', 'without it one is nobody again');
	$session->close;
};

subtest 'a token is not shown' => sub {
	my $token = good();
	for my $role (qw(app postgres))
	{
		my $out = $cluster->sql($role => $token, q{SHOW cauce.token; SELECT current_setting('cauce.token'); SHOW ALL;
			SELECT * FROM pg_settings; SELECT count(*) FROM pg_settings WHERE name = 'cauce.token'});
		is((grep { length > 8 && index($out, $_) >= 0 } split /\./, $token), 0, "to $role");
		like($out, qr/\n0\z/, "nor is the setting listed for $role");
	}
	is($cluster->try_sql(postgres => undef, "ALTER SYSTEM SET cauce.token = '$token'")->{sqlstate} =~ /^(55P02|0A000|28000|42501)$/ ? 1 : 0,
		1, 'it cannot be put into postgresql.conf');
	is($cluster->try_sql(app => $token, "SET $_ = 'x'")->{sqlstate}, '55P02', "an application cannot change $_")
	  for qw(cauce.token_keys_file cauce.token_audience cauce.allowed_purposes cauce.min_tls cauce.keyring_file);
	is($cluster->try_sql(app => $token, 'SET cauce.redact_logs = off')->{sqlstate}, '42501', 'nor switch redaction off');
};

subtest 'parallel workers share the identity' => sub {
	my $token = good();
	my $id = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('big') RETURNING id});
	$cluster->sql(app => $token, "INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)
		SELECT '$id', n, n, n, 'segment ' || n FROM generate_series(1, 12000) n");
	$cluster->superuser('ANALYZE cauce.transcript_segment');
	my $sum = q{SELECT count(*), sum(length(body)), sum(hashtext(body)::bigint), count(*) FILTER (WHERE body ILIKE '%77%')
		FROM cauce.transcript_segment};
	my $parallel = 'SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
		SET min_parallel_table_scan_size = 0; SET enable_indexscan = off; SET enable_bitmapscan = off;';
	# As a superuser with the owner's identity: the policies' plans are not parallel.
	my $launched = $cluster->try_sql(postgres => $token, "$parallel EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) $sum");
	like($launched->{out}, qr/Workers Launched: [12]/, 'they run');
	my $serial = $cluster->sql(app => $token, "SET max_parallel_workers_per_gather = 0; $sum");
	like($serial, qr/^12000\|/, 'every segment opens');
	is($cluster->try_sql(postgres => $token, "$parallel $sum")->{out}, $serial, 'the result is that of one process');
	is($cluster->try_sql(app => $token, "$parallel $sum")->{out}, $serial, 'also under row-level security');
	my $stranger = $cluster->try_sql(postgres => $cluster->token('south-pro'), "$parallel $sum");
	is($stranger->{sqlstate}, '42501', 'a stranger opens nothing in them');
	is((grep { length > 8 && index($launched->{err} . $stranger->{err}, $_) >= 0 } split /\./, $token), 0, 'no error shows the token');
	is($cluster->try_sql(postgres => undef, "$parallel $sum")->{sqlstate}, '28000', 'nor does nobody');
};

{
	my $log = $cluster->log;
	my @leaked = grep { my ($head, $body, $signature) = split /\./; index($log, $body) >= 0 || (length($signature // '') > 8 && index($log, $signature) >= 0) }
	  grep { /\./ } keys %used;
	is(scalar @leaked, 0, 'none of ' . keys(%used) . ' tokens is in the server log');
}

done_testing;
