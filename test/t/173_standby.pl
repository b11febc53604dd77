# A hot standby with a copy of the keyring serves owners as the primary does; a key that is destroyed on the
# primary is gone there once that is replayed, also from a session that has it in hand; promoted, it goes on, and
# never seals under a nonce that was used. Without the copy it holds sealed values and no more.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use MIME::Base64 qw(decode_base64);
use Test::More;

my $primary = CauceTest->start;
my %token = map { $_ => $primary->token($_) } qw(north-pro north-admin south-pro);
$primary->superuser(q{UPDATE cauce.organization SET admin_access = 'content' WHERE name = 'north'});

# new_session opens a session of north-pro's with a report in it.
sub new_session
{
	my ($cluster, $text) = @_;
	return $cluster->sql(app => $token{'north-pro'}, qq{INSERT INTO cauce.session (title) VALUES ('$text') RETURNING id AS session \\gset
		INSERT INTO cauce.report (session_id, body) VALUES (:'session', '$text');
		SELECT :'session'});
}

my $before = new_session($primary, 'before the standby');
my $standby = CauceTest->standby_of($primary);
my $after = new_session($primary, 'after it');
ok($standby->catch_up_with($primary), 'the standby follows');

# body gives a query for the report of a session.
sub body { return "SELECT body FROM cauce.report WHERE session_id = '$_[0]'" }

subtest 'what the standby serves' => sub {
	is($standby->sql(app => $token{'north-pro'}, body($before)), 'before the standby', 'the owner opens what a base backup brought');
	is($standby->sql(app => $token{'north-pro'}, body($after)), 'after it', 'and what came later, under a key made since');
	is($standby->sql(app => $token{'north-pro'}, q{SELECT count(*) FROM cauce.session WHERE title ILIKE '%standby'}), '1', 'and searches');
	is($standby->sql(app => $token{'south-pro'}, 'SELECT count(*) FROM cauce.report'), '0', 'others see no row');
	like($standby->superuser(body($before)), qr/^cauce1:/, 'a superuser the sealed form');
	is($standby->try_sql(postgres => undef, 'SELECT body::text FROM cauce.report')->{sqlstate}, '28000', 'and no more');
	my $admin = $standby->try_sql(app => $token{'north-admin'}, body($before));
	is($admin->{sqlstate}, '25006', 'an admin\'s opening, which cannot be audited here, is refused');
	unlike($admin->{out}, qr/before/, 'and shows nothing');
	is($standby->sql(app => $token{'north-admin'}, 'SELECT count(*) FROM cauce.session'), '2', 'while the sessions are listed');
	is($primary->sql(app => $token{'north-admin'}, body($before)), 'before the standby', 'as on the primary it is opened');
	is($standby->try_sql(app => $token{'north-pro'}, "INSERT INTO cauce.session (title) VALUES ('x')")->{sqlstate}, '25006', 'nothing is written');
	is($standby->try_sql(app => $token{'north-pro'}, "DELETE FROM cauce.session")->{sqlstate}, '25006', 'nor erased');
};

subtest 'a key destroyed on the primary' => sub {
	my $doomed = new_session($primary, 'soon to be erased');
	# A copy that outlives the rows, as backups do; without the trigger it stays under the session's key.
	$primary->superuser("CREATE TABLE public.copied AS SELECT body FROM cauce.report WHERE session_id = '$doomed'; GRANT SELECT ON public.copied TO app");
	ok($standby->catch_up_with($primary), 'the copy is on the standby');

	my $open = CauceSession->open($standby, app => $token{'north-pro'});
	my $snapshot = CauceSession->open($standby, app => $token{'north-pro'});
	is($open->query('SELECT body FROM public.copied'), 'soon to be erased', 'one session has opened it, and holds the key');
	$snapshot->query('BEGIN ISOLATION LEVEL REPEATABLE READ');
	is($snapshot->query(body($doomed)), 'soon to be erased', 'another, in a transaction that goes on');

	$primary->sql(app => $token{'north-pro'}, "DELETE FROM cauce.session WHERE id = '$doomed'");
	ok($standby->catch_up_with($primary), 'the erasure is replayed');
	my $next = $open->try('SELECT body FROM public.copied');
	is($next->{sqlstate}, 'XX001', 'the very next statement of the one does not open it');
	unlike($next->{out} . $next->{err}, qr/soon/, 'and shows nothing');
	my $old = $snapshot->try(body($doomed));
	is($old->{sqlstate}, 'XX001', 'nor does the other, whose snapshot still has the row');
	unlike($old->{out} . $old->{err}, qr/soon/, 'which shows nothing either');
	is($standby->try_sql(app => $token{'north-pro'}, 'SELECT body::text FROM public.copied')->{sqlstate}, 'XX001', 'nor does a new session');
	is($open->query(body($before)), 'before the standby', 'other keys are not concerned');
	$_->close for $open, $snapshot;
	is($standby->sql(app => $token{'north-pro'}, 'SELECT bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate'), 't',
		'the certificate verifies here as well');
};

