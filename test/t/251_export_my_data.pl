# cauce.export_my_data() gives an account everything that is its own, opened, and nothing of anybody else's; with no
# more rights than the caller's, also where nothing can be written.
use strict;
use warnings;
use CauceTest;
use JSON::PP;
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'");
my %token = map { $_ => $cluster->token($_) } qw(north-pro north-pro2 north-admin south-pro solo);
my $json = JSON::PP->new->canonical;

sub as { my ($who, $sql) = @_; return $cluster->sql(app => $token{$who}, $sql) }
sub export { return $json->decode(as($_[0], 'SELECT cauce.export_my_data()')) }

# rows runs a query of a table's rows, each as JSON, and gives them decoded.
sub rows
{
	my ($who, $query) = @_;
	return [ map { $json->decode($_) } split /\n/, as($who, "SELECT row_to_json(r) FROM ($query) r") ];
}

# Content of several shapes, in the accounts of two organizations and of none.
$cluster->superuser(q{UPDATE cauce.organization SET admin_access = 'content', retention_days = 200;
	CREATE TABLE public.note (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, t text, session_id uuid, words text, form jsonb, scan bytea);
	CREATE TABLE public.half (id int PRIMARY KEY, session_id uuid, words text);
	GRANT ALL ON public.note, public.half TO app;
	SELECT cauce.protect('public.note', 'session_id', '{words,form,scan}')});
for my $who (qw(north-pro north-pro2 south-pro solo north-admin))
{
	as($who, qq{UPDATE cauce.account SET display_name = 'Name of $who', email = '$who\@example.org';
		INSERT INTO cauce.session (title, client, language) VALUES ('first of $who', 'client', 'en') RETURNING id AS a \\gset
		INSERT INTO cauce.transcript_segment (session_id, channel, seq, speaker, start_ms, end_ms, confidence, body)
			SELECT :'a', n % 2, n, 'therapist', n, n + 1, 0.07 * n, 'segment ' || n || ' of $who' FROM generate_series(0, 12) n;
		INSERT INTO cauce.report (session_id, body) VALUES (:'a', E'line\\n"quoted" \\\\ \\u00e9\\u20ac of $who'), (:'a', '');
		INSERT INTO cauce.alert (session_id, kind, at_ms, detail) VALUES (:'a', 'risk', 5, 'alert of $who'), (:'a', 'none', NULL, NULL);
		INSERT INTO public.note (t, session_id, words, form, scan) VALUES ('plain', :'a', 'note of $who', '{"mood": ["calm", null]}', '\\x00ff');
		INSERT INTO cauce.session (title, retention_days, started_at) VALUES ('bare one of $who', 17, '2026-01-02 03:04:05.678901+02');
		INSERT INTO cauce.session (title) VALUES ('archived of $who') RETURNING id AS b \\gset
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) VALUES (:'b', 0, 0, 1, 'kept segment of $who');
		INSERT INTO cauce.report (session_id, body) VALUES (:'b', 'kept report of $who');
		SELECT cauce.archive_session(:'b');
		INSERT INTO cauce.session (title) VALUES ('erased of $who') RETURNING id AS c \\gset
		DELETE FROM cauce.session WHERE id = :'c';
		INSERT INTO cauce.alert_rule (account_id, pattern, kind) VALUES (cauce.account_id(), 'pattern of $who', 'k');
		SELECT cauce.set_retention(CASE WHEN '$who' = 'north-pro' THEN 33 END, 'delete')});
	$cluster->superuser("INSERT INTO public.half SELECT row_number() OVER () + (SELECT count(*) FROM public.half), id, 'half of $who'
		FROM cauce.session WHERE account_id = (SELECT id FROM cauce.account WHERE subject = '$who')");
}
as('north-admin', "INSERT INTO cauce.alert_rule (organization_id, pattern, kind) VALUES (cauce.organization_id(), 'of the organization', 'k')");
as('north-admin', "SELECT count(body::text) FROM cauce.report");
$cluster->superuser(q{SELECT cauce.adopt_begin('public.half', 'session_id', '{words}'), cauce.adopt_batch('public.half', 1)});

