# Odd but possible requests get a clear error, and nobody else pays for them.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = 1\n");
my $token = $cluster->token('north-pro');

subtest 'sessions outside of all time' => sub {
	for my $moment ('infinity', '-infinity', '3000-01-01', '1500-01-01')
	{
		my $result = $cluster->try_sql(app => $token, "INSERT INTO cauce.session (started_at) VALUES ('$moment')");
		is($result->{sqlstate}, '22008', $moment);
	}
	is($cluster->superuser('SELECT count(*) FROM cauce.due_session'), '0', 'the views of operators work on');
};

subtest 'a new session under the id of an archived one' => sub {
	my $id = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('mine') RETURNING id});
	$cluster->sql(app => $token, "SELECT cauce.archive_session('$id')");
	is($cluster->try_sql(app => $token, "INSERT INTO cauce.session (id, retention_days) VALUES ('$id', 1)")->{sqlstate}, '23505', 'is refused to its owner');
	my $account = $cluster->sql(app => $token, 'SELECT cauce.account_id()');
	is($cluster->try_sql(postgres => undef, "INSERT INTO cauce.session (account_id, id, title) VALUES ('$account', '$id', 'x')")->{sqlstate}, '23505', 'and to a superuser');
	$cluster->sql(app => $token, "SELECT cauce.restore_session('$id')");
	is($cluster->sql(app => $token, "SELECT title FROM cauce.session WHERE id = '$id'"), 'mine', 'the archive opens as before');
};

subtest 'a session that is there already' => sub {
	my $id = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('first') RETURNING id});
	is($cluster->try_sql(app => $token, "INSERT INTO cauce.session (id) VALUES ('$id')")->{sqlstate}, '23505', 'is not made again');
	is($cluster->sql(app => $token, "INSERT INTO cauce.session (id, title) VALUES ('$id', 'second') ON CONFLICT DO NOTHING; SELECT title FROM cauce.session WHERE id = '$id'"),
		'first', 'ON CONFLICT DO NOTHING leaves it');
	is($cluster->sql(app => $token, "INSERT INTO cauce.session (id, title) VALUES ('$id', 'third') ON CONFLICT (account_id, id) DO UPDATE SET title = excluded.title RETURNING title"),
		'third', 'ON CONFLICT DO UPDATE changes it');
};

subtest 'a schema that only looks like pg_cron' => sub {
	$cluster->superuser('CREATE DATABASE elsewhere');
	my $trap = q{CREATE SCHEMA cron; CREATE TABLE cron.job (jobid bigint, jobname text);
		CREATE FUNCTION cron.schedule(text, text, text) RETURNS bigint LANGUAGE plpgsql AS
		$$ BEGIN EXECUTE 'CREATE ROLE trapped SUPERUSER'; RETURN 1; END $$;};
	my $result = $cluster->try_sql(postgres => undef, "CREATE EXTENSION cauce CASCADE; $trap SELECT cauce.schedule_retention('* * * * *')", database => 'elsewhere');
	is($result->{sqlstate}, '', 'is not called');
	is($cluster->superuser('SELECT command, database FROM cron.job'), 'SELECT cauce.run_retention()|elsewhere', 'but pg_cron, where it is');
	is($cluster->try_sql(postgres => undef, 'SELECT cauce.unschedule_retention()', database => 'elsewhere')->{out}, 't', 'nor asked');
	is($cluster->superuser('SELECT count(*) FROM cron.job'), '0', 'of which there it is');
	is($cluster->superuser(q{SELECT count(*) FROM pg_roles WHERE rolname = 'trapped'}), '0', 'with our rights');
};

subtest 'a keyring that cannot be extended' => sub {
	# Epochs that end soon, so that the worker would add some, in a directory that it cannot write.
	my $keyring = $cluster->keyring_file;
	(my $directory = $keyring) =~ s{/[^/]*$}{};
	my $id = $cluster->sql(app => $token, 'INSERT INTO cauce.session (retention_days) VALUES (1) RETURNING id');
	# In one go, or the worker makes them anew in between.
	is($cluster->as_postgres('sh', '-c', 'perl -0pi -e "$1" "$2" && chmod 500 "$3"', 'sh', 's/\{[^{}]*"epoch-203[7-9][^{}]*\},\s*//g', $keyring, $directory)->{status}, 0,
		'the last epochs are gone from the file, and its directory is read-only');
	$cluster->superuser("UPDATE cauce.session SET started_at = now() - interval '2 days' WHERE id = '$id'");
	ok($cluster->poll_until("SELECT count(*) FROM cauce.archived_session WHERE id = '$id'", '1'), 'retention goes on');
	# Keys come after what is due.
	for (1 .. 100)
	{
		last if $cluster->log =~ /could not extend the keyring/;
		select undef, undef, undef, 0.1;
	}
	like($cluster->log, qr/WARNING:.*could not extend the keyring/, 'and a warning says what is wrong');
	$cluster->as_postgres('chmod', '700', $directory);
};

done_testing;
