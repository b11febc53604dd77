# What docs/format.md says is what is stored: a program in another language, written from that document,
# opens every kind of value with the keyring and the row of its data key, and nothing with less.
use strict;
use warnings;
use CauceTest;
use Encode qw(decode);
use File::Temp qw(tempdir);
use IPC::Run qw(run);
use JSON::PP qw(decode_json encode_json);
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1s'");
my $token = $cluster->token('north-pro');
my $private = tempdir(CLEANUP => 1);
chmod 0700, $private;

# file writes a file that only this test can read.
sub file
{
	my ($name, $content) = @_;
	open my $out, '>', "$private/$name" or die "$name: $!";
	print $out $content;
	close $out or die "$name: $!";
	return "$private/$name";
}

my $keyring = file('keyring.json', $cluster->as_postgres('cat', $cluster->keyring_file)->{out});

# bytes_of gives the bytes of a sealed form, which for a bundle is how bytea is printed.
sub bytes_of
{
	my ($form) = @_;
	return $form =~ /^cauce1:(.*)/ ? decode_base64($1) : pack 'H*', substr $form, 2;
}

# row_of writes the row of a value's data key.
sub row_of
{
	my ($form) = @_;
	my (undef, $generation, $key) = unpack 'n n H32', bytes_of($form);
	return file('row.json', $cluster->superuser("SELECT to_jsonb(k) FROM cauce.data_key k WHERE id = '$key' AND generation = $generation"));
}

# opened runs the opener: {status, out, err}.
sub opened
{
	my ($form, %with) = @_;
	my ($out, $err) = ('', '');
	run [ 'node', "$CauceTest::ROOT/test/open_sealed.mjs", $with{keyring} // $keyring, $with{row} // row_of($form), @{ $with{place} // [] } ],
	  '<', \$form, '>', \$out, '2>', \$err;
	return { status => $? >> 8, out => $out, err => $err };
}

# flags gives the second byte of a value.
sub flags { return ord substr bytes_of($_[0]), 1, 1 }

my $account = $cluster->sql(app => $token, 'SELECT cauce.account_id()');
my $session = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title, client) VALUES ('', 'Zoë 訪問 17') RETURNING id});
my $long = 'What was said, and said again, and écrit. ' x 300;
my $report = $cluster->sql(app => $token, "INSERT INTO cauce.report (session_id, body) VALUES ('$session', '$long') RETURNING id");
$cluster->sql(app => $token, "INSERT INTO cauce.transcript_segment (session_id, channel, seq, start_ms, end_ms, body) VALUES ('$session', 1, 22, 0, 1, 'short')");
$cluster->superuser('CREATE TABLE public.loose (n int, note cauce.encrypted_text); GRANT ALL ON public.loose TO app');
$cluster->sql(app => $token, "INSERT INTO public.loose VALUES (1, 'left here'), (2, '$long')");
$cluster->superuser("INSERT INTO public.loose VALUES (3, 'handed in by nobody')");
my $solo = $cluster->token('solo');
my $free = $cluster->sql(app => $solo, q{INSERT INTO cauce.session (title) VALUES ('no organization') RETURNING id});

my %value = (
	'an empty text' => [ "SELECT title FROM cauce.session WHERE id = '$session'", '', 0x01, [ 'cauce', 'session', $account, $session, 'title' ] ],
	'a short text' => [ "SELECT client FROM cauce.session WHERE id = '$session'", 'Zoë 訪問 17', 0x01, [ 'cauce', 'session', $account, $session, 'client' ] ],
	'a segment, whose key has four columns' => [ "SELECT body FROM cauce.transcript_segment WHERE session_id = '$session'", 'short', 0x01,
		[ 'cauce', 'transcript_segment', $account, $session, 1, 22, 'body' ] ],
	'a long text, compressed' => [ "SELECT body FROM cauce.report WHERE id = '$report'", $long, 0x11, [ 'cauce', 'report', $account, $session, $report, 'body' ] ],
	'a profile' => [ "SELECT email FROM cauce.account WHERE id = '$account'", 'north-pro@example.org', 0x01, [ 'cauce', 'account', $account, 'email' ] ],
	'sealed at input' => [ 'SELECT note FROM public.loose WHERE n = 1', 'left here', 0x21 ],
	'sealed at input, compressed' => [ 'SELECT note FROM public.loose WHERE n = 2', $long, 0x31 ],
	'sealed at input without identity, under the inbox key' => [ 'SELECT note FROM public.loose WHERE n = 3', 'handed in by nobody', 0x21 ],
	'of an account without organization' => [ "SELECT title FROM cauce.session WHERE id = '$free'", 'no organization', 0x01 ]);

