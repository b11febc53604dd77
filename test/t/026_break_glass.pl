# Break-glass: support reads, for a time and a reason, what nobody else may; never silently, and it never writes.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
$cluster->superuser(q{SELECT cauce.create_account('helper'); CREATE ROLE desk LOGIN IN ROLE cauce_app, cauce_support;
	CREATE TABLE public.note (id int PRIMARY KEY, session_id uuid, body text); GRANT ALL ON public.note TO app, desk;
	SELECT cauce.protect('public.note', 'session_id', '{body}')});
my %token = map { $_ => $cluster->token($_) } qw(helper north-pro north-pro2 north-admin solo);
my %account = map { split /\|/ } split /\n/, $cluster->superuser('SELECT subject, id FROM cauce.account');
my $session = $cluster->sql(app => $token{solo}, q{INSERT INTO cauce.session (title) VALUES ('title of solo') RETURNING id AS s \gset
	INSERT INTO cauce.report (session_id, body) VALUES (:'s', 'report of solo');
	INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) VALUES (:'s', 0, 0, 1, 'words of solo');
	INSERT INTO public.note (id, session_id, body) VALUES (1, :'s', 'note of solo');
	UPDATE cauce.account SET display_name = 'Solo';
	SELECT :'s'});
my $archived = $cluster->sql(app => $token{solo}, q{INSERT INTO cauce.session (title) VALUES ('archived title') RETURNING id AS s \gset
	SELECT cauce.archive_session(:'s') \g /dev/null
	SELECT :'s'});
my $read = "SELECT string_agg(c, ',' ORDER BY c) FROM (SELECT title::text FROM cauce.session UNION ALL SELECT body FROM cauce.report
	UNION ALL SELECT body FROM cauce.transcript_segment UNION ALL SELECT body FROM public.note) x (c)";
my $break = "SELECT cauce.break_glass('$account{solo}', 'ticket 7', '1 hour') > now()";
my $log = sub { return $cluster->sql(app => $token{solo}, 'SELECT actor, role, action, session_id, reason FROM cauce.my_access_log ORDER BY at') };

