# What may be odd about a token that is signed with the right key, and about the keys themselves: issuers, what is said twice,
# too long, too deep or no text at all; keys of one id, of no id, without a secret; and files that change unseen.
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
# A secret of the server's makes any payload signable here, well-formed or not.
my $secret = join '', map { chr } 65 .. 96;
my $hmac_jwk = { kty => 'oct', kid => 'hmac', k => encode_base64url($secret) };

sub slurp { open my $in, '<', $_[0] or die "$_[0]: $!"; local $/; return scalar <$in> }

sub spew
{
	my ($path, $text) = @_;
	open my $out, '>', "$path.new" or die "$path: $!";
	print $out $text;
	close $out;
	rename "$path.new", $path or die "$path: $!";
	return;
}

# key_set puts keys into force.
my $genuine = $json->decode(slurp("$keys/tokens.jwks"))->{keys};
sub key_set { spew("$keys/tokens.jwks", $json->encode({ keys => [@_] })); return }
key_set(@$genuine, $hmac_jwk);

# hs256 signs a header and a payload, each as JSON text or a hash.
sub hs256
{
	my ($header, $payload, $with) = @_;
	my $input = join '.', map { encode_base64url(ref ? $json->encode($_) : $_) } $header, $payload;
	return "$input." . encode_base64url(hmac_sha256($input, $with // $secret));
}

sub claims { return { sub => 'north-pro', aud => 'cauce', exp => time + 600, @_ } }
my %header = (alg => 'HS256', kid => 'hmac', typ => 'JWT');

sub verdict
{
	my ($token, $sql) = @_;
	my $result = $cluster->try_sql(app => $token, $sql // 'SELECT subject FROM cauce.account');
	my ($detail) = $result->{err} =~ /DETAIL:  (.*)/;
	return $result->{sqlstate} ? "$result->{sqlstate} " . ($detail // '') : $result->{out};
}

is(verdict(hs256(\%header, claims())), 'north-pro', 'a good one');

subtest 'issuer' => sub {
	my $any = hs256(\%header, claims());
	my $right = hs256(\%header, claims(iss => 'https://idp.example'));
	my $open = CauceSession->open($cluster, app => undef);
	my $in_force = sub { my $r = $open->try("SET cauce.token = '$_[0]'; SELECT subject FROM cauce.account; RESET cauce.token"); $open->query('RESET cauce.token'); return $r->{sqlstate} || $r->{out} };
	my $id = $cluster->sql(app => $any, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
	my $stream = $cluster->sql(app => $any, "SELECT cauce.stream_token('$id')");
	is($in_force->($_), 'north-pro', 'none is asked for') for $any, $right;
	$cluster->configure("cauce.token_issuer = 'https://idp.example'");
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until('SHOW cauce.token_issuer', 'https://idp.example'), 'one is asked for');
	is($in_force->($right), 'north-pro', 'the right one');
	is($in_force->($any), '28000', 'a token that was verified before and names none is verified anew');
	is(verdict($any), '28000 The token is of another issuer (iss).', 'DETAIL');
	is(verdict(hs256(\%header, claims(iss => $_))), '28000 The token is of another issuer (iss).', 'another one')
	  for 'https://idp.example/', 'HTTPS://idp.example', '', ['https://idp.example'], 0;
	is(verdict($stream, 'SELECT cauce.token_scope()'), 'stream', 'stream tokens of the database itself are exempt: its key signs for no issuer');
	is(verdict(hs256(\%header, claims(scope => 'stream', session => $id)), 'SELECT 1'), '28000 The token is of another issuer (iss).', 'those of a provider are not');
	is($cluster->try_sql(app => $right, "SET cauce.token_issuer = ''")->{sqlstate}, '55P02', 'an application cannot change it');
	$cluster->configure("cauce.token_issuer = ''");
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until('SHOW cauce.token_issuer', ''), 'none is asked for again');
	is($in_force->($any), 'north-pro', 'and all is well');
	$open->close;
};

subtest 'what is said' => sub {
	my $exp = time + 600;
	my $rest = qq{"aud":"cauce","exp":$exp};
	my %odd = (
		'sub twice' => qq{{"sub":"south-pro",$rest,"sub":"north-pro"}},
		'aud twice' => qq{{"sub":"north-pro","aud":"other",$rest}},
		'exp twice' => qq{{"sub":"north-pro",$rest,"exp":9999999999}},
		'sub twice, once escaped' => qq{{"sub":"south-pro",$rest,"s\\u0075b":"north-pro"}},
		'NUL in sub' => qq{{"sub":"north-pro\\u0000x",$rest}},
		'a NUL byte in sub' => qq{{"sub":"north-pro\0",$rest}},
		'invalid UTF-8' => qq{{"sub":"north-pro\xff",$rest}},
		'overlong UTF-8' => qq{{"sub":"north\xc0\xadpro",$rest}},
		'a surrogate' => qq{{"sub":"north-pro\\ud800",$rest}},
		'NUL in another claim' => qq{{"sub":"north-pro",$rest,"x":"\\u0000"}},
		'deep' => qq|{"sub":"north-pro",$rest,"x":| . '[' x 2500 . ']' x 2500 . '}',
		'deeper than it is long' => qq|{"sub":"north-pro",$rest,"x":| . '[' x 5000,
		'something behind it' => qq|{"sub":"north-pro",$rest}{}|,
		'cut off' => qq|{"sub":"north-pro",$rest|,
		'no payload' => '',
		'exp too big for any integer' => qq{{"sub":"north-pro","aud":"cauce","exp":99999999999999999999999}},
		'exp that overflows 64 bits' => qq{{"sub":"north-pro","aud":"cauce","exp":9223372036854775808}},
		'the last exp of 64 bits' => qq{{"sub":"north-pro","aud":"cauce","exp":9223372036854775807}},
		'negative exp' => qq{{"sub":"north-pro","aud":"cauce","exp":-1}},
		'exp in the year 10000' => qq{{"sub":"north-pro","aud":"cauce","exp":253402300800}},
		'exp of no number' => qq{{"sub":"north-pro","aud":"cauce","exp":NaN}},
		(map { +"exp: $_" => qq{{"sub":"north-pro","aud":"cauce","exp":$_}} } qw(true null [9999999999] {} "9999999999" 1e999)),
		'nbf of no number' => qq{{"sub":"north-pro",$rest,"nbf":"0"}},
		'sub that is a number' => qq{{"sub":17,$rest}},
		'sub in an array' => qq{{"sub":["north-pro"],$rest}},
		'aud with a number in it' => qq{{"sub":"north-pro","aud":[17],"exp":$exp}},
		'purpose that is null' => qq{{"sub":"north-pro",$rest,"purpose":null}},
		'purpose with a comma' => qq{{"sub":"north-pro",$rest,"purpose":"care,care"}},
		'purpose in capitals' => qq{{"sub":"north-pro",$rest,"purpose":"CARE"}},
		'a list of purposes' => qq{{"sub":"north-pro",$rest,"purpose":["care"]}},
		'scope that is null' => qq{{"sub":"north-pro",$rest,"scope":null}},
		'two scopes' => qq{{"sub":"north-pro",$rest,"scope":"app stream"}},
		'a long purpose' => qq|{"sub":"north-pro",$rest,"purpose":"| . 'x' x 100 . '"}',
	);
	for my $what (sort keys %odd)
	{
		my $got = verdict(hs256(\%header, $odd{$what}));
		like($got, qr/^28000 The token/, $what);
	}
	is(verdict(hs256(\%header, claims(exp => time + 600.5))), 'north-pro', 'a fraction of a second is none the worse');
	is(verdict(hs256(\%header, qq{{"sub":"north-pro","aud":"cauce","exp":$exp.0e0}})), 'north-pro', 'nor an exponent');
	is(verdict(hs256(\%header, qq{ {"sub" : "north-\\u0070ro", $rest} })), 'north-pro', 'nor white space and escapes');
	is(verdict(hs256(\%header, claims(x => 'x' x 5800))), 'north-pro', 'nor 8,000 bytes');
	is(verdict(hs256(\%header, claims(x => 'x' x 6100))), '28000 The token is too long.', 'but more are too many');
	is(verdict('x' x 9_000_000 . '.y.z'), '28000 The token is too long.', 'as are millions') if 0;
};

subtest 'headers' => sub {
	my %odd = (
		'alg twice' => '{"alg":"none","alg":"HS256","kid":"hmac"}',
		'kid twice' => '{"alg":"HS256","kid":"hmac","kid":"hmac"}',
		'kid that is a number' => '{"alg":"HS256","kid":7}',
		'kid that is null' => '{"alg":"HS256","kid":null}',
		'kid with a NUL' => '{"alg":"HS256","kid":"hmac\u0000"}',
		'alg in small letters' => '{"alg":"hs256","kid":"hmac"}',
		'HS512' => '{"alg":"HS512","kid":"hmac"}',
		'alg in an array' => '{"alg":["HS256"],"kid":"hmac"}',
		'an empty crit' => '{"alg":"HS256","kid":"hmac","crit":[]}',
		'b64: false' => '{"alg":"HS256","kid":"hmac","crit":["b64"],"b64":false}',
		'an array' => '["HS256"]',
		'nothing' => '',
	);
	like(verdict(hs256($odd{$_}, claims())), qr/^28000 /, $_) for sort keys %odd;
	is(verdict(hs256('{"alg":"HS256"}', claims())), 'north-pro', 'a token need not name its key');
	my $good = hs256(\%header, claims());
	like(verdict($_), qr/^28000 /, 'a token with something around it') for "$good ", " $good", "$good=", "$good\n", "Bearer $good", "$good.";
};

subtest 'keys' => sub {
	my $other = 'another secret of thirty-two bytes and some';
	my $good = hs256(\%header, claims());
	my $signed_by_other = hs256(\%header, claims(), $other);
	key_set($hmac_jwk, { kty => 'oct', kid => 'hmac', k => encode_base64url($other) });
	is(verdict($good), 'north-pro', 'of two keys of one id the first');
	is(verdict($signed_by_other), 'north-pro', 'and the second both serve');
	key_set($hmac_jwk);
	is(verdict($signed_by_other), "28000 The token's signature does not verify.", 'until it is taken out');
	key_set({ kty => 'RSA', kid => 'hmac', n => 'AQAB', e => 'AQAB' }, { kty => 'oct', kid => 'hmac' }, 17, { kid => 'hmac' }, { kty => 'OKP', crv => 'Ed25519', kid => 'ed', x => encode_base64url('x' x 32) }, $hmac_jwk);
	is(verdict($good), 'north-pro', 'keys that are not to be used disturb nobody');
	like(verdict(hs256({ alg => 'EdDSA', kid => 'ed' }, claims())), qr/^28000 No configured key/, 'EdDSA is not taken');
	key_set({ kty => 'oct', kid => 'hmac', k => $_ }) , is(verdict(hs256(\%header, claims(), decode_base64url($_))), "28000 No configured key has the token's key id and algorithm.",
		'a secret of ' . length(decode_base64url($_)) . ' bytes is none') for '', encode_base64url('x'), encode_base64url('x' x 31);
	key_set({ kty => 'oct', kid => 'hmac', k => '!' x 43 });
	like(verdict(hs256(\%header, claims(), '')), qr/^28000 /, 'nor one that is no base64');
	key_set({ %$hmac_jwk, key_ops => ['sign'] });
	like(verdict($good), qr/^28000 /, 'a key that is not for verifying');
	key_set({ %$hmac_jwk, alg => 'HS512' });
	like(verdict($good), qr/^28000 No configured key/, 'or for another algorithm');
	key_set();
	like(verdict($good), qr/^28000 No configured key/, 'no key at all');
	spew("$keys/tokens.jwks", $_->[0]), is(substr(verdict($good), 0, 5), '55000', "a key set $_->[1]")
	  for [ '{"keys":[],"keys":[' . $json->encode($hmac_jwk) . ']}', 'that says its keys twice' ], [ '[' x 3000 . ']' x 3000, 'too deep' ],
	  [ '{"keys":[]}' . ' ' x 300_000, 'too long' ], [ "{\"keys\":[\"\xff\"]}", 'that is no text' ];
	key_set($hmac_jwk);
	is(verdict($good), 'north-pro', 'and the right one again');
};

subtest 'rotation' => sub {
	my $open = CauceSession->open($cluster, app => undef);
	my $in_force = sub { my $r = $open->try("SET cauce.token = '$_[0]'; SELECT subject FROM cauce.account"); $open->query('RESET cauce.token'); return $r->{sqlstate} || $r->{out} };
	my $second = 'the next secret of thirty-two or more bytes!';
	$second = substr $second, 0, 32;
	my ($old, $new) = (hs256(\%header, claims()), hs256({ %header, kid => 'next' }, claims(), $second));
	my $next_jwk = { kty => 'oct', kid => 'next', k => encode_base64url($second) };
	is($in_force->($old), 'north-pro', 'the old key');
	key_set($hmac_jwk, $next_jwk);
	is($in_force->($_), 'north-pro', 'both, side by side') for $old, $new;
	key_set($next_jwk);
	is($in_force->($old), '28000', 'the old one has gone');
	is($in_force->($new), 'north-pro', 'the new one serves');

	my $lasting = CauceSession->open($cluster, app => $new);
	my $who = 'SELECT subject FROM cauce.account';
	is($lasting->query("BEGIN; $who"), 'north-pro', 'a token that is in force');
	key_set($hmac_jwk, $next_jwk);
	is($lasting->query($who), 'north-pro', 'stays so while its key is there');
	key_set($hmac_jwk);
	my $refused = $lasting->try($who);
	is($refused->{sqlstate}, '28000', 'and is refused once that has gone, amid a transaction');
	like($refused->{err}, qr/DETAIL:  No configured key.*HINT/s, 'with the reason');
	key_set($next_jwk);
	is($lasting->query("ROLLBACK; $who"), 'north-pro', 'the key is back');
	unlink "$keys/tokens.jwks";
	is($lasting->try($who)->{sqlstate}, '55000', 'no key set, no content');
	key_set($next_jwk);
	is($lasting->query($who), 'north-pro', 'until there is one');
	$lasting->close;

	# The same size, the same inode, the same time of writing, as `cp -p` over it leaves.
	my @stat = stat "$keys/tokens.jwks";
	my $fresh = $json->encode({ keys => [ { %$hmac_jwk, kid => 'next' } ] });
	is(length $fresh, $stat[7], 'another key set of the same size');
	system('cp', '-p', "$keys/tokens.jwks", "$keys/reference") == 0 or die 'cp';
	open my $out, '+<', "$keys/tokens.jwks" or die;
	print $out $fresh;
	close $out;
	system('touch', '-r', "$keys/reference", "$keys/tokens.jwks") == 0 or die 'touch';
	is((stat "$keys/tokens.jwks")[9], $stat[9], 'written over the first, and dated back');
	is($in_force->($new), '28000', 'is noticed');
	is($in_force->(hs256({ %header, kid => 'next' }, claims())), 'north-pro', 'and serves');

	spew("$keys/others.jwks", $json->encode({ keys => [$next_jwk] }));
	is($in_force->($new), '28000', 'a key in another file');
	$cluster->configure("cauce.token_keys_file = '$keys/others.jwks'");
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until('SHOW cauce.token_keys_file', "$keys/others.jwks"), 'serves after a reload that names the file');
	is($in_force->($new), 'north-pro', 'in open connections, too');
	is($in_force->(hs256({ %header, kid => 'next' }, claims())), '28000', 'where those of the first file do not');
	$open->close;
};

unlike($cluster->log, qr/eyJ/, 'no token is in the log');
unlike($cluster->log, qr/PANIC|terminated by signal/, 'and nothing crashed');

done_testing;
