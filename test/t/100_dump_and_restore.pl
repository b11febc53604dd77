# A dump holds sealed values alone, and restores, byte for byte, into another database where the
# owners open everything again.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my %token = map { $_ => $cluster->token($_) } qw(north-pro south-pro);

# Some of everything: live, ended, archived, erased, long, empty, NULL.
for my $subject (sort keys %token)
{
	$cluster->sql(
		app => $token{$subject},
		qq{INSERT INTO cauce.session (title, client) VALUES ('qzcanary $subject', 'qzcanary client') RETURNING id AS session \\gset
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)
			SELECT :'session', n, n, n, 'qzcanary segment ' || n FROM generate_series(1, 200) n;
		INSERT INTO cauce.report (session_id, body) VALUES (:'session', repeat('qzcanary ', 2000)), (:'session', ''), (:'session', E'tab\\tbackslash\\\\ é');
		INSERT INTO cauce.alert (session_id, kind, detail) VALUES (:'session', 'x', NULL), (:'session', 'x', 'qzcanary');
		INSERT INTO cauce.session (title, status) VALUES ('qzcanary ended', 'ended'), (NULL, 'live');
		INSERT INTO cauce.session (title) VALUES ('qzcanary archived') RETURNING id AS session \\gset
		SELECT cauce.archive_session(:'session') \\g /dev/null
		INSERT INTO cauce.session (title) VALUES ('qzcanary erased') RETURNING id AS session \\gset
		DELETE FROM cauce.session WHERE id = :'session';});
}
$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'content' WHERE name = 'north'});
$cluster->sql(app => $cluster->token('north-admin'), 'SELECT body FROM cauce.report \g /dev/null');
$cluster->sql(app => $cluster->token('north-admin'), q{SELECT cauce.invite_member('somebody')});
$cluster->sql(postgres => $token{'north-pro'}, q{SELECT cauce.break_glass(id, 'to be dumped') FROM cauce.account WHERE subject = 'solo'});
$cluster->superuser('SELECT cauce.run_retention()');
$cluster->superuser(q{INSERT INTO cauce.former_name (former_schema, former_table, "schema", "table") VALUES ('public', 'note', 'care', 'notice');
	INSERT INTO cauce.stored_bundle (account_id, session_id, digest, bytes) SELECT account_id, id, sha256(bundle), octet_length(bundle) FROM cauce.archived_session; INSERT INTO cauce.clock (seen_at) VALUES (now())});

# All but the history of this server's own runs.
my @tables = split /\n/, $cluster->superuser(
	q{SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'cauce'::regnamespace AND relkind = 'r' AND relname <> 'retention_run' ORDER BY 1});

# stored gives a digest of every table as a superuser without identity sees it: sealed.
sub stored
{
	my ($database) = @_;
	return { map { $_ => $cluster->superuser(
				"SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")), '') FROM $_ t",
				database => $database) } @tables };
}

# opened gives what an owner reads.
sub opened
{
	my ($database, $subject) = @_;
	my $all = join ' UNION ALL ', map { "SELECT to_jsonb(t)::text AS row FROM cauce.$_ t" } qw(session transcript_segment report alert account my_access_log);
	return $cluster->sql(app => $token{$subject}, "SELECT count(*), md5(string_agg(row, E'\\n' ORDER BY row COLLATE \"C\")) FROM ($all) x", database => $database);
}

my $stored = stored('cauce');
like($stored->{$_}, qr/^[1-9]/, "there is something in $_") for grep { !/alert_rule|retention_failure|key_rotation|protect_job/ } @tables;

sub dump_as
{
	my ($format) = @_;
	my $file = $cluster->pgdata . "/../run/dump.$format";
	my $result = $cluster->as_postgres('pg_dump', "-F$format", '-f', $file, '-d', $cluster->dsn('postgres'));
	is($result->{status}, 0, "pg_dump, format $format") or diag $result->{err};
	is($result->{err}, '', 'without warnings');
	return $file;
}

