# Each run of retention that did something tells so on channel cauce_retention once it is committed, once a batch: how many
# sessions were archived, deleted and failed, and nothing else.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;
use Time::HiRes qw(sleep);

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'");
my $archives = $cluster->token('north-pro');
my $deletes = $cluster->token('south-pro');
my $run = 'SELECT archived + deleted + failed FROM cauce.run_retention()';

sub superuser { return $cluster->superuser(@_) }

# due makes so many sessions that are due.
sub due
{
	my ($token, $count) = @_;
	$cluster->sql(app => $token, "INSERT INTO cauce.session (title) SELECT 'qzcanary' FROM generate_series(1, $count)");
	superuser(q{UPDATE cauce.session SET started_at = now() - interval '91 days' WHERE retain_until > now()});
	return;
}

my $listener = CauceSession->open($cluster, 'app');
$listener->query('LISTEN cauce_retention');

# told gives what the listener was told since it was asked last.
sub told
{
	my $out = $listener->query('SELECT 1');
	return [ $out =~ /^Asynchronous notification "cauce_retention" with payload "(.*)" received/mg ];
}

$cluster->sql(app => $deletes, q{SELECT cauce.set_retention(90, 'delete')});
is(superuser($run), '0', 'a run that finds nothing to do');
is_deeply(told(), [], 'tells nothing');

due($archives, 3);
due($deletes, 2);
is(superuser("BEGIN; $run; ROLLBACK"), '5', 'a run that is rolled back');
is_deeply(told(), [], 'tells nothing');
is(superuser($run), '5', 'a run that does something');
is_deeply(told(), ['{"archived": 3, "deleted": 2, "failed": 0}'], 'tells counts, once');

superuser(q{CREATE FUNCTION public.poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'qzcanary'; END $$;
	CREATE TRIGGER poison BEFORE DELETE ON cauce.session FOR EACH ROW EXECUTE FUNCTION public.poison()});
due($archives, 2);
is(superuser($run), '2', 'a run in which all fails');
is_deeply(told(), ['{"archived": 0, "deleted": 0, "failed": 2}'], 'tells how much, and nothing of what');
superuser('DROP TRIGGER poison ON cauce.session; UPDATE cauce.retention_failure SET retry_at = now()');

due($archives, 5);
$cluster->configure("cauce.retention_naptime = 1\ncauce.retention_batch = 3");
$cluster->pg_ctl('reload');
ok($cluster->poll_until('SELECT count(*) FROM cauce.session', '0'), 'the worker');
sleep 0.2;
is_deeply(told(), ['{"archived": 3, "deleted": 0, "failed": 0}', '{"archived": 3, "deleted": 0, "failed": 0}', '{"archived": 1, "deleted": 0, "failed": 0}'], 'tells of each batch');
$listener->close;

done_testing;
