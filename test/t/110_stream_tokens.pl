# A stream token is a capability to append to one live session, and nothing else: it reads nothing,
# writes nowhere else, and dies with its time, its session, or the session's end.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my $owner = $cluster->token('north-pro');
my ($id, $sibling) = split /\n/, $cluster->sql(app => $owner, q{INSERT INTO cauce.session (title) VALUES ('mine'), ('sibling') RETURNING id});
my $foreign = $cluster->sql(app => $cluster->token('south-pro'), q{INSERT INTO cauce.session (title) VALUES ('theirs') RETURNING id});
my $account = $cluster->sql(app => $owner, 'SELECT cauce.account_id()');
my $stranger = $cluster->sql(app => $cluster->token('south-pro'), 'SELECT cauce.account_id()');
$cluster->sql(app => $owner, "INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body) VALUES ('$id', 0, 0, 1, 'first');
	INSERT INTO cauce.report (session_id, body) VALUES ('$id', 'report')");
$cluster->superuser('CREATE ROLE worker LOGIN IN ROLE cauce_stream');

# segment gives an INSERT of one segment.
sub segment
{
	my ($session, $seq, $more) = @_;
	return "INSERT INTO cauce.transcript_segment (session_id, seq, speaker, start_ms, end_ms, body) VALUES ('$session', $seq, 's', $seq, $seq, 'words $seq')" . ($more // '');
}

# count gives how many segments the owner has in a session.
sub count
{
	return $cluster->sql(app => $owner, "SELECT count(*), count(body::text) FROM cauce.transcript_segment WHERE session_id = '$_[0]'");
}

my $internal = $cluster->sql(app => $owner, "SELECT cauce.stream_token('$id')");
# One by the identity provider serves as well.
my %token = (database => $internal, provider => $cluster->token('north-pro', scope => 'stream', session => $id));

for my $who (sort keys %token)
{
	for my $role (qw(app worker))
	{
		my $stream = $token{$who};
		my $base = 100 * (1 + ($who eq 'database')) + 10 * ($role eq 'app');
		subtest "a token signed by the $who, through $role" => sub {
			my $session = CauceSession->open($cluster, $role => $stream);
			my $try = sub { return $session->try(@_) };
			is($cluster->sql($role => $stream, 'SELECT cauce.token_scope(), cauce.account_id(), cauce.appending_account_id(), cauce.appending_session_id(), cauce.is_admin()'),
				"stream||$account|$id|f", 'what it says');

			is($try->(segment($id, $base))->{sqlstate}, '', 'appends a segment');
			is($try->(segment($id, $base, ' ON CONFLICT DO NOTHING') . ';' . segment($id, $base + 1, ' ON CONFLICT DO NOTHING'))->{sqlstate}, '',
				'and once more, with ON CONFLICT DO NOTHING');
			is($cluster->sql(app => $owner, "SELECT seq - $base, body FROM cauce.transcript_segment WHERE session_id = '$id' AND seq BETWEEN $base AND $base + 9 ORDER BY seq"),
				"0|words $base\n1|words " . ($base + 1), 'which adds what was not there, once');
			is($try->(segment($id, $base))->{sqlstate}, '23505', 'without it, a second time is an error');
			is($try->("INSERT INTO cauce.alert (session_id, kind, detail) VALUES ('$id', 'risk', 'heard')")->{sqlstate}, '', 'appends an alert');
			is($try->("INSERT INTO cauce.transcript_segment (account_id, session_id, seq, start_ms, end_ms, body) VALUES ('$account', '$id', $base + 5, 0, 0, 'x')")->{sqlstate},
				'', 'the account may be named');

			subtest 'reads nothing' => sub {
				for my $table (qw(session transcript_segment report alert account organization archived_session erasure_certificate audit_log alert_rule
					my_access_log transcript data_key retention_run))
				{
					my $read = $try->("SELECT count(*) FROM cauce.$table");
					ok($read->{sqlstate} eq '42501' || $read->{out} eq '0', $table);
				}
				my $returning = $try->(segment($id, $base + 6, ' RETURNING body'));
				isnt($returning->{sqlstate}, '', 'not even what it wrote, by RETURNING');
				my $update = $try->(segment($id, 0, ' ON CONFLICT (account_id, session_id, channel, seq) DO UPDATE SET body = excluded.body RETURNING body'));
				is($update->{sqlstate}, '42501', 'or by an upsert');
				unlike($update->{err}, qr/first/, 'and no error tells');
			};
			subtest 'changes nothing' => sub {
				for my $sql (
					"UPDATE cauce.transcript_segment SET body = 'x'", 'DELETE FROM cauce.transcript_segment',
					"UPDATE cauce.session SET status = 'ended'", 'DELETE FROM cauce.session', 'DELETE FROM cauce.alert', 'DELETE FROM cauce.report',
					"INSERT INTO cauce.report (session_id, body) VALUES ('$id', 'x')",
					"INSERT INTO cauce.report (account_id, session_id, body) VALUES ('$account', '$id', 'x')",
					"INSERT INTO cauce.session (title) VALUES ('x')", "INSERT INTO cauce.session (account_id, title) VALUES ('$account', 'x')",
					"INSERT INTO cauce.alert_rule (account_id, pattern, kind) VALUES ('$account', 'x', 'x')",
					"UPDATE cauce.account SET display_name = 'x'", "SELECT cauce.stream_token('$id')", "SELECT cauce.archive_session('$id')",
					"SELECT cauce.restore_session('$id')", 'SELECT cauce.set_retention(1)', "SELECT cauce.create_account('x')", 'SELECT cauce.run_retention()')
				{
					my $result = $try->($sql =~ /^(UPDATE|DELETE)/ ? "WITH x AS ($sql RETURNING 1) SELECT count(*) FROM x" : $sql);
					ok($result->{sqlstate} =~ /^(42501|28000)$/ || $result->{out} eq '0', $sql) or diag $result->{err}, $result->{out};
				}
			};
			is($try->(segment($sibling, 1))->{sqlstate}, '42501', 'another session of the same account: 42501');
			is($try->(segment($foreign, 1))->{sqlstate}, '42501', 'another account\'s session: 42501');
			is($try->("INSERT INTO cauce.transcript_segment (account_id, session_id, seq, start_ms, end_ms, body) VALUES ('$stranger', '$foreign', 1, 0, 0, 'x')")->{sqlstate},
				'42501', 'naming its account: 42501');
			is($try->("INSERT INTO cauce.alert (session_id, kind) VALUES ('$sibling', 'x')")->{sqlstate}, '42501', 'nor an alert there');
			is($try->(segment('00000000-0000-4000-8000-000000000000', 1))->{sqlstate}, '42501', 'nor one that does not exist');
			$session->close;
		};
	}
}
is(count($sibling) . ' ' . count($foreign), '0|0 0|0', 'nothing came to any other session');
is($cluster->sql(app => $owner, 'SELECT count(*) FROM cauce.report WHERE body = \'report\''), '1', 'nor to the reports');
is($cluster->try_sql(postgres => $internal, segment($sibling, 1))->{sqlstate}, '42501', 'a superuser with a stream token is held to it, too');

subtest 'who gets one' => sub {
	my $ask = sub {
		my ($token, $session, $ttl) = @_;
		return $cluster->try_sql(app => $token, "SELECT cauce.stream_token('$session', '$ttl') LIKE '%.%.%'");
	};
	is($ask->($owner, $id, '1 hour')->{out}, 't', 'the owner');
	is($ask->($owner, $id, '1 day')->{out}, 't', 'for a day');
	is($ask->($owner, $id, $_)->{sqlstate}, '22023', "not for $_") for '1 day 1 second', '0', '-1 hour', '1 month';
	is($ask->($owner, $foreign, '1 hour')->{sqlstate}, '42501', 'not for another account\'s session');
	is($ask->($cluster->token('north-admin'), $id, '1 hour')->{sqlstate}, '42501', 'nor an admin');
	is($ask->(undef, $id, '1 hour')->{sqlstate}, '28000', 'nor nobody');
	is($ask->($internal, $id, '1 hour')->{sqlstate}, '28000', 'nor who has one: it does not renew itself');
	is($cluster->try_sql(app => $cluster->token('north-pro', scope => 'stream', session => 'rubbish'), 'SELECT 1')->{sqlstate}, '28000', 'a session that is no UUID');
	is($cluster->try_sql(app => $cluster->token('north-pro', scope => 'stream', session => $foreign), segment($foreign, 1))->{sqlstate}, '42501',
		'even the provider gives none for another account\'s session');
};

subtest 'its end' => sub {
	my $stream = CauceSession->open($cluster, worker => $internal);
	my $seq = 1000;
	my $append = sub { return $stream->try(segment($_[0] // $id, ++$seq))->{sqlstate} };
	is($append->(), '', 'it appends');
	$cluster->sql(app => $owner, "UPDATE cauce.session SET status = 'ended' WHERE id = '$id'");
	is($append->(), '42501', 'not after the session has ended, on an open connection');
	is($cluster->try_sql(app => $owner, "SELECT cauce.stream_token('$id')")->{sqlstate}, '42501', 'and there are no new tokens');
	$cluster->sql(app => $owner, "UPDATE cauce.session SET status = 'live' WHERE id = '$id'");
	is($append->(), '', 'again when it is taken up again');
	$cluster->sql(app => $owner, "SELECT cauce.archive_session('$id')");
	is($append->(), '42501', 'not to an archive');
	$cluster->sql(app => $owner, "SELECT cauce.restore_session('$id')");
	is($append->(), '', 'again after restore');
	$cluster->sql(app => $owner, "DELETE FROM cauce.session WHERE id = '$id'");
	is($append->(), '42501', 'not after its erasure');
	is($cluster->superuser("SELECT count(*) FROM cauce.transcript_segment WHERE session_id = '$id'"), '0', 'nothing of it is left');
	$stream->close;

	my $short = $cluster->sql(app => $owner, "SELECT cauce.stream_token('$sibling', '2 seconds')");
	$stream = CauceSession->open($cluster, worker => $short);
	is($append->($sibling), '', 'one of two seconds appends');
	sleep 3;
	my $late = $stream->try(segment($sibling, ++$seq));
	is($late->{sqlstate}, '28000', 'and after them no more');
	like($late->{err}, qr/DETAIL:  The token has expired\..*HINT/s, 'DETAIL and HINT');
	is(count($sibling), '1|1', 'what was written stays');
	$stream->close;
};

done_testing;