for my $who (qw(north-pro north-admin solo))
{
	subtest "everything of $who" => sub {
		my $export = export($who);
		# An independent walk over the tables.
		my $account = rows($who, 'SELECT * FROM cauce.account WHERE id = cauce.account_id()')->[0];
		my $mine = 'WHERE account_id = cauce.account_id()';
		is_deeply($export->{profile}, { map { $_ => $account->{$_} } qw(id subject display_name email login_role created_at) }, 'profile');
		my $organization = rows($who, 'SELECT * FROM cauce.organization')->[0];
		is_deeply($export->{organization}, $organization && { id => $organization->{id}, name => $organization->{name}, role => $account->{role} }, 'organization');
		is_deeply($export->{settings}, { (map { $_ => $account->{$_} } qw(retention_days retention_action)),
			effective_retention_days => $account->{retention_days} // ($organization ? 200 : 90), effective_retention_action => 'delete' }, 'settings');
		my $sessions = rows($who, "SELECT * FROM cauce.session $mine ORDER BY started_at");
		for my $session (@$sessions)
		{
			my $its = "$mine AND session_id = '$session->{id}'";
			$session->{transcript_segment} = rows($who, "SELECT * FROM cauce.transcript_segment $its ORDER BY channel, seq");
			$session->{report} = rows($who, "SELECT * FROM cauce.report $its ORDER BY created_at, id");
			$session->{alert} = rows($who, "SELECT * FROM cauce.alert $its ORDER BY at_ms, id");
		}
		is(scalar @$sessions, 2, 'it has two sessions');
		is($json->encode($export->{session}), $json->encode($sessions), 'sessions, with segments, reports and alerts');
		is_deeply($export->{alert_rule}, rows($who, "SELECT * FROM cauce.alert_rule $mine"), 'rules');
		is_deeply($export->{erasure_certificate}, rows($who, "SELECT * FROM cauce.erasure_certificate $mine ORDER BY erased_at"), 'certificates');
		is_deeply($export->{access_log}, rows($who, 'SELECT * FROM cauce.my_access_log ORDER BY at'), 'access log');
		is(scalar @{ $export->{access_log} }, $who eq 'north-pro' ? 1 : 0, 'which tells of the admin');
		my ($note) = @{ $export->{protected}{'public.note'} };
		is_deeply([ @$note{qw(t words form scan)}, scalar @{ $export->{protected}{'public.note'} } ], [ 'plain', "note of $who", { mood => [ 'calm', undef ] }, '\x00ff', 1 ], 'protected rows');
		is_deeply([ sort map { "$_->{words} " . join ',', sort keys %$_ } @{ $export->{protected}{'public.half'} } ],
			[ ("half of $who account_id,id,session_id,words") x 2 ], 'rows of a table that is being adopted, once');
		my ($archive) = @{ $export->{archived_session} };
		is($archive->{content}{session}{title}, "archived of $who", 'archives, opened');
		like($archive->{archived_at}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+[+-]\d\d:\d\d$/, 'times are ISO 8601');
		my ($id, $content) = ($archive->{id}, $archive->{content});
		is_deeply([ sort keys %$export ], [ sort qw(version exported_at profile organization settings session archived_session protected alert_rule erasure_certificate access_log) ], 'and no member more');

		# What is restored is what the archive said it was.
		as($who, "SELECT cauce.restore_session('$id')");
		my ($restored) = grep { $_->{id} eq $id } @{ export($who)->{session} };
		is_deeply([ $restored->{transcript_segment}, $restored->{report}, $restored->{title} ],
			[ $content->{transcript_segment}, $content->{report}, $content->{session}{title} ], 'it is what restoring brings back');
		as($who, "SELECT cauce.archive_session('$id')") if $who ne 'solo';

		my $text = $json->encode($export);
		my @others = grep { $_ ne $who } qw(north-pro north-pro2 south-pro solo north-admin);
		unlike($text, qr/of \Q$_\E["\b,]/, "nothing of $_") for @others;
		unlike($text, qr/of the organization|cauce1:/, 'nor of the organization, and nothing sealed');
		unlike($text, qr/\$cauce/, 'nor a column that is being made');
		my %account = map { split /\|/ } split /\n/, $cluster->superuser('SELECT subject, id FROM cauce.account');
		unlike($text, qr/$account{$_}/, "nor the id of $_") for @others;
	};
}

subtest 'who may not' => sub {
	is($cluster->try_sql(app => undef, 'SELECT cauce.export_my_data()')->{sqlstate}, '28000', 'no identity');
	is($cluster->try_sql(postgres => undef, 'SELECT cauce.export_my_data()')->{sqlstate}, '28000', 'a superuser without one');
	my $session = as('north-pro', 'SELECT id FROM cauce.session WHERE account_id = cauce.account_id() LIMIT 1');
	my $stream = $cluster->token('north-pro', scope => 'stream', session => $session);
	is($cluster->try_sql(app => $stream, 'SELECT cauce.export_my_data()')->{sqlstate}, '28000', 'a stream token');
	$cluster->superuser('CREATE ROLE streamer LOGIN IN ROLE cauce_stream; CREATE ROLE ops LOGIN IN ROLE cauce_operator; CREATE ROLE other_app LOGIN IN ROLE cauce_app');
	is($cluster->try_sql($_ => $token{'north-pro'}, 'SELECT cauce.export_my_data()')->{sqlstate}, '42501', "role $_") for qw(streamer ops);
	is($cluster->try_sql(other_app => $token{'north-pro'}, 'SELECT cauce.export_my_data()')->{sqlstate}, '42501',
		'a role that may not read a protected table gets an error, not a part');
	my $export = $json->decode($cluster->sql(postgres => $token{'north-pro'}, 'SELECT cauce.export_my_data()'));
	is($json->encode($export->{session}), $json->encode(export('north-pro')->{session}), 'a superuser with a token gets what its owner gets');
	for my $part (qw(account sessions archives protected))
	{
		is($cluster->try_sql(app => undef, "SELECT coalesce(cauce.export_$part()::text, '') !~ 'of'")->{out}, 't', "without identity export_$part() gives nothing");
	}
};

subtest 'archives are opened for whoever may' => sub {
	my $open = q{SELECT cauce.open_archive(account_id, id, bundle)->'session'->>'title' FROM cauce.archived_session};
	my $theirs = q{account_id = (SELECT id FROM cauce.account WHERE subject = 'north-pro')};
	is(as('north-pro', $open), 'archived of north-pro', 'the owner');
	is($cluster->try_sql(postgres => undef, "$open LIMIT 1")->{sqlstate}, '28000', 'not without identity');
	is($cluster->try_sql(postgres => $token{'south-pro'}, "$open WHERE $theirs")->{sqlstate}, '42501', 'not for another');
	my $before = as('north-pro', 'SELECT count(*) FROM cauce.my_access_log');
	is(as('north-admin', "BEGIN READ ONLY; $open WHERE $theirs; ROLLBACK"), 'archived of north-pro', 'for an admin who reads content');
	is(as('north-pro', 'SELECT count(*) FROM cauce.my_access_log') - $before, 1, 'which its owner sees');
	is($cluster->try_sql(app => $token{'north-pro'}, 'SELECT cauce.open_archive(account_id, gen_random_uuid(), bundle) FROM cauce.archived_session')->{sqlstate}, 'XX001', 'not as another\'s');
	is($cluster->try_sql(app => $token{'north-pro'}, "SELECT cauce.open_archive(account_id, id, set_byte(bundle, 60, get_byte(bundle, 60) # 1)) FROM cauce.archived_session")->{sqlstate}, 'XX001', 'nor one that was changed');
	is($cluster->try_sql(app => $token{'north-pro'}, "SELECT cauce.open_archive(account_id, id, '') FROM cauce.archived_session")->{sqlstate}, 'XX001', 'nor nothing');
};

subtest 'where nothing can be written' => sub {
	my $sql = q{SELECT md5((cauce.export_my_data() - 'exported_at')::text)};
	my $expected = as('north-pro', $sql);
	is(as('north-pro', "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; $sql; COMMIT"), $expected, 'READ ONLY');
	my $standby = CauceTest->standby_of($cluster);
	ok($standby->catch_up_with($cluster), 'a standby');
	is($standby->sql(app => $token{'north-pro'}, $sql), $expected, 'gives the same');
	$standby->stop;
};

subtest 'too much for one document' => sub {
	# Three reports of 100 MB, which compress to nearly nothing.
	as('solo', q{INSERT INTO cauce.report (session_id, body) SELECT id, repeat('a', 100000000) FROM (SELECT id FROM cauce.session ORDER BY id LIMIT 1) s, generate_series(1, 3)});
	my $result = $cluster->try_sql(app => $token{solo}, 'SELECT cauce.export_my_data()');
	is($result->{sqlstate}, '54000', 'is an error');
	like($result->{err}, qr/DETAIL:.*HINT:.*tables directly/s, 'that says where to read it');
};

unlike($cluster->log, qr/of (north|south|solo)/, 'nothing of this is in the log');

done_testing;
