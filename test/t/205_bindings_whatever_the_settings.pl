# Where a value is bound to does not depend on the settings of whoever writes or looks: time zone, date style,
# digits of numbers, nor on the database's encoding.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'");
my $token = $cluster->token('north-pro');
my $account = $cluster->sql(app => $token, 'SELECT cauce.account_id()');
my @settings = (
	q{SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET extra_float_digits = 1;},
	q{SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'; SET extra_float_digits = -5; SET IntervalStyle = 'iso_8601'; SET bytea_output = 'escape';});

$cluster->superuser(q{CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'});
$cluster->superuser('SET client_min_messages = warning; CREATE EXTENSION cauce CASCADE', database => 'latin');
$cluster->superuser("INSERT INTO cauce.account (id, subject) VALUES ('$account', 'north-pro')", database => 'latin');

my $table = q{CREATE TABLE public.visité (account_id uuid NOT NULL DEFAULT cauce.account_id(), session_id uuid NOT NULL, at timestamptz, day date, took interval,
	weight float8, code bytea, place text, body cauce.encrypted_text, PRIMARY KEY (account_id, session_id, at, day, took, weight, code, place));
	CREATE TRIGGER seal BEFORE INSERT OR UPDATE ON public.visité FOR EACH ROW EXECUTE FUNCTION cauce.seal_row('session_id');
	GRANT ALL ON public.visité TO app};
for my $database (qw(cauce latin))
{
	my %where = (database => $database);
	my $utf8 = 'SET client_encoding = UTF8;';
	$cluster->superuser("$utf8 $table", %where);
	my $id = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id}, %where);
	my $n = 0;
	for my $settings (@settings)
	{
		$n++;
		$cluster->sql(app => $token, qq{$utf8 $settings INSERT INTO public.visité VALUES (DEFAULT, '$id', '2026-01-0$n 00:00:00+00', date '2026-02-03', '1 day 02:03',
			0.1::float8 + 0.2, decode('00ff5c', 'hex'), 'Zürich', 'words')}, %where);
		$cluster->sql(app => $token, "$utf8 $settings UPDATE public.visité SET body = body || '!' WHERE at < now() + interval '100 years'", %where);
	}
	for my $settings (@settings)
	{
		is($cluster->superuser("$utf8 $settings SELECT * FROM cauce.verify('public.visité')", %where), '', "$database: everything is in its place, whoever looks");
	}
	is($cluster->sql(app => $token, "$utf8 SELECT string_agg(body, ',' ORDER BY at) FROM public.visité", %where), 'words!!,words!', 'and opens');
}

# The same row in both databases has the same binding.
my $where = q{SET client_encoding = UTF8; SELECT substr(cauce.encrypted_text_out(body)::text, 8) FROM public.visité ORDER BY at LIMIT 1};
$cluster->superuser('SET client_encoding = UTF8; TRUNCATE public.visité', database => $_) for qw(cauce latin);
my $session = '00000000-0000-4000-8000-000000000001';
my %binding;
for my $database (qw(cauce latin))
{
	require MIME::Base64;
	$cluster->sql(app => $token, qq{SET client_encoding = UTF8; INSERT INTO cauce.session (id) VALUES ('$session');
		INSERT INTO public.visité VALUES (DEFAULT, '$session', '2026-01-01 00:00:00+00', '2026-02-03', '1 day', 0.5, '', 'Zürich', 'words')}, database => $database);
	$binding{$database} = unpack 'x20 H32', MIME::Base64::decode_base64($cluster->superuser($where, database => $database));
}
is($binding{latin}, $binding{cauce}, 'a row is bound alike in a database of another encoding');

done_testing;
