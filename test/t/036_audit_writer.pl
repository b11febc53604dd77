# The audit writer serves on, whatever becomes of those who wait for it, of refusals by the hundred and of databases.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use File::Temp;
use IPC::Run qw(start);
use Test::More;

# Entries that the server has room for (witness.c), and how many connections wait at once here.
use constant { SLOTS => 128, WAITING => 70 };

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'");
my %token = map { $_ => $cluster->token($_) } qw(north-pro north-admin);
$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'content' WHERE name = 'north'});
$cluster->sql(app => $token{'north-pro'}, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id AS s \gset
	INSERT INTO cauce.report (session_id, body) VALUES (:'s', 'report')});

# reads gives what the admin reads.
sub reads { return $cluster->try_sql(app => $token{'north-admin'}, 'SELECT body FROM cauce.report') }

# refused counts entries, and what they say was only counted.
sub refused
{
	return $cluster->superuser(q{SELECT count(*) FILTER (WHERE reason !~ 'more identities') + coalesce(sum(substring(reason FROM '^(\d+) more identities')::int), 0)
		FROM cauce.audit_log WHERE action = 'refuse'});
}

subtest 'a database of another encoding' => sub {
	$cluster->superuser(q{CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
	$cluster->superuser('SET client_min_messages = warning; CREATE EXTENSION cauce CASCADE', database => 'latin');
	my $expired = $cluster->token("jos\xc3\xa9", ttl => -5);
	is($cluster->try_sql(app => $expired, 'SELECT 1', database => 'latin')->{sqlstate}, '28000', 'refuses a subject that it cannot spell');
	ok($cluster->poll_until(q{SELECT actor FROM cauce.audit_log WHERE action = 'refuse'}, 'jos??', 10, database => 'latin'), 'and notes it');
	$cluster->superuser('DROP DATABASE latin WITH (FORCE)');
};

subtest 'backends that are ended while they wait' => sub {
	my $locker = CauceSession->open($cluster, 'postgres');
	my $ended = 0;
	my $script = File::Temp->new;
	print $script "\\getenv token CAUCE_TEST_TOKEN\nSELECT set_config('cauce.token', :'token', false) \\g /dev/null\nSELECT body FROM cauce.report;\n";
	close $script;
	$locker->query('BEGIN; LOCK TABLE cauce.audit_log IN ACCESS EXCLUSIVE MODE');
	while ($ended < SLOTS)
	{
		local $ENV{CAUCE_TEST_TOKEN} = $token{'north-admin'};
		my $all = start [ 'sh', '-c', 'for i in $(seq "$3"); do psql -XAtq -d "$1" -f "$2" & done; wait', 'sh', $cluster->dsn('app'), $script->filename, WAITING ],
		  '<', \undef, '>', \my $out, '2>', \my $err;
		$cluster->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'Extension'}, WAITING, 5);
		$ended += $cluster->superuser(q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'Extension'});
		$all->finish;
	}
	$locker->query('ROLLBACK');
	$locker->close;
	cmp_ok($ended, '>=', SLOTS, 'as many as there is room for entries');
	is(reads()->{out}, 'report', 'leave the room to others');
};

subtest 'statements that are cancelled while they wait' => sub {
	my $locker = CauceSession->open($cluster, 'postgres');
	$locker->query('BEGIN; LOCK TABLE cauce.audit_log IN ACCESS EXCLUSIVE MODE');
	my $reader = CauceSession->open($cluster, app => $token{'north-admin'});
	$reader->query(q{SET statement_timeout = '20ms'});
	my %states = map { $reader->try('SELECT body FROM cauce.report')->{sqlstate} => 1 } 1 .. SLOTS + 10;
	is(join(',', sort keys %states), '57014', 'are all cancelled');
	$reader->query('BEGIN; SET LOCAL statement_timeout = 0; SAVEPOINT a');
	$locker->query('ROLLBACK');
	is($reader->query('SELECT body FROM cauce.report; ROLLBACK TO a; SELECT body FROM cauce.report; COMMIT'), "report\nreport", 'and the next reads');
	$_->close for $locker, $reader;
};

subtest 'refusals' => sub {
	my $flood = join "\n", map { "SELECT set_config('cauce.token', 'x.y.$_', false);" } 1 .. 300;
	my $before = refused();
	$cluster->superuser("\\set ON_ERROR_STOP off\n\\c - app\n$flood");
	is(reads()->{out}, 'report', 'by the hundred keep nobody waiting');
	ok($cluster->poll_until(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cauce audit writer'}, 0, 20), 'the writer leaves');
	is(refused() - $before, 300, 'and has told of every one') or diag refused();
};

subtest 'a database that is gone' => sub {
	for my $round (1 .. 3)
	{
		$cluster->superuser("CREATE DATABASE passing");
		$cluster->superuser("\\set ON_ERROR_STOP off\n\\c passing app\n" . join "\n", map { "SELECT set_config('cauce.token', 'x.y.$_', false);" } 1 .. 30);
		$cluster->superuser('DROP DATABASE passing WITH (FORCE)');
	}
	is(reads()->{out}, 'report', 'takes nothing along');
};

is($cluster->superuser('SELECT count(*) FROM cauce.verify_audit()'), 0, 'the log verifies');

done_testing;
