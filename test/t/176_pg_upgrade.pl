# pg_upgrade, done as docs/operations.md says, carries sealed values and keys over as they are: owners open
# everything in the new cluster, and it goes on sealing, archiving and erasing. Retention waits meanwhile.
# $CAUCE_OLD_PG_CONFIG, where set, names the pg_config of the version to come from; $PG_CONFIG's is the new one.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $new_config = $ENV{PG_CONFIG} || 'pg_config';
my $old_config = $ENV{CAUCE_OLD_PG_CONFIG} || $new_config;
chomp(my ($old_bin, $bin) = map { scalar qx{"$_" --bindir} } $old_config, $new_config);
$ENV{PG_CONFIG} = $old_config;
my $old = CauceTest->start;
my %token = map { $_ => $old->token($_) } qw(north-pro solo);

$old->sql(app => $token{$_}, q{INSERT INTO cauce.session (title, client) VALUES ('first', 'client') RETURNING id AS session \gset
	INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) SELECT :'session', n, n, n, 'segment ' || n FROM generate_series(1, 100) n;
	INSERT INTO cauce.report (session_id, body) VALUES (:'session', (SELECT string_agg(md5(n::text), ' ') FROM generate_series(1, 1000) n)), (:'session', '');
	INSERT INTO cauce.session (title) VALUES ('archived') RETURNING id AS session \gset
	SELECT cauce.archive_session(:'session') \g /dev/null
	INSERT INTO cauce.session (title) VALUES ('erased') RETURNING id AS session \gset
	DELETE FROM cauce.session WHERE id = :'session'}) for sort keys %token;
my $literal = $old->superuser(q{CREATE TABLE public.loose (note cauce.encrypted_text); INSERT INTO public.loose VALUES ('by nobody') RETURNING note});

my @tables = split /\n/, $old->superuser(
	q{SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'cauce'::regnamespace AND relkind = 'r' AND relname <> 'retention_run' ORDER BY 1});

# stored gives a digest of every table, sealed, and how the extension is made.
sub stored
{
	my ($cluster) = @_;
	my %digest = map { $_ => $cluster->superuser(
			"SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")), '') FROM $_ t") } @tables;
	$digest{triggers} = $cluster->superuser(q{SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger
		WHERE tgrelid::regclass::text LIKE 'cauce.%' AND NOT tgisinternal ORDER BY 1, 2});
	$digest{policies} = $cluster->superuser(q{SELECT tablename, policyname, roles, cmd, qual, with_check FROM pg_policies WHERE schemaname = 'cauce' ORDER BY 1, 2});
	# From 17 on the types of rows and arrays are listed as members, too.
	$digest{members} = $cluster->superuser(q{SELECT count(*) FROM pg_depend WHERE deptype = 'e' AND classid <> 'pg_type'::regclass});
	return \%digest;
}

# opened gives what an owner reads.
sub opened
{
	my ($cluster, $subject) = @_;
	my $all = join ' UNION ALL ', map { "SELECT to_jsonb(t)::text AS row FROM cauce.$_ t" } qw(session transcript_segment report account erasure_certificate);
	return $cluster->sql(app => $token{$subject}, "SELECT count(*), md5(string_agg(row, E'\\n' ORDER BY row COLLATE \"C\")) FROM ($all) x");
}

# The new cluster: nothing in it, and told where the keyring and the token keys are. It has no copy of its own.
$ENV{PG_CONFIG} = $new_config;
my $new = CauceTest->sibling_of($old);
$new->as_postgres('rm', $new->keyring_file);
$new->configure("cauce.keyring_file = '@{[$old->keyring_file]}'\ncauce.token_keys_file = '@{[$old->dir]}/keys/tokens.jwks'");
$new->sql(postgres => undef, 'DROP DATABASE cauce WITH (FORCE)', database => 'postgres');

