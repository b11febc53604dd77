# What protect() made of a table outlives a dump and its restoration, other columns that come and go, new
# names, partitions attached and detached; and a table that is dropped leaves nothing behind.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my %token = map { $_ => $cluster->token($_) } qw(north-pro south-pro);
my $canary = 'qzlasting';
my %session = map { $_ => $cluster->sql(app => $token{$_}, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id}) } qw(north-pro south-pro);
$cluster->superuser(qq{
	CREATE TABLE public.note (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), session_id uuid, words text);
	INSERT INTO public.note (session_id, words) SELECT CASE WHEN n % 2 = 0 THEN '$session{'north-pro'}'::uuid ELSE '$session{'south-pro'}' END, '$canary ' || n FROM generate_series(1, 20) n;
	CREATE TABLE public.log (n int PRIMARY KEY, session_id uuid, words text) PARTITION BY RANGE (n);
	CREATE TABLE public.log_1 PARTITION OF public.log FOR VALUES FROM (1) TO (100);
	INSERT INTO public.log SELECT n, '$session{'north-pro'}', '$canary ' || n FROM generate_series(1, 20) n;
	CREATE TABLE public.half (n int PRIMARY KEY, session_id uuid, words text);
	INSERT INTO public.half SELECT n, '$session{'north-pro'}', '$canary ' || n FROM generate_series(1, 20) n;
	GRANT ALL ON public.note, public.log, public.half TO app;
	SELECT cauce.protect('public.note', 'session_id', '{words}'), cauce.protect('public.log', 'session_id', '{words}');
	SELECT cauce.adopt_begin('public.half', 'session_id', '{words}'), cauce.adopt_batch('public.half', 1000)});

subtest 'dumped and restored' => sub {
	my $file = $cluster->pgdata . '/../run/dump.sql';
	my $dump = $cluster->as_postgres('pg_dump', '-f', $file, '-d', $cluster->dsn('postgres'), '-e', 'cauce', '-e', 'pgcrypto');
	is($dump->{status}, 0, 'pg_dump') or diag $dump->{err};
	is($cluster->as_postgres('grep', '-c', $canary, $file)->{out}, "20\n", 'holds in the clear what is being adopted, and nothing else');
	$cluster->superuser('CREATE DATABASE copy', database => 'postgres');
	my $restore = $cluster->as_postgres('psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', $file, '-d', $cluster->dsn('postgres', 'copy'));
	is($restore->{status}, 0, 'it is restored') or diag $restore->{err};
	for my $what (
		q{SELECT * FROM cauce.protected_table ORDER BY "table"::text},
		q{SELECT count(*), md5(string_agg(format('%s', n), '' ORDER BY id)) FROM public.note n},
		q{SELECT tgrelid::regclass, tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND tgfoid::regproc::text LIKE 'cauce.%' ORDER BY tgrelid::regclass::text, 2},
		q{SELECT * FROM pg_policies WHERE schemaname = 'public' ORDER BY 2, 3},
		q{SELECT conname, convalidated, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid IN ('public.note'::regclass, 'public.log'::regclass, 'public.half'::regclass) ORDER BY conrelid::regclass::text, 1})
	{
		is($cluster->superuser($what, database => 'copy'), $cluster->superuser($what), 'the same: ' . substr $what, 0, 40);
	}
	is($cluster->superuser("SELECT * FROM cauce.verify('public.$_')", database => 'copy'), '', "$_ is bound there") for qw(note log half);
	is($cluster->sql(app => $token{'south-pro'}, "SELECT count(*), min(left(words, 9)) FROM public.note", database => 'copy'), "10|$canary", 'its owner reads it there');
	is($cluster->sql(app => $token{'north-pro'}, "DELETE FROM cauce.session; SELECT counts->'public.note', counts->'public.log', counts->'public.half', (SELECT count(*) FROM public.note) FROM cauce.erasure_certificate", database => 'copy'),
		'10|20|20|0', 'and erases it');
	$cluster->superuser(qq{INSERT INTO public.half (n, session_id, words) VALUES (1, '$session{'south-pro'}', '$canary')}, database => 'copy');
	is($cluster->try_sql(postgres => undef, q{CALL cauce.protect_gradually('public.half', 'session_id', '{words}')}, database => 'copy')->{status}, 0, 'an adoption goes on there');
	is($cluster->sql(app => $token{'south-pro'}, 'SELECT words FROM public.half', database => 'copy'), $canary, 'to its end');
	};

