# A dump that several jobs made is restored by several jobs into another server, which has a copy of the
# keyring: sealed values and keys byte for byte, opened by their owners. Without that copy nothing opens.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $source = CauceTest->start;
my %token = map { $_ => $source->token($_) } qw(north-pro south-pro);

# Enough, and in as many tables, that jobs do work side by side; parents are smaller than children.
for my $subject (sort keys %token)
{
	$source->sql(
		app => $token{$subject},
		qq{INSERT INTO cauce.session (title, client) SELECT 'qzcanary $subject', 'client ' || n FROM generate_series(1, 50) n;
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)
			SELECT id, n, n, n, 'qzcanary segment ' || n FROM cauce.session, generate_series(1, 20) n;
		INSERT INTO cauce.report (session_id, body) SELECT id, repeat('qzcanary ', 300) FROM cauce.session;
		INSERT INTO cauce.alert (session_id, kind, detail) SELECT id, 'x', 'qzcanary' FROM cauce.session;
		INSERT INTO cauce.alert_rule (account_id, pattern, kind) VALUES (cauce.account_id(), 'x', 'x');
		INSERT INTO cauce.session (title) VALUES ('qzcanary archived') RETURNING id AS session \\gset
		SELECT cauce.archive_session(:'session') \\g /dev/null
		INSERT INTO cauce.session (title) VALUES ('qzcanary erased') RETURNING id AS session \\gset
		DELETE FROM cauce.session WHERE id = :'session';});
}

my @tables = split /\n/, $source->superuser(
	q{SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'cauce'::regnamespace AND relkind = 'r' AND relname <> 'retention_run' ORDER BY 1});

# stored gives a digest of every table, sealed, as a superuser without identity sees it.
sub stored
{
	my ($cluster, $database) = @_;
	return { map { $_ => $cluster->superuser(
				"SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")), '') FROM $_ t",
				database => $database) } @tables };
}

# opened gives what an owner reads.
sub opened
{
	my ($cluster, $database, $subject) = @_;
	my $all = join ' UNION ALL ', map { "SELECT to_jsonb(t)::text AS row FROM cauce.$_ t" } qw(session transcript_segment report alert account);
	return $cluster->sql(app => $token{$subject}, "SELECT count(*), md5(string_agg(row, E'\\n' ORDER BY row COLLATE \"C\")) FROM ($all) x", database => $database);
}