# Due: nothing may be done about it while pg_upgrade runs either server, though a worker would come once a second.
$old->superuser(q{SET session_replication_role = replica; UPDATE cauce.session SET retain_until = now() WHERE status = 'live'});
my $stored = stored($old);
my %opened = map { $_ => opened($old, $_) } sort keys %token;
is($_->pg_ctl('stop', '-m', 'fast')->{status}, 0, 'the server stops') for $old, $new;
$_->configure('cauce.retention_naptime = 1') for $old, $new;

# upgrade runs pg_upgrade where it may leave its scripts: {status, out, err}.
sub upgrade
{
	return $new->as_postgres('sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', $new->host, "$bin/pg_upgrade", '-U', 'postgres',
		'-b', $old_bin, '-B', $bin, '-d', $old->pgdata, '-D', $new->pgdata, @_);
}

subtest 'a server that pg_upgrade runs' => sub {
	is($old->pg_ctl('start', '-o', '-b')->{status}, 0, 'starts');
	sleep 3;
	is($old->superuser(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cauce%'}), '0', 'without a retention launcher');
	is($old->superuser('SELECT count(*) FROM cauce.due_session'), '2', 'and leaves alone what is due');
	is($old->pg_ctl('stop', '-m', 'fast')->{status}, 0, 'and stops');
};

subtest 'a new cluster without cauce in shared_preload_libraries' => sub {
	$new->as_postgres('cp', '-p', $new->pgdata . '/postgresql.conf', $new->pgdata . '/postgresql.conf.good');
	$new->configure("shared_preload_libraries = ''");
	my $check = upgrade('--check');
	isnt($check->{status}, 0, 'does not pass the check');
	like($check->{out} . $check->{err}, qr/loadable libraries/, 'for that reason');
	$new->as_postgres('mv', $new->pgdata . '/postgresql.conf.good', $new->pgdata . '/postgresql.conf');
};

my $upgrade = upgrade('--no-sync');
is($upgrade->{status}, 0, 'pg_upgrade') or diag $upgrade->{out}, $upgrade->{err};

$new->configure("cauce.retention_naptime = '1d'");
is($new->pg_ctl('start')->{status}, 0, 'the new cluster starts') or BAIL_OUT($new->log);
is_deeply(stored($new), $stored, 'everything is as it was: values, keys, triggers, policies, what belongs to the extension');
is(opened($new, $_), $opened{$_}, "$_ opens everything") for sort keys %token;
is($new->superuser('SELECT note FROM public.loose'), $literal, 'tables of others have their sealed values');
is($new->superuser('SELECT count(*) FROM cauce.due_session'), '2', 'what is due was left alone');
ok($new->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cauce retention launcher'}, '1'), 'the launcher runs');

subtest 'life goes on' => sub {
	is($new->superuser('SELECT archived FROM cauce.run_retention()'), '2', 'retention');
	is($new->sql(app => $token{solo}, q{SELECT cauce.restore_session(id) FROM cauce.archived_session \g /dev/null
		SELECT count(*), count(*) FILTER (WHERE title IN ('first', 'archived')) FROM cauce.session}), '2|2', 'archives restore');
	$new->sql(app => $token{solo}, q{INSERT INTO cauce.session (title) VALUES ('new') RETURNING id AS session \gset
		INSERT INTO cauce.report (session_id, body) VALUES (:'session', 'new'); DELETE FROM cauce.session WHERE id = :'session'});
	is($new->sql(app => $token{solo}, 'SELECT count(*), bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate'), '2|t', 'erasure');
	is($new->try_sql(postgres => undef, 'SELECT title::text FROM cauce.session')->{sqlstate}, '28000', 'nothing opens without identity');
	is($new->superuser(q{SELECT count(*) FROM pg_stats WHERE schemaname = 'cauce' AND attname IN ('title', 'body')}), '0', 'nothing is collected of content');
	is($new->sql(app => $token{solo}, q{SELECT count(*) FROM cauce.session WHERE title = 'first'}), '1', 'and searches find');
};

done_testing;