subtest 'other columns' => sub {
	$cluster->superuser('ALTER TABLE public.note ADD mood text, ADD n int DEFAULT 3');
	is($cluster->sql(app => $token{'north-pro'}, "UPDATE public.note SET mood = 'good'; SELECT count(*), min(mood), min(n) FROM public.note"), '10|good|3', 'come');
	$cluster->superuser('ALTER TABLE public.note DROP mood, DROP n, ADD more cauce.encrypted_text');
	is($cluster->sql(app => $token{'north-pro'}, "UPDATE public.note SET more = '$canary more'; SELECT min(more::text) FROM public.note"), "$canary more", 'go, and are sealed if they are of that type');
	is($cluster->superuser(q{SELECT * FROM cauce.verify('public.note')}), '', 'in their place');
};

subtest 'new names' => sub {
	my $insert = "INSERT INTO public.note (visit, words) VALUES ('$session{'north-pro'}', '$canary new') RETURNING words";
	$cluster->superuser('ALTER TABLE public.note RENAME session_id TO visit');
	is($cluster->sql(app => $token{'north-pro'}, $insert), "$canary new", q{the session's column is found whatever its name});
	is($cluster->superuser(q{SELECT session_column FROM cauce.protected_table WHERE "table" = 'public.note'::regclass}), 'visit', 'and listed so');
	is($cluster->superuser(q{SELECT * FROM cauce.verify('public.note')}), '', 'nothing is bound to it');
	$cluster->superuser('ALTER TABLE public.note ADD session_id uuid; ALTER TABLE public.note RENAME account_id TO tenant');
	is($cluster->sql(app => $token{'north-pro'}, $insert), "$canary new", 'nor does another column of the old name, or an account under a new one, mislead');
	is($cluster->try_sql(app => $token{'north-pro'}, $insert =~ s/$session{'north-pro'}/$session{'south-pro'}/r)->{sqlstate}, '23503', 'into an own session only');

	$cluster->superuser('ALTER TABLE public.note RENAME CONSTRAINT cauce_session TO of_session; ALTER TRIGGER zz_cauce_seal ON public.note RENAME TO zz_seal');
	is($cluster->superuser(q{SELECT account_column, session_column FROM cauce.protected_table WHERE "table" = 'public.note'::regclass}), 'tenant|visit', 'the table stays listed whatever its constraint and trigger are called');
	$cluster->superuser('ALTER TRIGGER zz_seal ON public.note RENAME TO zz_cauce_seal; ALTER TABLE public.note RENAME words TO said');
	is($cluster->superuser(q{SELECT problem, count(*) FROM cauce.verify('public.note') GROUP BY 1}), 'another row|22', 'values are bound to the name of their column');
	is($cluster->sql(app => $token{'north-pro'}, 'SELECT count(said::text) FROM public.note'), '12', 'and open all the same');
	$cluster->sql(app => $token{'south-pro'}, 'UPDATE public.note SET said = said');
	is($cluster->superuser(q{SELECT problem, count(*) FROM cauce.verify('public.note') GROUP BY 1}), 'another row|12', 'until their owner has written them anew');
	my $rebind = sub { return $cluster->try_sql(postgres => undef, "$_[0]; SELECT cauce.rebind('public.note', $_[1])") };
	my $swap = qq{BEGIN; SET LOCAL session_replication_role = replica;
		UPDATE public.note a SET said = b.said FROM public.note b WHERE a.visit = '$session{'north-pro'}' AND b.visit = a.visit AND a.id <> b.id; SET LOCAL session_replication_role = origin};
	is($rebind->($swap, q{"column" => 'said', former_column => 'words'})->{sqlstate}, '42501', 'a value that was carried to another row is not bound by rebind()');
	is($rebind->('BEGIN', q{"column" => 'said', former_column => 'word'})->{sqlstate}, '42501', 'nor one under another name than the former');
	is($rebind->('BEGIN', q{"column" => 'visit', former_column => 'words'})->{sqlstate}, '42501', 'nor what is of another column');
	is($cluster->try_sql(app => $token{'north-pro'}, q{SELECT cauce.rebind('public.note')})->{sqlstate}, '42501', 'nor by an application');
	is($rebind->('', q{"column" => 'said', former_column => 'words'})->{out}, '22', 'but what was renamed is');
	is($cluster->superuser(q{SELECT * FROM cauce.verify('public.note')}), '', 'for everybody');
	$cluster->superuser('CREATE SCHEMA archive; ALTER TABLE public.note SET SCHEMA archive; ALTER TABLE archive.note RENAME TO notice');
	is($cluster->superuser(q{SELECT count(*) FROM cauce.verify('archive.notice')}), '32', 'a table that was renamed');
	is($cluster->superuser(q{SELECT cauce.rebind('archive.notice', 'public', 'note'); SELECT * FROM cauce.verify('archive.notice')}), '22', 'is bound anew, too');
	is($cluster->superuser(q{SELECT tgenabled, tgnargs FROM pg_trigger WHERE tgrelid = 'archive.notice'::regclass AND tgname = 'zz_cauce_seal'}), 'O|1', 'by a trigger that is as it was');
	$cluster->superuser(q{ALTER TABLE archive.notice RENAME TO note; ALTER TABLE archive.note SET SCHEMA public; SELECT cauce.rebind('public.note', 'archive', 'notice')});
	my $own = $cluster->sql(app => $token{'north-pro'}, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
	$cluster->sql(app => $token{'north-pro'}, "INSERT INTO public.note (visit, said) VALUES ('$own', 'a'); DELETE FROM cauce.session WHERE id = '$own'");
	is($cluster->sql(app => $token{'north-pro'}, q{SELECT counts->'public.note' FROM cauce.erasure_certificate ORDER BY erased_at DESC LIMIT 1}), '1', 'erasure counts it as before');
};

subtest 'new keys' => sub {
	my $read = q{SELECT count(said::text), md5(string_agg(said, ',' ORDER BY id)) FROM public.note};
	my $before = $cluster->sql(app => $token{'north-pro'}, $read);
	# From here on only: the worker would write into a database that a dump is being restored into.
	$cluster->configure(q{cauce.retention_naptime = '1s'});
	$cluster->pg_ctl('reload');
	$cluster->superuser("UPDATE cauce.session SET legal_hold = true WHERE id = '$session{'north-pro'}'; SELECT cauce.rotate_data_keys()");
	ok($cluster->poll_until('SELECT bool_and(finished_at IS NOT NULL) FROM cauce.rotation_status', 't'), 'a rotation ends, with a session under legal hold');
	is($cluster->superuser("SELECT count(*), max(generation) FROM cauce.data_key WHERE session_id = '$session{'north-pro'}'"), '2|2', 'with a new key');
	is($cluster->sql(app => $token{'north-pro'}, $read), $before, 'and all opens under the new one');
	is($cluster->superuser("SELECT * FROM cauce.verify('public.$_')"), '', "in its place: $_") for qw(note log half);
	is($cluster->sql(postgres => $token{'north-pro'}, q{SELECT count(*) FROM public.half WHERE words = "words$cauce"}), '20', 'also what is being adopted');
	$cluster->superuser("UPDATE cauce.session SET legal_hold = false");
};

subtest 'partitions' => sub {
	$cluster->superuser(q{CREATE TABLE public.log_2 PARTITION OF public.log FOR VALUES FROM (100) TO (200);
		CREATE TABLE public.log_3 (words cauce.encrypted_text, n int NOT NULL, account_id uuid NOT NULL, session_id uuid NOT NULL, PRIMARY KEY (n));
		ALTER TABLE public.log ATTACH PARTITION public.log_3 FOR VALUES FROM (200) TO (300)});
	is($cluster->sql(app => $token{'north-pro'}, "INSERT INTO public.log (n, session_id, words) SELECT n, '$session{'north-pro'}', '$canary ' || n FROM (VALUES (50), (150), (250)) v (n) RETURNING words"),
		"$canary 50\n$canary 150\n$canary 250", 'new ones are written');
	is($cluster->superuser(q{SELECT * FROM cauce.verify('public.log')}), '', 'and bound');
	is($cluster->sql(app => $token{'south-pro'}, 'SELECT count(*) FROM public.log'), '0', 'by their owner alone');
	$cluster->superuser('ALTER TABLE public.log DETACH PARTITION public.log_2');
	is($cluster->superuser(q{SELECT count(*) FROM public.log_2 WHERE format('%s', words) LIKE 'cauce1:%'}), '1', 'one that is detached stays sealed');
	is($cluster->superuser(q{SELECT * FROM cauce.verify('public.log_2')}), '', 'and opens');
	$cluster->superuser('ALTER TABLE public.log ATTACH PARTITION public.log_2 FOR VALUES FROM (100) TO (200)');
	is($cluster->superuser(q{SELECT * FROM cauce.verify('public.log')}), '', 'attached again it is as it was');
	is($cluster->sql(app => $token{'north-pro'}, "DELETE FROM cauce.session WHERE id = '$session{'north-pro'}'; SELECT counts->'public.log' FROM cauce.erasure_certificate ORDER BY erased_at DESC LIMIT 1"), '23', 'and erased with the rest');
};

subtest 'a table that is dropped' => sub {
	$cluster->superuser('DROP TABLE public.log, public.note, public.half');
	is($cluster->superuser('SELECT count(*) FROM cauce.protected_table'), '0', 'is forgotten');
	is($cluster->try_sql(app => $token{'south-pro'}, 'DELETE FROM cauce.session')->{sqlstate}, '', 'and in nobody\'s way');
};

done_testing;