subtest 'without its keyring' => sub {
	$standby->as_postgres('mv', $standby->keyring_file, $standby->keyring_file . '.away');
	my $refused = $standby->try_sql(app => $token{'north-pro'}, body($before));
	is($refused->{sqlstate}, '55000', 'the owner is told');
	like($refused->{err}, qr/keyring/, 'why');
	like($standby->superuser(body($before)), qr/^cauce1:/, 'the sealed form is still read');
	new_session($primary, 'while it was away');
	ok($standby->catch_up_with($primary), 'and replication goes on');
	$standby->as_postgres('mv', $standby->keyring_file . '.away', $standby->keyring_file);
	is($standby->sql(app => $token{'north-pro'}, body($before)), 'before the standby', 'until it is back');
};

# sealed gives key and nonce of every value that a server holds.
sub sealed
{
	my ($cluster) = @_;
	my @form = split /\s+/, $cluster->superuser(
		'SELECT title FROM cauce.session UNION ALL SELECT body FROM cauce.report UNION ALL SELECT body FROM cauce.transcript_segment');
	return map { my ($key, $binding, $nonce) = unpack 'x4 a16 a16 a12', decode_base64(s/^cauce1://r); unpack 'H*', "$key$nonce" } @form;
}

# append adds segments to a session.
sub append
{
	my ($cluster, $session, $from) = @_;
	$cluster->sql(app => $token{'north-pro'}, "INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)
		SELECT '$session', n, n, n, 'the same words' FROM generate_series($from, $from + 499) n");
	return;
}

subtest 'promoted' => sub {
	append($primary, $before, 0);
	ok($standby->catch_up_with($primary), 'it has all of the primary');
	my %used = map { $_ => 1 } sealed($primary);
	is($standby->superuser('SELECT pg_promote()'), 't', 'it becomes a primary');
	# The old primary goes on as well: two servers that seal under one key is the worst that a fail-over can bring.
	append($_, $before, 1000) for $primary, $standby;
	my @fresh = map { grep { !$used{$_} } sealed($_) } $primary, $standby;
	is(scalar @fresh, 1000, 'both seal');
	my %fresh = map { $_ => 1 } @fresh;
	is(scalar keys %fresh, 1000, 'under nonces that differ from each other and from all before');

	my $new = new_session($standby, 'after the promotion');
	is($standby->sql(app => $token{'north-pro'}, body($new)), 'after the promotion', 'new sessions open');
	is($standby->sql(app => $token{'north-pro'}, body($after)), 'after it', 'old ones, too');
	is($standby->sql(app => $token{'north-admin'}, body($after)), 'after it', 'an admin\'s opening is audited now');
	is($standby->sql(app => $token{'north-pro'}, qq{SELECT count(*) FROM cauce.my_access_log WHERE session_id = '$after'}), '1', 'and the owner sees it');
	$standby->sql(app => $token{'north-pro'}, "DELETE FROM cauce.session WHERE id IN ('$after', '$new')");
	is($standby->sql(app => $token{'north-pro'}, 'SELECT count(*), bool_and(cauce.verify_certificate(id)) FROM cauce.erasure_certificate'), '3|t',
		'erasure goes on, its certificates chained to those of the old primary');
	is($standby->superuser('SELECT archived FROM cauce.run_retention()'), '0', 'as does retention');
};

done_testing;
