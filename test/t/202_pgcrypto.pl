# Columns that pgcrypto encrypted are adopted with their key, which is given once and shows nowhere; a wrong
# key, a wrong method or what is no text is an error that tells neither key nor content, and changes nothing.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use CauceWire;
use Test::More;

my $cluster = CauceTest->start(settings => "log_statement = all\nlog_min_duration_statement = 0\nlog_parameter_max_length = -1\nlog_parameter_max_length_on_error = -1\n"
	. "log_error_verbosity = verbose\nlog_min_messages = debug1\ntrack_activity_query_size = 16384");
my $token = $cluster->token('solo');
my ($key, $canary) = ('qzsecretkey', 'qzpgcrypto');
my $session = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});

# What the application did: statements on its own tables, which the log would show; so it did them unlogged.
$cluster->superuser(qq{SET log_statement = none; SET log_min_duration_statement = -1; SET log_min_messages = panic;
	CREATE TABLE public.pgp (n int PRIMARY KEY, s uuid, words bytea, plain text);
	INSERT INTO public.pgp SELECT n, '$session', public.pgp_sym_encrypt('$canary é ' || n, '$key', 's2k-mode=0'), '$canary plain' FROM generate_series(1, 50) n;
	INSERT INTO public.pgp VALUES (51, '$session', NULL, NULL), (52, '$session', public.pgp_sym_encrypt('', '$key'), ''),
		(53, '$session', public.pgp_sym_encrypt(repeat('$canary', 5000), '$key', 'cipher-algo=aes256, compress-algo=1, unicode-mode=1'), NULL);
	CREATE TABLE public.raw (n int PRIMARY KEY, s uuid, words bytea);
	INSERT INTO public.raw SELECT n, '$session', public.encrypt(convert_to('$canary ' || n, 'UTF8'), '$key', 'aes') FROM generate_series(1, 50) n;
	CREATE TABLE public.binary (n int PRIMARY KEY, s uuid, words bytea);
	INSERT INTO public.binary VALUES (1, '$session', public.encrypt('\\xff00fe', '$key', 'aes'));
	CREATE TABLE public.pgp_binary (n int PRIMARY KEY, s uuid, words bytea);
	INSERT INTO public.pgp_binary VALUES (1, '$session', public.pgp_sym_encrypt_bytea('\\xff00fe', '$key'));
	GRANT ALL ON ALL TABLES IN SCHEMA public TO app},
	env => { PGOPTIONS => '-c log_statement=none -c log_min_duration_statement=-1 -c log_min_messages=panic' });

my $printed = '';

# adopt protects one table with a key that goes to the server as a parameter. No statement but that one
# names the schema, by which the log knows what to withhold.
sub adopt
{
	my ($key, $call) = @_;
	my $wire = CauceWire->connect($cluster, 'postgres');
	$wire->simple('SET search_path = cauce, public');
	$wire->simple('BEGIN');
	my $given = $wire->execute(q{SELECT set_config('cauce.pgcrypto_key', $1, true)}, [$key]);
	my $seen = $wire->simple(q{SELECT current_setting('cauce.pgcrypto_key'), (SELECT count(*) FROM pg_settings WHERE name LIKE '%pgcrypto_key')});
	my $activity = $cluster->superuser("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%' || 'qzsecret' || 'key%'");
	my $result = $wire->execute("SELECT protect($call)", []);
	$wire->simple('COMMIT');
	$wire->close;
	$result->{seen} = join '|', @{ $given->{rows}[0] }, @{ $seen->{rows}[0] }, $activity;
	$printed .= $result->{error};
	return $result;
}

# as_it_was tells whether a table still has its bytea column and every row.
sub as_it_was
{
	my ($table) = @_;
	return $cluster->superuser("SELECT min(pg_typeof(words)::text), (SELECT count(*) FROM cauce.protected_table) FROM public.$table") eq 'bytea|0';
}

