# The launcher looks after every database that has the extension: those that were made, renamed or copied
# meanwhile; those that are dropped, that take no connections, that are templates stand in nobody's way. That it
# finds no worker slot is said with a hint, and shown. pg_cron is reached wherever it lives.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = 1");
my $token = $cluster->token('north-pro');
$cluster->superuser('CREATE ROLE ops LOGIN IN ROLE cauce_operator');

# make_database makes one with an account; new_due puts a session there that is due.
sub make_database
{
	my ($name) = @_;
	$cluster->superuser("CREATE DATABASE $name");
	$cluster->superuser("SET client_min_messages = warning; CREATE EXTENSION cauce CASCADE; SELECT cauce.create_account('north-pro')", database => $name);
	return;
}

sub new_due
{
	my ($name) = @_;
	my $id = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id}, database => $name);
	$cluster->superuser("UPDATE cauce.session SET started_at = now() - interval '90 days' WHERE id = '$id'", database => $name);
	return $id;
}

# archived waits until it is.
sub archived
{
	my ($name, $id, $what) = @_;
	ok($cluster->poll_until("SELECT count(*) FROM cauce.archived_session WHERE id = '$id'", '1', 20, database => $name), $what);
	return;
}

make_database('first');
archived('first', new_due('first'), 'one that was made');
$cluster->superuser('ALTER DATABASE first RENAME TO second');
archived('second', new_due('second'), 'one that was renamed');

subtest 'a template' => sub {
	$cluster->superuser(q{ALTER DATABASE second IS_TEMPLATE true});
	sleep 2;
	my $failed = 0;
	for my $n (1 .. 5)
	{
		$failed++ if $cluster->try_sql(postgres => undef, "CREATE DATABASE copy_$n TEMPLATE second")->{status};
	}
	is($failed, 0, 'is not kept busy');
	archived('copy_3', new_due('copy_3'), 'what is made of it is looked after');
	$cluster->superuser('ALTER DATABASE second IS_TEMPLATE false');
	archived('second', new_due('second'), 'and so is what was one');
};

subtest 'one that takes no connections' => sub {
	my $id = new_due('copy_1');
	$cluster->superuser('ALTER DATABASE copy_1 ALLOW_CONNECTIONS false');
	archived('copy_2', new_due('copy_2'), 'stands in nobody\'s way');
	$cluster->superuser('ALTER DATABASE copy_1 ALLOW_CONNECTIONS true');
	archived('copy_1', $id, 'and has its turn when it does');
};

subtest 'one that is dropped' => sub {
	my $failed = 0;
	for my $n (4, 5)
	{
		$failed++ if $cluster->try_sql(postgres => undef, "DROP DATABASE copy_$n")->{status};
	}
	is($failed, 0, 'can be');
	archived('copy_2', new_due('copy_2'), 'and stands in nobody\'s way');
};

subtest 'one whose extension is dropped' => sub {
	make_database('bare');
	$cluster->superuser('SET client_min_messages = warning; DROP EXTENSION cauce CASCADE', database => 'bare');
	archived('copy_2', new_due('copy_2'), 'is passed by');
};

subtest 'pg_cron in another database' => sub {
	my $jobs = 'SELECT schedule, command, database, active FROM cron.job';
	is($cluster->try_sql(app => $token, q{SELECT cauce.schedule_retention('* * * * *')}, database => 'second')->{sqlstate}, '42501', 'is no application\'s business');
	my $job = $cluster->sql(ops => undef, q{SELECT cauce.schedule_retention('17 3 * * *')}, database => 'second');
	like($job, qr/^\d+$/, 'is told');
	is($cluster->superuser($jobs), '17 3 * * *|SELECT cauce.run_retention()|second|t', 'what to run, and where');
	is($cluster->sql(ops => undef, q{SELECT cauce.schedule_retention('18 4 * * *')}, database => 'second'), $job, 'again, the job changes');
	is($cluster->superuser($jobs), '18 4 * * *|SELECT cauce.run_retention()|second|t', 'and is one');
	$cluster->sql(ops => undef, q{SELECT cauce.schedule_retention('1 1 * * *')});
	is($cluster->superuser("$jobs ORDER BY 1"), "1 1 * * *|SELECT cauce.run_retention()|cauce|t\n18 4 * * *|SELECT cauce.run_retention()|second|t", 'each database has its own');
	is($cluster->sql(ops => undef, 'SELECT cauce.unschedule_retention(), cauce.unschedule_retention()', database => 'second'), 't|f', 'it ends, once');
	is($cluster->superuser($jobs), '1 1 * * *|SELECT cauce.run_retention()|cauce|t', 'and no other');
	my $wrong = $cluster->try_sql(ops => undef, q{SELECT cauce.schedule_retention('never')}, database => 'second');
	like($wrong->{err}, qr/pg_cron in database "cauce" could not be told.*invalid schedule/s, 'what pg_cron does not understand is said');
	is($cluster->try_sql(ops => undef, q{SELECT cauce.schedule_retention(NULL)}, database => $_)->{sqlstate}, '22004', 'nothing is no schedule') for qw(cauce second);
	# It runs there: pg_cron looks once a minute, so the job is run as pg_cron would.
	$cluster->configure("cauce.retention_naptime = '1d'");
	$cluster->pg_ctl('reload');
	sleep 2;
	my $id = new_due('second');
	$cluster->sql(ops => undef, q{SELECT cauce.schedule_retention('* * * * *')}, database => 'second');
	ok($cluster->poll_until("SELECT count(*) FROM cauce.archived_session WHERE id = '$id'", '1', 75, database => 'second'), 'pg_cron runs it');
	$cluster->configure('cauce.retention_naptime = 1');
	$cluster->superuser('DROP EXTENSION pg_cron');
	my $none = $cluster->try_sql(ops => undef, q{SELECT cauce.schedule_retention('17 3 * * *')}, database => 'second');
	is($none->{sqlstate}, '55000', 'where it is not installed');
	like($none->{err}, qr/not installed in database "cauce".*CREATE EXTENSION pg_cron/s, 'the error says what to do');
};

subtest 'no slot for a worker' => sub {
	is($cluster->superuser('SELECT no_worker_since FROM cauce.retention_status'), '', 'there are some');
	# The launchers of PostgreSQL, pg_cron and cauce take all there are.
	$cluster->configure("shared_preload_libraries = 'cauce'\nmax_worker_processes = 2\nmax_logical_replication_workers = 4\nmax_parallel_workers = 0");
	$cluster->restart;
	ok($cluster->poll_until('SELECT no_worker_since IS NOT NULL FROM cauce.retention_status', 't', 20), 'retention_status shows that there is none');
	like($cluster->log, qr/WARNING:.*no background worker slot is free for retention\n.*HINT:.*max_worker_processes/, 'the log has a hint');
	is($cluster->try_sql(ops => undef, q{SELECT cauce.schedule_retention('17 3 * * *')}, database => 'second')->{sqlstate}, '55000', 'and there is no pg_cron to be told');
	my $id = new_due('cauce');
	is($cluster->sql(ops => undef, 'SELECT archived FROM cauce.run_retention()'), '1', 'by hand it runs');
	$cluster->configure('max_worker_processes = 8');
	$cluster->restart;
	archived('cauce', new_due('cauce'), 'with slots it goes on');
	is($cluster->superuser('SELECT no_worker_since FROM cauce.retention_status'), '', 'which is shown');
};

done_testing;
