# Where a login counts beside the database that it was named in: on a standby, after a dump and its restore.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my %id = map { split /\|/ } split /\n/, $cluster->superuser('SELECT subject, id FROM cauce.account');
$cluster->superuser("CREATE ROLE nora LOGIN IN ROLE cauce_app; CREATE ROLE gone LOGIN IN ROLE cauce_app;
	SELECT cauce.set_login_role('$id{'north-pro'}', 'nora'); SELECT cauce.set_login_role('$id{solo}', 'gone'); DROP EXTENSION pg_cron");
my $me = q{SELECT coalesce((SELECT subject FROM cauce.account WHERE id = cauce.account_id()), '-')};
$cluster->sql(nora => undef, q{INSERT INTO cauce.session (title) VALUES ('qzcanary') RETURNING id AS session \gset
	INSERT INTO cauce.report (session_id, body) VALUES (:'session', 'qzcanary report')});

subtest 'a standby' => sub {
	my $standby = CauceTest->standby_of($cluster);
	ok($standby->catch_up_with($cluster), 'follows');
	my $open = CauceSession->open($standby, 'nora');
	is($open->query('SELECT title FROM cauce.session'), 'qzcanary', 'a login opens there what is its own');
	is($standby->try_sql(nora => undef, 'DELETE FROM cauce.session')->{sqlstate}, '25006', 'and writes nothing');
	$cluster->superuser("SELECT cauce.set_login_role('$id{'north-pro'}', NULL)");
	ok($standby->catch_up_with($cluster), 'a change arrives');
	is($open->query($me), '-', 'and counts in a connection that is open');
	is($open->query('SELECT count(*) FROM cauce.session'), '0', 'which reads nothing any more');
	$open->close;
	$standby->stop;
	$cluster->superuser("SELECT cauce.set_login_role('$id{'north-pro'}', 'nora')");
};

subtest 'a dump, and its restore by a superuser' => sub {
	my $file = $cluster->pgdata . '/../run/dump';
	my $dump = $cluster->as_postgres('pg_dump', '-Fc', '-f', $file, '-d', $cluster->dsn('postgres'));
	is($dump->{status}, 0, 'pg_dump') or diag $dump->{err};
	my $text = $cluster->as_postgres('pg_restore', '-f', '-', $file)->{out};
	unlike($text, qr/qzcanary/, 'holds sealed values');
	like($text, qr/cauce1:/, 'of which there are some');
	$cluster->superuser('DROP ROLE gone; CREATE DATABASE cauce2');
	my $restore = $cluster->as_postgres('pg_restore', '--exit-on-error', '-d', $cluster->dsn('postgres', 'cauce2'), $file);
	is($restore->{status}, 0, 'restores, also without one of the logins') or diag $restore->{err};
	is($cluster->sql(nora => undef, 'SELECT title FROM cauce.session', database => 'cauce2'), 'qzcanary', 'a login that is there is the account');
	$cluster->superuser('CREATE ROLE gone LOGIN IN ROLE cauce_app');
	is($cluster->sql(gone => undef, $me, database => $_), '-', "another role of a name that is missing is nobody in $_") for qw(cauce cauce2);
};

subtest 'an owner who dumps' => sub {
	my $dump = sub { my ($out, $err) = ('', ''); IPC::Run::run([ 'pg_dump', '--enable-row-security', '--data-only', '-t', 'cauce.report', '-d', $cluster->dsn($_[0]) ], '>', \$out, '2>', \$err); return $out };
	like($dump->('nora'), qr/qzcanary report/, 'gets what is hers, opened');
	unlike($dump->('gone'), qr/qzcanary/, 'anybody else nothing');
};

done_testing;
