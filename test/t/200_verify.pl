# cauce.verify() names every sealed value that was damaged, has lost its key, was carried to another
# place or was never bound, each by row, column and problem; nothing else, and nothing of what it held.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my %token = map { $_ => $cluster->token($_) } qw(north-pro south-pro);
my $canary = 'qzverify';

$cluster->superuser('CREATE CAST (bytea AS cauce.encrypted_text) WITHOUT FUNCTION; CREATE CAST (cauce.encrypted_text AS bytea) WITHOUT FUNCTION');
$cluster->superuser('CREATE ROLE operator LOGIN IN ROLE cauce_operator; CREATE ROLE auditor LOGIN IN ROLE cauce_auditor');

# session makes one with some of everything and gives its id; the texts are short and long.
sub session
{
	my ($subject) = @_;
	return $cluster->sql(
		app => $token{$subject},
		qq{INSERT INTO cauce.session (title, client) VALUES ('$canary title', '$canary client') RETURNING id AS s \\gset
		INSERT INTO cauce.transcript_segment (session_id, seq, start_ms, end_ms, body)
			SELECT :'s', n, n, n, '$canary segment ' || n FROM generate_series(1, 20) n;
		INSERT INTO cauce.report (session_id, kind, body) VALUES (:'s', 'first', '$canary one'), (:'s', 'second', repeat('$canary two ', 1000));
		INSERT INTO cauce.alert (session_id, kind, detail) VALUES (:'s', 'x', '$canary alert'), (:'s', 'y', NULL);
		SELECT :'s'});
}

my @north = map { session('north-pro') } 1 .. 2;
my ($south) = session('south-pro');
my $archived = session('north-pro');
$cluster->sql(app => $token{'north-pro'}, "SELECT cauce.archive_session('$archived')");
my %account = map { $_ => $cluster->superuser("SELECT id FROM cauce.account WHERE subject = '$_'") } qw(north-pro south-pro);
my @tables = map { "cauce.$_" } qw(account session transcript_segment report alert archived_session);
my $printed = '';