subtest 'it takes the role, an identity, a reason and an end' => sub {
	is($cluster->try_sql(app => $token{helper}, $break)->{sqlstate}, '42501', 'an application may not');
	is($cluster->try_sql(desk => undef, $break)->{sqlstate}, '28000', 'a role without identity may not');
	for my $bad (q{''}, q{'  '}, 'NULL', q{repeat('x', 401)})
	{
		is($cluster->try_sql(desk => $token{helper}, "SELECT cauce.break_glass('$account{solo}', $bad, '1 hour')")->{sqlstate}, '22023', "a reason of $bad");
	}
	for my $bad (q{'0'}, q{'-1 hour'}, q{'25 hours'}, 'NULL', q{'1 year'})
	{
		is($cluster->try_sql(desk => $token{helper}, "SELECT cauce.break_glass('$account{solo}', 'x', $bad)")->{sqlstate}, '22023', "for $bad");
	}
	is($cluster->try_sql(desk => $token{helper}, "SELECT cauce.break_glass('$account{helper}', 'x', '1 hour')")->{sqlstate}, '22023', 'of one\'s own account');
	is($cluster->try_sql(desk => $token{helper}, q{SELECT cauce.break_glass('00000000-0000-4000-8000-000000000000', 'x', '1 hour')})->{sqlstate}, '22023', 'of no account');
	my $id = $cluster->sql(app => $token{helper}, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
	my $stream = $cluster->sql(app => $token{helper}, "SELECT cauce.stream_token('$id')");
	is($cluster->try_sql(desk => $stream, $break)->{sqlstate}, '28000', 'a stream token may not');
	$cluster->sql(app => $token{helper}, "DELETE FROM cauce.session WHERE id = '$id'");
	is($log->(), '', 'nothing came of it');
	is($cluster->sql(desk => $token{helper}, $read), '', 'and nothing opens');
};

subtest 'it reads, and every step shows at once' => sub {
	is($cluster->sql(desk => $token{helper}, "BEGIN; $break; ROLLBACK"), 't', 'broken and rolled back');
	like($log->(), qr/^helper\|account\|break glass\|\|ticket 7 \(until [^|]*\)\z/, 'the owner sees it all the same');
	is($cluster->sql(desk => $token{helper}, $read), '', 'though nothing opens');

	my $desk = CauceSession->open($cluster, desk => $token{helper});
	my $owner = CauceSession->open($cluster, app => $token{solo});
	is($desk->query("BEGIN; $break"), 't', 'broken');
	like($owner->query('SELECT count(*) FROM cauce.my_access_log'), qr/^2$/, 'the owner sees it before its commit');
	is($desk->query($read), 'note of solo,report of solo,title of solo,words of solo', 'all content of the account is read');
	is($owner->query(q{SELECT actor, role, session_id, reason FROM cauce.my_access_log WHERE action = 'open'}), "helper|support|$session|ticket 7",
		'the opening shows with its reason');
	$desk->query('COMMIT');
	is($desk->query($read), 'note of solo,report of solo,title of solo,words of solo', 'read again');
	is($owner->query(q{SELECT count(*) FROM cauce.my_access_log WHERE action = 'open'}), '2', 'and shown again');
	is($owner->query('SELECT reason, until > now() FROM cauce.break_glass_grant'), 'ticket 7|t', 'the owner sees the grant');
	is($cluster->sql(app => $token{helper}, $read), 'note of solo,report of solo,title of solo,words of solo', 'it is the account\'s, whatever its login');
	is($cluster->sql(desk => $token{$_}, "$read WHERE c LIKE '%solo'"), '', "and not $_\'s") for qw(north-pro north-admin);
	is($cluster->sql(desk => $token{helper}, "SELECT count(*) FROM cauce.report WHERE account_id NOT IN ('$account{solo}', '$account{helper}')"), 0, 'of nobody else');
	$_->close for $desk, $owner;
};

subtest 'it never writes, and reaches no profile and no archive' => sub {
	for my $statement ("UPDATE cauce.report SET body = 'x'", "UPDATE cauce.session SET title = 'x'", 'DELETE FROM cauce.report', 'DELETE FROM cauce.session',
		'DELETE FROM public.note', "UPDATE public.note SET body = 'x'")
	{
		$cluster->try_sql(desk => $token{helper}, $statement);
	}
	is($cluster->try_sql(desk => $token{helper}, "INSERT INTO cauce.report (account_id, session_id, body) VALUES ('$account{solo}', '$session', 'x')")->{sqlstate}, '42501', 'no INSERT');
	is($cluster->sql(app => $token{solo}, $read), 'note of solo,report of solo,title of solo,words of solo', 'nothing has changed');
	is($cluster->sql(desk => $token{helper}, "SELECT count(*) FROM cauce.account WHERE id = '$account{solo}'"), 0, 'no profile');
	is($cluster->sql(desk => $token{helper}, 'SELECT count(*) FROM cauce.archived_session'), 0, 'no archive');
	is($cluster->try_sql(desk => $token{helper}, "SELECT cauce.stream_token('$session')")->{sqlstate}, '42501', 'no stream');
	is($cluster->try_sql(desk => $token{helper}, "SELECT cauce.archive_session('$session')")->{sqlstate}, '42501', 'no archiving');
	unlike($cluster->sql(desk => $token{helper}, 'SELECT cauce.export_my_data()'), qr/solo/, 'no export');
};

subtest 'it ends' => sub {
	is($cluster->sql(app => $token{solo}, "SELECT cauce.end_break_glass('$account{solo}')"), 't', 'by the owner');
	is($cluster->sql(desk => $token{helper}, $read), '', 'at once');
	like($log->(), qr/ticket 7\z/, 'which is not somebody else\'s doing');
	$cluster->sql(desk => $token{helper}, $break);
	is($cluster->sql(app => $token{'north-pro'}, "SELECT cauce.end_break_glass('$account{solo}')"), 'f', 'a stranger ends nothing');
	is($cluster->sql(desk => $token{helper}, "SELECT cauce.end_break_glass('$account{solo}')"), 't', 'by whoever broke it');
	is($cluster->sql(desk => $token{helper}, $read), '', 'at once, too');

	my $desk = CauceSession->open($cluster, desk => $token{helper});
	$desk->query("SELECT cauce.break_glass('$account{solo}', 'a moment', '3 seconds')");
	like($desk->query('BEGIN; ' . $read), qr/report of solo/, 'in time');
	sleep 4;
	is($desk->query($read), '', 'by itself, inside of a transaction');
	is($desk->try("SELECT body::text FROM cauce.report")->{out}, '', 'and nothing is cached');
	$desk->query('COMMIT');
	$desk->close;
	is($cluster->try_sql(postgres => $token{helper}, 'SELECT body::text FROM cauce.report')->{sqlstate}, '42501', 'whatever gets round row-level security');
};

subtest 'limits' => sub {
	my @others = split /\n/, $cluster->superuser(q{SELECT cauce.create_account('many-' || n) FROM generate_series(1, 17) n});
	my @states = map { $cluster->try_sql(desk => $token{helper}, "SELECT cauce.break_glass('$_', 'x', '1 hour')")->{sqlstate} } @others;
	is(join(',', @states), ',' x 16 . '54000', 'sixteen at once');
	my $many = $cluster->token('many-1');
	is($cluster->sql(app => $many, q{SELECT cauce.delete_my_data('many-1') IS NOT NULL}), 't', 'an account under break-glass can be erased');
	is($cluster->superuser("SELECT count(*) FROM cauce.break_glass_grant WHERE account_id = '$others[0]'"), 0, 'and the grant is gone');
	is($cluster->superuser('SELECT count(*) FROM cauce.verify_audit()'), 0, 'the audit log verifies');
};

done_testing;
