# The SQL that an application runs works, as written in the README, for the professional whose token
# it passes on: session, report, segments, transcript, change, erasure, certificate.
use strict;
use warnings;
use CauceTest;
use CauceWire;
use Test::More;

my $cluster = CauceTest->start;
my $token = $cluster->token('north-pro');
my $uuid = qr/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

# mine runs SQL as the application for north-pro.
sub mine { return $cluster->sql(app => $token, @_) }

my $me = mine('SELECT cauce.account_id()');
like($me, $uuid, 'the token names an account');
is(mine('SELECT cauce.token_scope(), cauce.is_admin()'), 'app|f', 'a professional with scope app');
is(
	mine('SELECT o.name FROM cauce.organization o WHERE o.id = cauce.organization_id()'),
	'north', 'the caller\'s organization');
is(mine('SELECT display_name, email FROM cauce.account'),
	'Nora North|north-pro@example.org', 'one\'s own profile, in clear, and nobody else\'s');

my $id = mine(q{INSERT INTO cauce.session (title, client, language) VALUES ('First visit', 'client 17', 'en') RETURNING id});
like($id, $uuid, 'a session');

subtest 'what a new session is' => sub {
	is(
		mine("SELECT account_id = cauce.account_id(), organization_id = cauce.organization_id(), title, client, status,
			ended_at IS NULL, retain_until = started_at + interval '90 days', legal_hold FROM cauce.session"),
		't|t|First visit|client 17|live|t|t|f',
		'account and organization fill themselves; live; kept for 90 days');
	is($cluster->superuser(qq{SELECT count(*), bool_and(octet_length(wrapped) > 40) FROM cauce.data_key WHERE session_id = '$id'}),
		'1|t', 'it has one wrapped key');
	is($cluster->superuser(qq{SELECT title ~ '^cauce1:' FROM (SELECT cauce.encrypted_text_out(title)::text AS title FROM cauce.session) s}),
		't', 'the superuser sees its sealed form');
};

my $report = mine(qq{INSERT INTO cauce.report (session_id, kind, body) VALUES ('$id', 'summary', 'Slept well — très bien.') RETURNING id});
like($report, $uuid, 'a report');
is(
	mine(qq{INSERT INTO cauce.report (session_id, body) VALUES ('$id', 'Second') RETURNING kind, body, created_at = updated_at}),
	'summary|Second|t', 'RETURNING gives the text');

mine(
	qq{INSERT INTO cauce.transcript_segment (session_id, channel, seq, speaker, start_ms, end_ms, confidence, body) VALUES
		('$id', 0, 0, 'therapist', 0, 1500, 0.9, 'How did you sleep?'),
		('$id', 1, 0, 'client', 61000, 63000, 0.8, 'Like a stone.'),
		('$id', 0, 1, NULL, 64000, 65000, NULL, '')});
is(
	mine(qq{SELECT speaker, body FROM cauce.transcript_segment WHERE session_id = '$id' ORDER BY start_ms}),
	"therapist|How did you sleep?\nclient|Like a stone.\n|", 'segments, read by plain SQL');
is(
	mine(qq{SELECT line FROM cauce.transcript WHERE session_id = '$id'}),
	"[00:00] therapist: How did you sleep?\n[01:01] client: Like a stone.\n[01:04] ",
	'the transcript reads as a dialogue');
is(mine(q{SELECT count(*) FROM cauce.transcript_segment WHERE body ILIKE '%STONE%'}), '1', 'search by ILIKE');
is(mine(q{SELECT count(*) FROM cauce.transcript_segment WHERE to_tsvector('english', body) @@ to_tsquery('english', 'sleeping')}),
	'1', 'search by words');

mine(qq{INSERT INTO cauce.alert (session_id, kind, severity, at_ms, detail) VALUES ('$id', 'risk', 'high', 10, 'said so')});
is(mine('SELECT kind, severity, at_ms, detail FROM cauce.alert'), 'risk|high|10|said so', 'an alert');
mine(q{INSERT INTO cauce.alert_rule (account_id, pattern, kind) VALUES (cauce.account_id(), 'risk', 'risk')});
is(mine('SELECT pattern, severity FROM cauce.alert_rule'), 'risk|info', 'an alert rule of one\'s own');

subtest 'change' => sub {
	mine(qq{UPDATE cauce.session SET title = 'Visit one', client = NULL WHERE id = '$id'});
	is(mine('SELECT title, client IS NULL FROM cauce.session'), 'Visit one|t', 'a title, and NULL');
	mine(qq{UPDATE cauce.report SET body = body || ' More.' WHERE id = '$report'});
	is(
		mine(qq{SELECT body, updated_at > created_at FROM cauce.report WHERE id = '$report'}),
		'Slept well — très bien. More.|t', 'a report grows, and updated_at follows');
	mine(qq{UPDATE cauce.transcript_segment SET body = 'Badly.' WHERE session_id = '$id' AND channel = 1});
	is(mine('SELECT body FROM cauce.transcript_segment WHERE channel = 1'), 'Badly.', 'a segment');
	is(
		mine(q{INSERT INTO cauce.transcript_segment AS t (session_id, channel, seq, start_ms, end_ms, body)
			VALUES ('} . $id . q{', 1, 0, 61000, 63000, 'Not so badly.')
			ON CONFLICT (account_id, session_id, channel, seq) DO UPDATE SET body = t.body || '|' || excluded.body RETURNING body}),
		'Badly.|Not so badly.', 'an upsert sees both texts');
	mine(q{UPDATE cauce.account SET display_name = 'Nora N.' WHERE id = cauce.account_id()});
	is(mine('SELECT display_name, email FROM cauce.account'), 'Nora N.|north-pro@example.org', 'one\'s own profile');

	mine(qq{UPDATE cauce.session SET status = 'ended' WHERE id = '$id'});
	is(mine('SELECT status, ended_at IS NOT NULL FROM cauce.session'), 'ended|t', 'the end of a session has a time');
	mine(qq{UPDATE cauce.session SET status = 'live' WHERE id = '$id'});
	is(mine('SELECT status, ended_at IS NULL FROM cauce.session'), 'live|t', 'which goes when it is taken up again');
};

subtest 'one transaction with SET LOCAL, as behind a pooler' => sub {
	my $out = $cluster->sql(
		app => undef,
		qq{BEGIN;
		\\getenv token CAUCE_APP_TOKEN
		SET LOCAL cauce.token = :'token';
		SELECT count(*) FROM cauce.session;
		COMMIT;
		SELECT count(*) FROM cauce.session;},
		env => { CAUCE_APP_TOKEN => $token });
	is($out, "1\n0", 'the identity ends with the transaction');
};

subtest 'erasure' => sub {
	mine(qq{DELETE FROM cauce.report WHERE id = '$report'});
	is(mine('SELECT count(*) FROM cauce.report'), '1', 'one report goes, the other stays');
	mine(qq{DELETE FROM cauce.transcript_segment WHERE session_id = '$id' AND channel = 0});
	mine(qq{DELETE FROM cauce.session WHERE id = '$id'});
	is(
		mine('SELECT (SELECT count(*) FROM cauce.session), (SELECT count(*) FROM cauce.transcript_segment),
			(SELECT count(*) FROM cauce.report), (SELECT count(*) FROM cauce.alert)'),
		'0|0|0|0', 'nothing is left of a session');
	is($cluster->superuser(qq{SELECT count(*) FROM cauce.data_key WHERE session_id = '$id'}), '0', 'nor its key');
	is(
		mine(q{SELECT subject, reason, counts FROM cauce.erasure_certificate ORDER BY erased_at}),
		join("\n", 'report|request|{"reports": 1}', 'transcript|request|{"segments": 2}',
			'session|request|{"alerts": 1, "reports": 1, "segments": 1, "sessions": 1}'),
		'three certificates that count what went');
	is(mine('SELECT bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate'), 't', 'they verify');
};

subtest 'the driver\'s way: prepared statements and COPY' => sub {
	my $second = mine(q{INSERT INTO cauce.session (title) VALUES ('Second') RETURNING id});
	is(
		mine(
			qq{PREPARE add (uuid, int, text) AS INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)
				VALUES (\$1, \$2, \$2, \$2, \$3);
			EXECUTE add ('$second', 1, 'one');
			EXECUTE add ('$second', 2, 'two');
			PREPARE read (uuid) AS SELECT body FROM cauce.transcript_segment WHERE session_id = \$1 ORDER BY seq;
			EXECUTE read ('$second');}),
		"one\ntwo", 'prepared');
	# PostgreSQL has no COPY FROM under row-level security, for any table.
	is($cluster->try_sql(app => $token, "COPY cauce.transcript_segment (session_id, body) FROM STDIN;\n\\.")->{sqlstate},
		'0A000', 'COPY in is refused');
	is(mine(q{COPY (SELECT seq, body FROM cauce.transcript_segment ORDER BY seq) TO STDOUT}),
		"1\tone\n2\ttwo", 'COPY out, by a query, gives the text');
	like(mine('COPY cauce.transcript_segment TO STDOUT'), qr/\ttwo\t/, 'and of the table');
};

subtest 'binary format' => sub {
	my $wire = CauceWire->connect($cluster, 'app');
	$wire->execute(q{SELECT set_config('cauce.token', $1, false)}, [$token]);
	my $id = mine(q{SELECT id FROM cauce.session});
	my $long = 'ü' x 100_000;
	for my $text ('', 'x', 'très bien', $long)
	{
		my $result = $wire->execute("INSERT INTO cauce.report (session_id, body) VALUES ('$id', \$1) RETURNING body", [$text], binary => 1);
		ok($result->{rows}[0][0] eq $text, length($text) . ' bytes in and out') or diag $result->{error};
	}
	is($wire->execute("INSERT INTO cauce.alert (session_id, kind, detail) VALUES ('$id', 'x', \$1) RETURNING detail IS NULL, detail", [undef], binary => 1)->{rows}[0][1],
		undef, 'and NULL');
	$wire->close;
};

subtest 'one connection for many, as behind a pooler' => sub {
	my $wire = CauceWire->connect($cluster, 'app');
	my %who = map { $_ => $cluster->token($_) } qw(north-pro south-pro solo);
	# A statement that stays prepared over all of them, with a literal that is sealed when it is parsed.
	for my $round (1 .. 8)
	{
		for my $subject (sort keys %who)
		{
			$wire->simple("BEGIN; SET LOCAL cauce.token = '$who{$subject}'");
			my $result = $wire->execute(q{INSERT INTO cauce.session (title, client) VALUES ('the same for all', $1) RETURNING title, client}, ["$subject $round"], name => 'open');
			$wire->simple('COMMIT');
			my $got = join '|', map { $_ // 'NULL' } @{ $result->{rows}[0] // [ $result->{error} ] };
			is($got, "the same for all|$subject $round", "$subject, round $round") if $round > 6 || $got ne "the same for all|$subject $round";
		}
	}
	$wire->close;
	is($cluster->sql(app => $who{solo}, q{SELECT count(*), count(*) FILTER (WHERE title = 'the same for all' AND client ILIKE 'solo %') FROM cauce.session}), '8|8',
		'each has its own, and opens it');
};

done_testing;