# restored checks a database that a dump was restored into.
sub restored
{
	my ($database) = @_;
	is_deeply(stored($database), $stored, 'every table is as it was, sealed values byte for byte');
	is(opened($database, $_), opened('cauce', $_), "$_ opens everything there") for sort keys %token;
	like(opened($database, 'north-pro'), qr/^21\d\|/, 'and that is a lot');
	is($cluster->sql(app => $token{'north-pro'}, 'SELECT bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate', database => $database),
		't', 'certificates verify');
	my $archive = $cluster->sql(app => $token{'north-pro'}, 'SELECT id FROM cauce.archived_session', database => $database);
	is($cluster->sql(app => $token{'north-pro'}, "SELECT cauce.restore_session('$archive') \\g /dev/null
		SELECT title FROM cauce.session WHERE id = '$archive'", database => $database), 'qzcanary archived', 'an archive restores');
	is($cluster->try_sql(postgres => undef, 'SELECT body::text FROM cauce.report', database => $database)->{sqlstate}, '28000', 'nobody else opens anything');
	$cluster->sql(app => $token{'south-pro'}, q{INSERT INTO cauce.session (title) VALUES ('new') RETURNING id AS session \gset
		INSERT INTO cauce.report (session_id, body) VALUES (:'session', 'new'); DELETE FROM cauce.session WHERE id = :'session'}, database => $database);
	is($cluster->superuser('SELECT archived FROM cauce.run_retention()', database => $database), '0', 'and life goes on');
	is($cluster->sql(app => $token{'south-pro'}, q{SELECT count(*) FROM cauce.erasure_certificate WHERE subject = 'session'}, database => $database), '2', 'erasure as well');
	return;
}

# What the whole cluster has once, and this test restores beside the original.
$cluster->superuser('DROP EXTENSION pg_cron');

subtest 'plain' => sub {
	my $file = dump_as('p');
	my $text = $cluster->as_postgres('cat', $file)->{out};
	unlike($text, qr/qzcanary/i, 'no word of content') or diag 'found';
	like($text, qr/cauce1:/, 'but sealed values');
	like($text, qr/CREATE EXTENSION IF NOT EXISTS cauce /, 'and the extension');
	$cluster->superuser('CREATE DATABASE cauce2');
	my $restore = $cluster->as_postgres('psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $cluster->dsn('postgres', 'cauce2'), '-f', $file);
	is($restore->{status}, 0, 'restores into an empty database') or diag $restore->{err};
	restored('cauce2') if !$restore->{status};
};

# One job: pg_restore -j does not know in which order the foreign keys of an extension's tables want their data.
subtest 'custom' => sub {
	my $file = dump_as('c');
	is($cluster->as_postgres('grep', '-ciaF', 'qzcanary', $file)->{out}, "0\n", 'no word of content');
	$cluster->superuser('CREATE DATABASE cauce3');
	my $restore = $cluster->as_postgres('pg_restore', '--exit-on-error', '-d', $cluster->dsn('postgres', 'cauce3'), $file);
	is($restore->{status}, 0, 'restores into an empty database') or diag $restore->{err};
	restored('cauce3') if !$restore->{status};
};

subtest 'data only, into a database that has the extension' => sub {
	my $file = $cluster->pgdata . '/../run/data.sql';
	my $dump = $cluster->as_postgres('pg_dump', '--data-only', '-f', $file, '-d', $cluster->dsn('postgres'));
	is($dump->{status}, 0, 'pg_dump --data-only') or diag $dump->{err};
	$cluster->superuser('CREATE DATABASE cauce4');
	$cluster->superuser('SET client_min_messages = warning; CREATE EXTENSION cauce CASCADE', database => 'cauce4');
	my $restore = $cluster->as_postgres('psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', $cluster->dsn('postgres', 'cauce4'), '-f', $file);
	is($restore->{status}, 0, 'restores') or diag $restore->{err};
	is_deeply(stored('cauce4'), $stored, 'every table is as it was') if !$restore->{status};
};

subtest 'an owner who dumps' => sub {
	local $ENV{PGOPTIONS} = "-c cauce.token=$token{'north-pro'}";
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'pg_dump', '--enable-row-security', '--data-only', '-t', 'cauce.report', '-d', $cluster->dsn('app') ], '>', \$out, '2>', \$err);
	unlike($out, qr/of south-pro/, 'gets nothing of others');
	unlike($out . $err, qr/\Q$token{'north-pro'}\E/, 'and no token is shown');
};

done_testing;
