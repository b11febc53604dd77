# The primary dies in the middle of a run and a standby is promoted: retention goes on within one interval to its end, each
# session is whole in one place with its one certificate, and a key that was destroyed on the primary is dead on the
# standby as soon as that is replayed.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;
use Time::HiRes qw(time);

use constant { MANY => 400, NAPTIME => 2 };

my $primary = CauceTest->start(settings => "cauce.retention_naptime = '1d'\ncauce.retention_batch = 20");
my %token = map { $_ => $primary->token($_) } qw(north-pro south-pro);
$primary->sql(app => $token{'south-pro'}, q{SELECT cauce.set_retention(90, 'delete')});
for my $who (sort keys %token)
{
	$primary->sql(app => $token{$who}, 'INSERT INTO cauce.session (title) SELECT $$t $$ || n FROM generate_series(1, ' . MANY . q{) n;
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) SELECT s.id, n, n, n, 'words ' || n FROM cauce.session s, generate_series(1, 3) n});
}
$primary->superuser(q{CREATE TABLE public.all_sessions AS SELECT s.account_id, s.id, k.id AS key FROM cauce.session s JOIN cauce.data_key k ON k.session_id = s.id;
	CREATE TABLE public.hoard AS SELECT session_id, body FROM cauce.transcript_segment
		WHERE seq = 1 AND account_id = (SELECT id FROM cauce.account WHERE subject = 'south-pro');
	GRANT SELECT ON public.hoard TO app});
my $standby = CauceTest->standby_of($primary, settings => 'cauce.retention_naptime = ' . NAPTIME);
ok($standby->catch_up_with($primary), 'the standby has all');
my $reader = CauceSession->open($standby, app => $token{'south-pro'});
is($reader->query('SELECT count(*) FROM public.hoard WHERE body::text = $$words 1$$'), MANY, 'and opens it');

$primary->superuser("UPDATE cauce.session SET started_at = now() - interval '90 days'");
# However fast the run is, it has not ended: somebody holds some of each account's sessions, whom it passes by, until the primary dies.
my $holder = CauceSession->open($primary, postgres => undef);
$holder->query(q{BEGIN; SELECT FROM cauce.session s WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY account_id) AS n FROM cauce.session) x WHERE n <= 10) FOR UPDATE});
$primary->configure('cauce.retention_naptime = 1');
$primary->pg_ctl('reload');
ok($primary->poll_until('SELECT count(*) > 30 AND (SELECT count(*) > 30 FROM cauce.archived_session) FROM cauce.erasure_certificate', 't', 30)
	|| $primary->poll_until('SELECT count(*) > 30 OR (SELECT count(*) > 30 FROM cauce.archived_session) FROM cauce.erasure_certificate', 't', 1), 'a run is on its way');
$primary->kill_server;

my $left = $standby->superuser('SELECT count(*) FROM cauce.session WHERE retain_until <= now()');
cmp_ok($left, '>', 0, "the primary dies in the middle of it ($left of " . 2 * MANY . ' left)');
my $erased = $standby->superuser('SELECT id FROM public.all_sessions a WHERE NOT EXISTS (SELECT FROM cauce.data_key k WHERE k.id = a.key) LIMIT 1');
SKIP: {
	skip 'none was erased yet', 1 if $erased eq '';
	is($reader->try("SELECT body FROM public.hoard WHERE session_id = '$erased'")->{sqlstate}, 'XX001', 'what the primary erased is dead on the standby, in a connection that had opened it, too');
}
$reader->close;
my $promoted = time;
is($standby->pg_ctl('promote')->{status}, 0, 'the standby is promoted');
ok($standby->poll_until('SELECT count(*) > 0 FROM cauce.retention_run WHERE started_at > ' . "to_timestamp($promoted)", 't', 30), 'it runs retention');
cmp_ok($standby->superuser("SELECT extract(epoch FROM min(started_at)) - $promoted FROM cauce.retention_run WHERE started_at > to_timestamp($promoted)"), '<', NAPTIME + 1.5, 'within one interval');
ok($standby->poll_until('SELECT count(*) FROM cauce.due_session', '0', 60), 'to its end');
is($standby->superuser(q{WITH certified AS MATERIALIZED (SELECT account_id, jsonb_array_elements_text(cauce.open_certificate(jws)->'keys') AS key FROM cauce.erasure_certificate)
	SELECT state, count(*) FROM (SELECT CASE
		WHEN live AND NOT archived AND segments = 3 AND keys = 1 AND certificates = 0 THEN 'live'
		WHEN archived AND NOT live AND segments = 0 AND keys = 1 AND certificates = 0 THEN 'archived'
		WHEN NOT live AND NOT archived AND segments = 0 AND keys = 0 AND certificates = 1 THEN 'erased' ELSE 'broken' END AS state
	FROM public.all_sessions i, LATERAL (SELECT EXISTS (SELECT FROM cauce.session s WHERE s.id = i.id) AS live, EXISTS (SELECT FROM cauce.archived_session a WHERE a.id = i.id) AS archived,
		(SELECT count(*) FROM cauce.transcript_segment t WHERE t.session_id = i.id) AS segments, (SELECT count(*) FROM cauce.data_key k WHERE k.session_id = i.id) AS keys,
		(SELECT count(*) FROM certified c WHERE c.account_id = i.account_id AND c.key = i.key::text) AS certificates) x) y GROUP BY 1 ORDER BY 1}),
	'archived|' . MANY . "\nerased|" . MANY, 'each session is whole in one place, each erasure has its one certificate');
is($standby->superuser('SELECT count(*) FROM cauce.erasure_certificate c WHERE erased_at = (SELECT max(erased_at) FROM cauce.erasure_certificate m WHERE m.account_id = c.account_id) AND NOT cauce.verify_certificate(c.id)'), '0', 'and the chain verifies');
my $one = $standby->sql(app => $token{'north-pro'}, 'SELECT id FROM cauce.archived_session LIMIT 1');
is($standby->sql(app => $token{'north-pro'}, "SELECT cauce.restore_session('$one') \\g /dev/null\nSELECT string_agg(body, ',' ORDER BY seq) FROM cauce.transcript_segment WHERE session_id = '$one'"), 'words 1,words 2,words 3', 'what was archived restores');

done_testing;