for my $kind (sort keys %value)
{
	my ($query, $text, $flags, $place) = @{ $value{$kind} };
	subtest $kind => sub {
		my $form = $cluster->superuser($query);
		my $result = opened($form, place => $place);
		is(flags($form), $flags, 'has its flags');
		is($result->{out}, $text, 'opens') or diag $result->{err};
		isnt(opened($form, place => [ @$place[ 0 .. $#$place - 1 ], 'other' ])->{status}, 0, 'and belongs to no other place') if $place;
	};
}

subtest 'a value that a superuser carried elsewhere' => sub {
	# Within one account it opens, as docs/threat-model.md says; the binding tells.
	my $other = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('other') RETURNING id});
	my $form = $cluster->superuser("SELECT client FROM cauce.session WHERE id = '$session'");
	$cluster->superuser("BEGIN; SET LOCAL session_replication_role = replica;
		UPDATE cauce.session SET title = '$form' WHERE id IN ('$session', '$other'); COMMIT");
	for ([ $session, 'to another column' ], [ $other, 'to another session' ])
	{
		my ($at, $where) = @$_;
		my $moved = $cluster->superuser("SELECT title FROM cauce.session WHERE id = '$at'");
		is($moved, $form, "$where, as it was");
		my $result = opened($moved, place => [ 'cauce', 'session', $account, $at, 'title' ]);
		ok($result->{status} != 0 && $result->{out} eq '', 'does not belong there');
		like($result->{err}, qr/another place/, 'and that is said');
	}
	$cluster->sql(app => $token, "UPDATE cauce.session SET title = '' WHERE id = '$session'");
};

subtest 'a bundle' => sub {
	$cluster->sql(app => $token, "SELECT cauce.archive_session('$session')");
	my $form = $cluster->superuser("SELECT bundle FROM cauce.archived_session WHERE id = '$session'");
	my $result = opened($form, place => [ 'cauce', 'archived_session', $account, $session, 'bundle' ]);
	is(flags($form), 0x14, 'has its flags');
	is($cluster->superuser(q{\getenv bundle BUNDLE
		SELECT :'bundle'::jsonb->>'version', :'bundle'::jsonb#>>'{session,client}', :'bundle'::jsonb#>>'{transcript_segment,0,body}',
			length(:'bundle'::jsonb#>>'{report,0,body}')}, env => { BUNDLE => $result->{out} }),
		"2|Zoë 訪問 17|short|@{[$cluster->superuser(qq{SELECT length('$long')})]}", 'opens') or diag $result->{err};
};

subtest 'a bundle with rows of a protected table, made before the keys were rotated' => sub {
	my $id = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
	$cluster->superuser(q{CREATE TABLE public."a note" (n int, at date, s uuid, words text, list jsonb[], plain text, PRIMARY KEY (at, n)); GRANT ALL ON public."a note" TO app;
		SELECT cauce.protect('public."a note"', 's', '{words,list}')});
	$cluster->sql(app => $token, qq{INSERT INTO public."a note" (n, at, s, words, list, plain) VALUES (7, '2024-02-29', '$id', '$long', ARRAY['{"a": 1}', NULL, '"b"']::jsonb[], 'plain'); SELECT cauce.archive_session('$id')});
	$cluster->superuser('SELECT cauce.rotate_data_keys()');
	ok($cluster->poll_until('SELECT bool_and(finished_at IS NOT NULL) FROM cauce.rotation_status', 't'), 'they are rotated');
	my $form = $cluster->superuser("SELECT bundle FROM cauce.archived_session WHERE id = '$id'");
	my $keys = file('rows.json', $cluster->superuser("SELECT jsonb_agg(k) FROM cauce.data_key k WHERE session_id = '$id'"));
	my $result = opened($form, row => $keys, place => [ 'cauce', 'archived_session', $account, $id, 'bundle' ]);
	is_deeply(($result->{out} ? decode_json($result->{out})->{protected} : $result->{err}),
		[ { schema => 'public', table => 'a note', rows => [ { n => 7, at => '2024-02-29', s => $id, account_id => $account, words => decode('UTF-8', $long), list => [ '{"a": 1}', undef, '"b"' ], plain => 'plain' } ] } ],
		'opens with the generations of its key, each value where it belongs');
	isnt(opened($form, row => row_of($form), place => [ 'cauce', 'archived_session', $account, $id, 'bundle' ])->{status}, 0, 'and not without the former');
};

subtest 'with anything else it fails, and tells nothing' => sub {
	my $form = $cluster->superuser('SELECT note FROM public.loose WHERE n = 1');
	my $row = row_of($form);
	my $refused = sub {
		my ($what, $sealed, %with) = @_;
		my $result = opened($sealed, row => $row, %with);
		ok($result->{status} != 0 && $result->{out} eq '', $what);
	};
	# changed gives a copy of a JSON file that differs from it.
	my $changed = sub {
		my ($name, $json, $change) = @_;
		open my $in, '<', $json or die "$json: $!";
		my $content = decode_json(do { local $/; <$in> });
		$change->($content);
		return file($name, encode_json($content));
	};
	# other_keys changes the first character of the keys whose names begin so.
	my $other_keys = sub {
		my ($prefix) = @_;
		return $changed->('other.json', $keyring, sub {
			$_->{k} =~ s/^(.)/$1 eq 'A' ? 'B' : 'A'/e for grep { $_->{kid} =~ /^$prefix/ } @{ $_[0]{keys} };
		});
	};

	is(opened($form, row => $row)->{out}, 'left here', 'the value as it is');
	$refused->("another $_ key", $form, keyring => $other_keys->($_)) for qw(master epoch);
	$refused->('without the epoch\'s key', $form, keyring => $changed->('less.json', $keyring,
		sub { $_[0]{keys} = [ grep { $_->{kid} !~ /^epoch/ } @{ $_[0]{keys} } ] }));
	$refused->("a row with another $_", $form, row => $changed->('row2.json', $row,
		sub { $_[0]{$_} = '11111111-2222-4333-8444-555555555555' })) for qw(id account_id organization_id session_id);
	$refused->('a row with another generation', $form, row => $changed->('row2.json', $row, sub { $_[0]{generation}++ }));
	$refused->('a row of another epoch', $form, row => $changed->('row2.json', $row,
		sub { $_[0]{epoch} = (grep { /^epoch-/ } map { $_->{kid} } @{ decode_json($cluster->as_postgres('cat', $cluster->keyring_file)->{out})->{keys} })[0] =~ s/epoch-//r }));
	my $bytes = bytes_of($form);
	my $opened = 0;
	# All of the header's first bytes, then every fourth: a process for each takes its time.
	for my $at (0 .. 7, map { 4 * $_ } 2 .. (length($bytes) - 1) / 4)
	{
		my $copy = $bytes;
		vec($copy, 8 * $at + $at % 8, 1) ^= 1;
		$opened++ if opened('cauce1:' . encode_base64($copy, ''), row => $row)->{status} == 0;
	}
	is($opened, 0, 'a flipped bit anywhere');
};

subtest 'a stream token is what the document says, to the program jose' => sub {
	my $live = $cluster->sql(app => $solo, q{INSERT INTO cauce.session (title) VALUES ('live') RETURNING id});
	my $stream = $cluster->sql(app => $solo, "SELECT cauce.stream_token('$live')");
	my $jwks = file('jwks.json', $cluster->sql(app => $solo, 'SELECT cauce.certificate_jwks()'));
	my $verified = sub {
		my ($token, $payload) = @_;
		return run [ qw(jose jws ver -i - -O - -k), $jwks ], '<', \$token, '>', $payload, '2>', \my $none;
	};
	my ($payload, $none) = ('', '');
	ok($verified->($stream, \$payload), 'its signature verifies with the keyring\'s public key');
	my $claims = decode_json($payload);
	is_deeply([ sort keys %$claims ], [qw(aud exp iat iss purpose scope session sub)], 'it has these claims');
	is_deeply([ @$claims{qw(iss aud sub scope session purpose)} ], [ 'cauce', 'cauce', 'solo', 'stream', $live, 'care' ], 'with these values');
	is($claims->{exp} - $claims->{iat}, 4 * 3600, 'for four hours');
	my ($head) = split /\./, $stream;
	my $header = decode_json(decode_base64($head =~ tr{-_}{+/}r));
	is_deeply($header, { alg => 'ES256', kid => 'sign', typ => 'cauce-stream+jwt' }, 'and this header');
	my $other = $stream;
	substr($other, length($head) + 10, 1) =~ tr/A-Za-z0-9/B-ZAb-za1-90/;
	ok(!$verified->($other, \$none), 'one changed character fails');
};

done_testing;