subtest 'what does not decrypt' => sub {
	for my $case (
		[ 'another key', "$key!", q{'public.pgp', 's', '{words}', 'pgp_sym_encrypt'} ],
		[ 'another key, raw', "$key!", q{'public.raw', 's', '{words}', 'encrypt-aes'} ],
		[ 'another method', $key, q{'public.raw', 's', '{words}', 'pgp_sym_encrypt'} ],
		[ 'another cipher', $key, q{'public.raw', 's', '{words}', 'encrypt-bf'} ],
		[ 'a cipher that is none', $key, q{'public.raw', 's', '{words}', 'encrypt-qz'} ],
		[ 'what is no text', $key, q{'public.binary', 's', '{words}', 'encrypt-aes'} ],
		[ 'what is no text, by PGP', $key, q{'public.pgp_binary', 's', '{words}', 'pgp_sym_encrypt'} ])
	{
		my ($what, $with, $call) = @$case;
		my $result = adopt($with, $call);
		is($result->{sqlstate}, '39000', $what);
		like($result->{error}, qr/does not decrypt to text.*\nMethod .*\nIs it this key/s, 'says so and what to try');
		unlike($result->{error}, qr/\\x|0xff/i, 'and shows no byte') if $what =~ /no text/;
		my ($table) = $call =~ /public\.(\w+)/;
		ok(as_it_was($table), 'nothing has changed');
	}
	is(adopt($key, q{'public.raw', 's', '{words}', 'pgp_pub_encrypt'})->{sqlstate}, '22023', 'a method that cannot be undone here');
	is($cluster->try_sql(postgres => undef, q{SELECT cauce.protect('public.raw', 's', '{words}', 'encrypt-aes')})->{sqlstate}, '55000', 'no key at all');
};

subtest 'what does' => sub {
	my $done = adopt($key, q{'public.pgp', 's', '{words,plain}', 'pgp_sym_encrypt'});
	is($done->{sqlstate}, '', 'pgp_sym_encrypt') or diag $done->{error};
	is($done->{seen}, '(set)|(set)|0|0', 'the setting says that it is set, pg_settings not even that, pg_stat_activity nothing');
	is($cluster->sql(app => $token, q{SELECT count(*), count(*) FILTER (WHERE words = 'qzpgcrypto é ' || n AND plain = 'qzpgcrypto plain'), count(words), max(length(words)) FROM public.pgp}),
		'53|50|52|50000', 'each value opens for its owner, beside what was plain');
	$done = adopt($key, q{'public.raw', 's', '{words}', 'encrypt-aes'});
	is($done->{sqlstate}, '', 'encrypt()') or diag $done->{error};
	is($cluster->sql(app => $token, q{SELECT count(*) FILTER (WHERE words = 'qzpgcrypto ' || n) FROM public.raw}), '50', 'opens, too');
	is($cluster->superuser("SELECT count(*) FROM cauce.verify('public.$_')"), '0', "$_ is bound") for qw(pgp raw);
};

subtest 'the key' => sub {
	is($cluster->try_sql(app => undef, q{SELECT set_config('cauce.pgcrypto_key', 'x', true)})->{sqlstate}, '42501', 'an application does not set one');
	is($cluster->try_sql(app => undef, q{SELECT cauce.pgcrypto_key()})->{sqlstate}, '42501', 'nor read one');
	for my $where ('ROLE app', 'DATABASE cauce', 'ROLE ALL')
	{
		isnt($cluster->try_sql(postgres => undef, "ALTER $where SET cauce.pgcrypto_key = 'x'")->{sqlstate}, '', "it is not stored with $where");
	}
	isnt($cluster->try_sql(postgres => undef, q{ALTER SYSTEM SET cauce.pgcrypto_key = 'x'})->{sqlstate}, '', 'nor in a file');
	my $session = CauceSession->open($cluster, postgres => undef);
	$session->query(q{SELECT set_config('cauce.pgcrypto_key', 'x', false) \g /dev/null});
	is($session->query('SHOW cauce.pgcrypto_key;'), '(set)', 'SHOW hides it');
	unlike($session->query('SHOW ALL;'), qr/pgcrypto_key/, 'SHOW ALL hides that there is such a thing');
	is($session->query(q{BEGIN; SELECT set_config('cauce.pgcrypto_key', '', false) \g /dev/null
		COMMIT; SHOW cauce.pgcrypto_key;}), '', 'and it can be taken back');
	$session->close;
};

unlike($printed, qr/$key|$canary/, 'no message told key or content');
my $log = $cluster->log;
like($log, qr/duration/, 'the log was wordy');
unlike($log, qr/$key/, 'and has no key');
unlike($log, qr/$canary/, 'nor content');

done_testing;