# verify gives the problems of a table, a line each, as the operator sees them.
sub verify
{
	my ($table, $columns) = @_;
	my $found = $cluster->sql(operator => undef,
		"SELECT " . ($columns // 'column_name, problem') . " FROM cauce.verify('$table') ORDER BY 1, 2");
	$printed .= $found . $cluster->sql(operator => undef, "SELECT * FROM cauce.verify('$table')");
	return $found;
}

# tampered makes a superuser's change behind every trigger, gives what verify says, and undoes it.
sub tampered
{
	my ($table, $change) = @_;
	my $found = $cluster->superuser("BEGIN; SET LOCAL session_replication_role = replica; $change;
		SELECT column_name, problem FROM cauce.verify('$table') ORDER BY 1, 2; ROLLBACK");
	$printed .= $found;
	return $found;
}

subtest 'all is well' => sub {
	is(verify($_), '', $_) for @tables;
	is($cluster->sql(postgres => $token{'south-pro'}, "SELECT count(*) FROM cauce.verify('cauce.report')"), '0', 'whoever asks with whichever token');
	is($cluster->try_sql(app => $token{'north-pro'}, q{SELECT * FROM cauce.verify('cauce.report')})->{sqlstate}, '42501', 'but no application asks');
	is($cluster->try_sql(auditor => undef, q{SELECT * FROM cauce.verify('cauce.report')})->{sqlstate}, '42501', 'nor an auditor');
	is($cluster->try_sql(operator => undef, q{SELECT * FROM cauce.verify('cauce.data_key')})->{sqlstate}, '42809', 'a table without a sealed column is an error');
	is($cluster->try_sql(operator => undef, q{SELECT * FROM cauce.verify('cauce.transcript')})->{sqlstate}, '42809', 'so is a view');
	is($cluster->try_sql(operator => undef, q{SELECT * FROM cauce.verify(17)})->{sqlstate}, '42P01', 'or nothing at all');
};

# A report's body, by session and kind.
sub body { return "(SELECT body FROM cauce.report WHERE session_id = '$_[0]' AND kind = '$_[1]')" }
# put writes an expression over the first report of the first session.
sub put { return "UPDATE cauce.report SET body = $_[0] WHERE session_id = '$north[0]' AND kind = 'first'" }

subtest 'carried to another place' => sub {
	is(tampered('cauce.report', put(body($south, 'first'))), 'body|another account', 'from another account');
	is(tampered('cauce.report', put(body($north[1], 'first'))), 'body|another session', 'from another session');
	is(tampered('cauce.report', put("(SELECT display_name FROM cauce.account WHERE subject = 'north-pro')")), 'body|another session', 'from the account');
	is(tampered('cauce.report', put(body($north[0], 'second'))), 'body|another row', 'from another row of the session, where it still opens');
	is(tampered('cauce.report', put("(SELECT title FROM cauce.session WHERE id = '$north[0]')")), 'body|another row', 'from the session');
	is(tampered('cauce.alert', "UPDATE cauce.alert SET detail = " . body($north[0], 'first') . " WHERE session_id = '$north[0]' AND kind = 'y'"),
		'detail|another row', 'from another table, over a NULL');
	is(tampered('cauce.session', "UPDATE cauce.session SET title = client, client = title WHERE id = '$north[0]'"),
		"client|another row\ntitle|another row", 'two columns exchanged');
	is(tampered('cauce.transcript_segment', "UPDATE cauce.transcript_segment SET seq = seq + 100 WHERE session_id = '$north[0]' AND seq = 7"),
		'body|another row', 'a row that was renumbered');
	is(tampered('cauce.account', "UPDATE cauce.account a SET display_name = o.display_name FROM cauce.account o WHERE a.subject = 'north-pro' AND o.subject = 'south-pro'"),
		'display_name|another account', 'an account under another name');
	is(tampered('cauce.account', "UPDATE cauce.account SET email = display_name WHERE subject = 'north-pro'"), 'email|another row', 'a name as an address');
	is(tampered('cauce.archived_session', "INSERT INTO cauce.archived_session SELECT account_id, gen_random_uuid(), organization_id, started_at, archived_at, delete_after, bundle FROM cauce.archived_session"),
		'bundle|another session', 'an archive under another id');
};

subtest 'damaged' => sub {
	my $at = sub { return put("set_byte(body::bytea, $_[0], get_byte(body::bytea, $_[0]) # $_[1])::cauce.encrypted_text") };
	my %place = (version => 0, flags => 1, binding => 25, nonce => 40, ciphertext => 50, tag => 70);
	is(tampered('cauce.report', $at->($place{$_}, 4)), 'body|damaged', "one bit of the $_") for sort keys %place;
	is(tampered('cauce.report', $at->(3, 1)), 'body|no key', 'one bit of the generation');
	is(tampered('cauce.report', $at->(10, 1)), 'body|no key', q{one bit of the key's id});
	is(tampered('cauce.report', put("substr(body::bytea, 1, $_)::cauce.encrypted_text")), 'body|damaged', "$_ bytes of it") for 0, 20, 62, 70;
	is(tampered('cauce.report', put("''::bytea::cauce.encrypted_text")), 'body|damaged', 'none');
	is(tampered('cauce.archived_session', 'UPDATE cauce.archived_session SET bundle = set_byte(bundle, 99, get_byte(bundle, 99) # 1)'), 'bundle|damaged', 'an archive');
	is(tampered('cauce.report', 'UPDATE cauce.report SET body = set_byte(body::bytea, 60, get_byte(body::bytea, 60) # 1)::cauce.encrypted_text'),
		join("\n", ('body|damaged') x 6), 'all of them: each is listed');
};

subtest 'a key that is gone or damaged' => sub {
	my $key = "WHERE session_id = '$north[0]'";
	is(tampered($_, "DELETE FROM cauce.data_key $key"), join("\n", ('body|no key') x ($_ =~ /report/ ? 2 : 20)), "gone: $_")
	  for qw(cauce.report cauce.transcript_segment);
	is(tampered('cauce.report', "UPDATE cauce.data_key SET wrapped = set_byte(wrapped, 12, get_byte(wrapped, 12) # 1) $key"),
		"body|damaged\nbody|damaged", 'damaged: the other sessions are still looked at');
	is(tampered('cauce.report', "UPDATE cauce.data_key SET wrapped = '\\x00' $key"), "body|damaged\nbody|damaged", 'or cut off');
};

subtest 'never bound' => sub {
	is(tampered('cauce.report', put("'$canary input'")), 'body|sealed at input', 'by the inbox key');
	my $found = $cluster->sql(postgres => $token{'north-pro'},
		"BEGIN; SET LOCAL session_replication_role = replica; " . put("'$canary input'") . "; SELECT problem FROM cauce.verify('cauce.report'); ROLLBACK");
	is($found, 'sealed at input', q{by the account's});
};

subtest 'each by its row, for good' => sub {
	$cluster->superuser("SET session_replication_role = replica; " . put(body($north[0], 'second')));
	my $id = $cluster->superuser("SELECT id FROM cauce.report WHERE session_id = '$north[0]' AND kind = 'first'");
	is($cluster->sql(app => $token{'north-pro'}, "SELECT left(body, 12) FROM cauce.report WHERE id = '$id'"), "$canary two", 'its owner reads it and suspects nothing');
	is(verify('cauce.report', '*'), "$account{'north-pro'}|$north[0]|$account{'north-pro'},$north[0],$id|body|another row", 'verify names account, session, row, column');
	is(verify($_), '', "and nothing in $_") for grep { !/report/ } @tables;
	$cluster->sql(app => $token{'north-pro'}, "UPDATE cauce.report SET body = '$canary one' WHERE id = '$id'");
	is(verify('cauce.report'), '', 'until its owner has written it anew');
};

subtest 'other tables' => sub {
	$cluster->superuser(qq{CREATE TABLE public.hoard (body cauce.encrypted_text, n int);
		INSERT INTO public.hoard VALUES (@{[ body($south, 'first') ]}, 1), ('$canary input', 2), (NULL, 3)});
	is(verify('public.hoard', '*'), '|||(0,2)|body|sealed at input' =~ s/^\|//r, 'where nothing binds, what was sealed at input is listed by its place');
	is($cluster->superuser(qq{BEGIN; DELETE FROM cauce.session WHERE id = '$south'; SELECT * FROM cauce.verify('public.hoard'); ROLLBACK}),
		"||(0,1)|body|no key\n||(0,2)|body|sealed at input", 'and what does not open any more');

	$cluster->superuser(q{CREATE TABLE public.note (tenant text, account_id uuid, session_id uuid, n int, words cauce.encrypted_text, PRIMARY KEY (n, tenant)) PARTITION BY LIST (tenant);
		CREATE TRIGGER seal BEFORE INSERT OR UPDATE ON public.note FOR EACH ROW EXECUTE FUNCTION cauce.seal_row('session_id');
		CREATE TABLE public.note_a PARTITION OF public.note FOR VALUES IN ('a');
		CREATE TABLE public.note_b (dropped int, words cauce.encrypted_text, n int NOT NULL, tenant text NOT NULL, session_id uuid, account_id uuid, PRIMARY KEY (tenant, n));
		ALTER TABLE public.note_b DROP dropped;
		ALTER TABLE public.note_b DROP CONSTRAINT note_b_pkey;
		ALTER TABLE public.note ATTACH PARTITION public.note_b FOR VALUES IN ('b');
		GRANT ALL ON public.note TO app});
	is(verify('public.note'), '', 'an empty partitioned table');
	$cluster->sql(app => $token{'north-pro'}, qq{INSERT INTO public.note
		SELECT t, cauce.account_id(), '$north[0]', n, '$canary note ' || n FROM unnest(ARRAY['a', 'b']) t, generate_series(1, 3) n});
	is(verify("public.$_"), '', "well: $_") for qw(note note_a note_b);
	$cluster->superuser(q{SET session_replication_role = replica;
		UPDATE public.note SET words = (SELECT words FROM public.note WHERE tenant = 'a' AND n = 1) WHERE n = 2});
	is(verify('public.note', 'primary_key, problem'), "2,a|another row\n2,b|another row", 'in every partition');
	is(verify('public.note_b', 'primary_key, problem'), '2,b|another row', 'or in one');
};

subtest 'what is erased meanwhile is no problem' => sub {
	my $gone = session('south-pro');
	my $verifier = CauceSession->open($cluster, operator => undef);
	$verifier->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM cauce.retention_run');
	$cluster->sql(app => $token{'south-pro'}, "DELETE FROM cauce.session WHERE id = '$gone'");
	is($verifier->query("SELECT * FROM cauce.verify('$_')"), '', $_) for grep { !/account/ } @tables;
	$verifier->query('COMMIT');
	$verifier->close;
};

subtest 'it can be stopped' => sub {
	is($cluster->try_sql(operator => undef, q{SET statement_timeout = 1; SELECT count(*) FROM generate_series(1, 2000), cauce.verify('cauce.transcript_segment')})->{sqlstate},
		'57014', 'by a time limit');
};

subtest 'without the keyring' => sub {
	my $file = $cluster->keyring_file;
	$cluster->as_postgres('mv', $file, "$file.away");
	my $result = $cluster->try_sql(operator => undef, q{SELECT * FROM cauce.verify('cauce.report')});
	is("$result->{sqlstate} $result->{out}", '55000 ', 'it says so and lists nothing');
	$cluster->as_postgres('mv', "$file.away", $file);
};

unlike($printed, qr/$canary|cauce1:/, 'content was never part of a report');
unlike($cluster->log, qr/$canary/, 'nor of the log');

done_testing;