my $dump = $source->dir . '/run/dump';
my $made = $source->as_postgres('pg_dump', '-Fd', '--jobs', '4', '-Z0', '-e', 'cauce', '-e', 'pgcrypto', '-f', $dump, '-d', $source->dsn('postgres'));
is($made->{status}, 0, 'pg_dump with four jobs') or diag $made->{err};
is($made->{err}, '', 'without warnings');
is($source->as_postgres('grep', '-rciaF', 'qzcanary', $dump)->{out} =~ s/^.*:0\n//gmr, '', 'no word of content in any of its files');
my $stored = stored($source, 'cauce');

my $target = CauceTest->sibling_of($source);
$target->superuser('CREATE ROLE app LOGIN');

# restored restores into a new database of the target, with four jobs: its status and messages. pg_restore does
# not know in which order an extension's tables want their data; docs/operations.md says more.
sub restored
{
	my ($database) = @_;
	$target->superuser("CREATE DATABASE $database");
	return $target->as_postgres('env', 'PGOPTIONS=-c session_replication_role=replica', 'pg_restore', '--exit-on-error', '--jobs', '4',
		'-d', $target->dsn('postgres', $database), $dump);
}

my $restore = restored('whole');
is($restore->{status}, 0, 'pg_restore with four jobs, as the manual says') or diag $restore->{err};
is_deeply(stored($target, 'whole'), $stored, 'every table is as it was, sealed values and keys byte for byte');

# triggers lists how each trigger is enabled.
sub triggers
{
	my ($cluster, $database) = @_;
	return $cluster->superuser(q{SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger
		WHERE tgrelid::regclass::text LIKE 'cauce.%' AND NOT tgisinternal ORDER BY 1, 2}, database => $database);
}
is(triggers($target, 'whole'), triggers($source, 'cauce'), 'and every trigger is on as it was');

subtest 'on the other server' => sub {
	$target->superuser('GRANT cauce_app TO app');
	is(opened($target, 'whole', $_), opened($source, 'cauce', $_), "$_ opens everything") for sort keys %token;
	like(opened($target, 'whole', 'north-pro'), qr/^11\d\d\|/, 'and that is a lot');
	is($target->sql(app => $token{'north-pro'}, 'SELECT count(*), bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate', database => 'whole'),
		'1|t', 'certificates verify');
	my $archive = $target->sql(app => $token{'north-pro'}, 'SELECT id FROM cauce.archived_session', database => 'whole');
	is($target->sql(app => $token{'north-pro'}, "SELECT cauce.restore_session('$archive') \\g /dev/null
		SELECT title FROM cauce.session WHERE id = '$archive'", database => 'whole'), 'qzcanary archived', 'an archive restores');
	is($target->superuser(q{SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT convalidated}, database => 'whole'), '0', 'no foreign key is in doubt');
	my $orphan = $target->try_sql(app => $token{'north-pro'}, q{INSERT INTO cauce.report (session_id, body) VALUES (gen_random_uuid(), 'x')}, database => 'whole');
	is($orphan->{sqlstate}, '23503', 'and they are in force');
	my $foreign = $target->sql(app => $token{'north-pro'}, q{SELECT count(*) FROM cauce.report WHERE account_id <> cauce.account_id()}, database => 'whole');
	is($foreign, '0', 'as is row-level security');
};

subtest 'without the keyring' => sub {
	$target->as_postgres('mv', $target->keyring_file, $target->keyring_file . '.away');
	my $restore = restored('sealed');
	is($restore->{status}, 0, 'a dump restores all the same') or diag $restore->{err};
	is_deeply(stored($target, 'sealed'), $stored, 'as it was');
	is($target->try_sql(app => $token{'north-pro'}, 'SELECT body FROM cauce.report', database => 'sealed')->{sqlstate}, '55000', 'and opens for nobody');
	like($target->superuser('SELECT body FROM cauce.report LIMIT 1', database => 'sealed'), qr/^cauce1:/, 'while the sealed form is there');
	$target->as_postgres('mv', $target->keyring_file . '.away', $target->keyring_file);
	is(opened($target, 'sealed', 'north-pro'), opened($source, 'cauce', 'north-pro'), 'until the keyring is back');
};

subtest 'row-level security' => sub {
	# owner_dumps runs pg_dump as the application: {status, out, err}.
	my $owner_dumps = sub {
		local $ENV{PGOPTIONS} = "-c cauce.token=$token{'north-pro'}";
		my ($out, $err) = ('', '');
		IPC::Run::run([ 'pg_dump', '--data-only', '-t', 'cauce.report', @_, '-d', $source->dsn('app') ], '>', \$out, '2>', \$err);
		return { status => $? >> 8, out => $out, err => $err };
	};
	my $all = $owner_dumps->();
	isnt($all->{status}, 0, 'an application that wants to dump all rows');
	like($all->{err}, qr/row-level security/, 'is refused');
	unlike($all->{out} . $all->{err}, qr/qzcanary|cauce1:/, 'before it gets one');
	my $own = $owner_dumps->('--enable-row-security');
	is($own->{status}, 0, 'its own rows it may have') or diag $own->{err};
	my $account = $source->sql(app => $token{'north-pro'}, 'SELECT cauce.account_id()');
	is(scalar(() = $own->{out} =~ /^\Q$account\E\t/mg), 50, 'all of them');
	is(scalar(() = $own->{out} =~ /^[0-9a-f-]{36}\t/mg), 50, 'and no other');
	unlike($own->{err} . $all->{err}, qr/eyJ/, 'no token is shown');
};

done_testing;
