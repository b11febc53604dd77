# A session is archived with its rows of protected tables, as they are stored, and restored as it was: every
# value, its place and its owner; rows of partitions, of identities, of arrays, of tables that refer to each other.
use strict;
use warnings;
use CauceTest;
use JSON::PP qw(decode_json);
use Test::More;

my $cluster = CauceTest->start;
my %token = map { $_ => $cluster->token($_) } qw(north-pro south-pro);
my $canary = 'qzarchived';

sub mine { return $cluster->sql(app => $token{'north-pro'}, @_) }

$cluster->superuser(q{
	CREATE ROLE hers NOLOGIN;
	CREATE ROLE his NOLOGIN;
	CREATE SCHEMA "The App";
	GRANT USAGE ON SCHEMA "The App" TO hers, his, app;
	CREATE DOMAIN public.mood AS text CHECK (VALUE <> '');
	CREATE TYPE public.tone AS ENUM ('low', 'high');
	CREATE TABLE "The App"."a note" (
		n bigint GENERATED ALWAYS AS IDENTITY, "part ""of""" text NOT NULL DEFAULT 'a', visit uuid, "said, then" text, doc jsonb, raw bytea,
		list text[], docs jsonb[], follows bigint, folder text,
		mood public.mood, tone public.tone, price numeric, ratio double precision, at timestamptz DEFAULT now(), span interval, bits bit varying, names name[], flag boolean,
		money money, shape point, period tstzrange, twice bigint GENERATED ALWAYS AS (n * 2) STORED,
		changed timestamptz DEFAULT clock_timestamp(), PRIMARY KEY (n, "part ""of"""), UNIQUE (n));
	CREATE TABLE public.folder (name text PRIMARY KEY);
	INSERT INTO public.folder VALUES ('f1'), ('f2');
	ALTER TABLE "The App"."a note" ADD FOREIGN KEY (follows) REFERENCES "The App"."a note" (n), ADD FOREIGN KEY (folder) REFERENCES public.folder ON DELETE CASCADE;
	CREATE TABLE public.remark (id uuid DEFAULT gen_random_uuid(), day date, visit uuid, note bigint REFERENCES "The App"."a note" (n) ON DELETE CASCADE, words text, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
	CREATE TABLE public.remark_1 PARTITION OF public.remark FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
	CREATE TABLE public.remark_2 PARTITION OF public.remark DEFAULT;
	ALTER TABLE "The App"."a note" OWNER TO hers;
	ALTER TABLE public.remark OWNER TO his;
	ALTER TABLE public.folder OWNER TO his;
	GRANT ALL ON "The App"."a note", public.remark, public.folder TO app;
	SELECT cauce.protect('"The App"."a note"', 'visit', '{"said, then",doc,raw,list,docs}'), cauce.protect('public.remark', 'visit', '{words}')});

my $session = mine(q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
my $other = mine(q{INSERT INTO cauce.session (title) VALUES ('y') RETURNING id});
for my $id ($session, $other)
{
	mine(qq~INSERT INTO "The App"."a note" (visit, "said, then", doc, raw, list, docs, mood, tone, price, ratio, span, bits, names, flag, money, shape, period, folder)
		SELECT '$id', '$canary ' || n || repeat(' words', n * 100), jsonb_build_object('n', n, 'é', '\\'), decode(repeat('00ff', n), 'hex'), ARRAY['$canary', NULL, '', '{"'], '{{"1", "[2]"}, {null, "{}"}}',
			'good', 'high', 1.50, 0.1::float8 + 0.2, '1 mon -2 days 3:00', B'0101', ARRAY['a', 'b c']::name[], n % 2 = 0, '12.34', '(1,2)', '[2024-03-31 01:30+01,infinity)', 'f1' FROM generate_series(1, 9) n~);
	mine(qq{INSERT INTO "The App"."a note" (visit, docs, list) VALUES ('$id', '{}', '[2:3]={a,b}'), ('$id', NULL, NULL)});
	mine(qq{UPDATE "The App"."a note" a SET follows = (SELECT max(n) FROM "The App"."a note" b WHERE b.visit = a.visit AND b.n < a.n) WHERE visit = '$id' AND n % 3 = 0});
	mine(qq{INSERT INTO public.remark (visit, day, note, words) SELECT '$id', '2020-06-01'::date + (n * 100)::int, n, '$canary ' || n FROM "The App"."a note" WHERE visit = '$id'});
}
mine(qq{INSERT INTO cauce.report (session_id, body) VALUES ('$session', 'r')});

my $notes = 'SELECT * FROM "The App"."a note" ORDER BY n';
my $remarks = 'SELECT tableoid::regclass, * FROM public.remark ORDER BY day, id';
my %before = map { $_ => mine($_) } $notes, $remarks;
my %sealed = map { $_ => $cluster->superuser($_) } $notes, $remarks;
is(mine('SELECT docs FROM "The App"."a note" WHERE n = 3'), '{{1,[2]},{NULL,"{}"}}', 'there are arrays');

subtest 'archived' => sub {
	mine("SELECT cauce.archive_session('$session')");
	is($cluster->superuser(qq{SELECT count(*) FROM "The App"."a note" WHERE visit = '$session'}), '0', 'its notes are not in the table');
	is($cluster->superuser("SELECT count(*) FROM public.remark WHERE visit = '$session'"), '0', 'nor its remarks');
	is($cluster->superuser(qq{SELECT count(*) FROM "The App"."a note" WHERE visit = '$other'}), '11', 'other sessions stay');
	is($cluster->superuser('SELECT count(*) FROM cauce.erasure_certificate'), '0', 'nothing was erased');
	my $opened = decode_json(mine("SELECT cauce.open_archive(account_id, id, bundle)->'protected' FROM cauce.archived_session WHERE id = '$session'"));
	is_deeply([ map { scalar @$_ } @$opened{ 'public.remark', '"The App"."a note"' } ], [ 11, 11 ], 'the owner sees them in the archive');
	my ($third) = grep { $_->{n} == 3 } @{ $opened->{'"The App"."a note"'} };
	is_deeply([ @$third{ 'said, then', 'doc', 'raw', 'list', 'docs', 'ratio' } ],
		[ "$canary 3" . ' words' x 300, { n => 3, "\x{e9}" => '\\' }, '\x00ff00ff00ff', [ $canary, undef, '', '{"' ], [ [ 1, [2] ], [ undef, {} ] ], '0.30000000000000004' ], 'opened');
	is_deeply(decode_json(mine('SELECT cauce.export_my_data()'))->{archived_session}[0]{content}{protected}, $opened, 'so it is in the export');
	is($cluster->try_sql(app => $token{'south-pro'}, "SELECT cauce.open_archive(a.id, '$session', b) FROM cauce.account a, (SELECT ''::bytea) x (b)")->{sqlstate}, 'XX001', 'nobody else does');
	is($cluster->superuser("SELECT count(*) FROM cauce.archived_session WHERE strpos(encode(bundle, 'escape'), '$canary') > 0"), '0', 'and it is sealed');
};

subtest 'restored' => sub {
	mine("SET DateStyle = 'German'; SET TimeZone = 'Asia/Kathmandu'; SET bytea_output = escape; SELECT cauce.restore_session('$session') \\g /dev/null");
	is(mine($_), $before{$_}, 'everything is as it was') for $notes, $remarks;
	is($cluster->superuser($_), $sealed{$_}, 'to the last byte of what is sealed') for $notes, $remarks;
	is($cluster->superuser("SELECT * FROM cauce.verify('$_')"), '', 'each value in its place') for '"The App"."a note"', 'public.remark';
	is(mine(qq{INSERT INTO "The App"."a note" (visit, "said, then") VALUES ('$session', 'next') RETURNING n}), '23', 'an identity goes on');
	mine(qq{DELETE FROM "The App"."a note" WHERE n = 23});
	is(mine("DELETE FROM cauce.session WHERE id = '$session'; SELECT counts->'public.remark', counts->'\"The App\".\"a note\"' FROM cauce.erasure_certificate"), '11|11', 'it is erased as any other');
};

subtest 'by retention, and erased from there' => sub {
	$cluster->superuser("UPDATE cauce.session SET started_at = now() - interval '90 days' WHERE id = '$other'");
	is($cluster->superuser('SELECT archived, deleted, failed FROM cauce.run_retention()'), '1|0|0', 'archived by retention');
	is($cluster->superuser('SELECT (SELECT count(*) FROM "The App"."a note") + (SELECT count(*) FROM public.remark)'), '0', 'with its rows');
	mine("SELECT cauce.restore_session('$other')");
	is($cluster->superuser('SELECT (SELECT count(*) FROM "The App"."a note") + (SELECT count(*) FROM public.remark)'), '22', 'which come back');
	mine("SELECT cauce.archive_session('$other'); DELETE FROM cauce.archived_session");
	is($cluster->superuser("SELECT count(*) FROM cauce.data_key WHERE session_id = '$other'"), '0', 'erased, its key is gone');
};

subtest 'under new keys' => sub {
	my $id = mine(q{INSERT INTO cauce.session (title) VALUES ('z') RETURNING id});
	mine(qq{INSERT INTO "The App"."a note" (visit, "said, then", list) VALUES ('$id', '$canary before', '{a,NULL}'); SELECT cauce.archive_session('$id')});
	$cluster->configure(q{cauce.retention_naptime = '1s'});
	$cluster->pg_ctl('reload');
	$cluster->superuser('SELECT cauce.rotate_data_keys()');
	ok($cluster->poll_until('SELECT bool_and(finished_at IS NOT NULL) FROM cauce.rotation_status', 't'), 'a rotation ends, with an archive');
	is(mine("SELECT cauce.open_archive(account_id, id, bundle)->'protected'->'\"The App\".\"a note\"'->0->>'said, then' FROM cauce.archived_session"), "$canary before", 'which opens, values of before inside');
	mine("SELECT cauce.restore_session('$id')");
	is(mine(qq{SELECT "said, then", list FROM "The App"."a note"}), "$canary before|{a,NULL}", 'and is restored');
	is($cluster->superuser(q{SELECT * FROM cauce.verify('"The App"."a note"')}), '', 'each value in its place');
	is($cluster->superuser(qq{SELECT get_byte(decode(substr(format('%s', v), 8), 'base64'), 3) FROM "The App"."a note", unnest(ARRAY["said, then", list[1]]) v}), "2\n2", 'under the new generation');
};

done_testing;
