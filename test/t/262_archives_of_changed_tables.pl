# What has become of a protected table since a session was archived is either followed or an error that says what
# to do, and the archive stays as it is; what would be lost by archiving is refused. Bundles of version 1 still restore.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use File::Temp qw(tempdir);
use IPC::Run qw(run);
use Test::More;

my $cluster = CauceTest->start;
my $token = $cluster->token('north-pro');
my $canary = 'qzchanged';

sub mine { return $cluster->sql(app => $token, @_) }
sub try_mine { return $cluster->try_sql(app => $token, @_) }
sub superuser { return $cluster->superuser(@_) }

superuser(q{
	CREATE TABLE public.folder (name text PRIMARY KEY);
	INSERT INTO public.folder VALUES ('f');
	CREATE TABLE public.note (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), session_id uuid, words text, tags text[], plain text, folder text REFERENCES public.folder, code text, UNIQUE (code) DEFERRABLE INITIALLY DEFERRED);
	GRANT ALL ON public.note, public.folder TO app;
	SELECT cauce.protect('public.note', 'session_id', '{words,tags}')});

# archived makes a session with one note and archives it; the ids of both.
my $serial = 0;
sub archived
{
	my ($folder) = @_;
	my $code = 'code ' . ++$serial;
	my @ids = split /\|/, mine("INSERT INTO cauce.session (title) VALUES ('x') RETURNING id AS session \\gset
		INSERT INTO public.note (session_id, words, tags, plain, folder, code) VALUES (:'session', '$canary', '{a,NULL,b}', 'p', " . ($folder // 'NULL') . ", '$code') RETURNING session_id, id");
	mine("SELECT cauce.archive_session('$ids[0]')");
	return @ids;
}

# refused checks that a session is not restored, with what error, and that its archive stays.
sub refused
{
	my ($id, $sqlstate, $pattern, $name) = @_;
	my $result = try_mine("SELECT cauce.restore_session('$id')");
	is($result->{sqlstate}, $sqlstate, $name);
	like($result->{err}, $pattern, 'which says what');
	is(superuser("SELECT (SELECT count(*) FROM cauce.archived_session WHERE id = '$id'), (SELECT count(*) FROM cauce.session WHERE id = '$id')"), '1|0', 'the archive is where it was');
	return;
}

# restored checks that it is, and its note as it was, in its place.
sub restored
{
	my ($id, $name, $table, $words) = @_;
	my $result = try_mine("SELECT cauce.restore_session('$id')");
	is($result->{sqlstate}, '', $name) or diag $result->{err};
	$table //= 'public.note';
	is(mine(sprintf "SELECT %s, tags, plain FROM $table WHERE session_id = '$id'", $words // 'words'), "$canary|{a,NULL,b}|p", 'as it was');
	is(superuser("SELECT * FROM cauce.verify('$table')"), '', 'each value in its place');
	return;
}

subtest 'columns' => sub {
	my ($id) = archived();
	superuser(q{ALTER TABLE public.note ADD mood text DEFAULT 'calm', ADD n int GENERATED ALWAYS AS IDENTITY});
	restored($id, 'one that was added');
	is(mine("SELECT mood, n FROM public.note WHERE session_id = '$id'"), 'calm|1', 'has its default');
	($id) = archived();
	superuser('ALTER TABLE public.note ADD must text, ADD CHECK (must IS NOT NULL) NOT VALID');
	refused($id, '23514', qr/restoring rows of table public\.note/, 'one that was added and wants a value');
	superuser('ALTER TABLE public.note DROP must; ALTER TABLE public.note DROP plain');
	refused($id, '42703', qr/"plain".*rebind/s, 'one that was dropped');
	superuser('ALTER TABLE public.note ADD plain text');
	restored($id, 'and is there again');
	($id) = archived();
	superuser('ALTER TABLE public.note RENAME words TO said; ALTER TABLE public.note RENAME plain TO clear');
	refused($id, '42703', qr/"words"/, 'one that was renamed');
	superuser(q{SELECT cauce.rebind('public.note', "column" => 'said', former_column => 'words'), cauce.rebind('public.note', "column" => 'clear', former_column => 'plain')});
	superuser(q{ALTER TABLE public.note ADD words int});
	is(try_mine("SELECT cauce.restore_session('$id')")->{sqlstate}, '', 'when rebind() was told so');
	is(mine("SELECT said, clear, words, tags FROM public.note WHERE session_id = '$id'"), "$canary|p||{a,NULL,b}", 'it is as it was, whatever has its name now');
	is(superuser(q{SELECT * FROM cauce.verify('public.note')}), '', 'each value in its place');
	superuser(q{ALTER TABLE public.note DROP words; ALTER TABLE public.note RENAME said TO words; ALTER TABLE public.note RENAME clear TO plain;
		SELECT cauce.rebind('public.note', "column" => 'words', former_column => 'said'), cauce.rebind('public.note', "column" => 'plain', former_column => 'clear')});
};

subtest 'tables' => sub {
	my ($id) = archived();
	superuser('CREATE SCHEMA care; ALTER TABLE public.note SET SCHEMA care; ALTER TABLE care.note RENAME TO notice; GRANT USAGE ON SCHEMA care TO app');
	refused($id, '55000', qr/public\.note is not a protected table.*rebind/s, 'one that was renamed');
	superuser(q{SELECT cauce.rebind('care.notice', 'public', 'note')});
	restored($id, 'when rebind() was told so', 'care.notice');
	superuser(q{ALTER TABLE care.notice SET SCHEMA public; ALTER TABLE public.notice RENAME TO note; SELECT cauce.rebind('public.note', 'care', 'notice')});
	($id) = archived();
	$cluster->sql(postgres => $token, q{SELECT cauce.unprotect('public.note')});
	refused($id, '55000', qr/public\.note is not a protected table/, 'one that is not protected any more');
	superuser(q{SELECT cauce.protect('public.note', 'session_id', '{words}')});
	refused($id, '42804', qr/"tags".*not sealed any more/, 'one that is, with fewer sealed columns');
	$cluster->sql(postgres => $token, q{SELECT cauce.unprotect('public.note')});
	superuser(q{SELECT cauce.protect('public.note', 'session_id', '{words,tags,plain}')});
	restored($id, 'one with more');
	like(superuser("SELECT plain FROM public.note WHERE session_id = '$id'"), qr/^cauce1:/, 'is sealed where it was not');
	$cluster->sql(postgres => $token, q{SELECT cauce.unprotect('public.note')});
	superuser(q{SELECT cauce.protect('public.note', 'session_id', '{words,tags}')});
};

subtest 'what rows refer to' => sub {
	my ($id) = archived(q{'f'});
	superuser(q{DELETE FROM public.folder});
	refused($id, '23503', qr/note_folder_fkey/, 'is gone');
	superuser(q{INSERT INTO public.folder VALUES ('f')});
	restored($id, 'is there again');
	my ($other) = archived();
	mine(qq{INSERT INTO public.note (session_id, words, code) VALUES ('$id', 'x', 'code $serial')});
	refused($other, '23505', qr/note_code_key/, 'what is to be unique is there already');
	mine("DELETE FROM public.note WHERE code = 'code $serial'");
	restored($other, 'and then is not');
	my ($third, $note) = archived();
	mine(qq{INSERT INTO public.note (id, session_id, words) VALUES ('$note', '$id', 'x')});
	refused($third, '23505', qr/note_pkey/, 'nor is a primary key used twice');
};

subtest 'what would be lost' => sub {
	my $id = mine(q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
	my $note = mine("INSERT INTO public.note (session_id, words) VALUES ('$id', '$canary') RETURNING id");
	my $report = mine("INSERT INTO cauce.report (session_id, body) VALUES ('$id', 'r') RETURNING id");
	superuser(qq{CREATE TABLE public.stray (note uuid REFERENCES public.note ON DELETE CASCADE); INSERT INTO public.stray VALUES ('$note')});
	my $archive = sub {
		my ($pattern, $name) = @_;
		my $result = try_mine("SELECT cauce.archive_session('$id')");
		is($result->{sqlstate}, '0A000', $name);
		like($result->{err}, $pattern, 'which says which');
		is(mine("SELECT count(*) FROM public.note WHERE session_id = '$id'"), '1', 'nothing has changed');
	};
	$archive->(qr/public\.stray refer.*public\.note.*Protect/s, 'rows of a table that is not protected');
	superuser(qq{DELETE FROM public.stray; CREATE TABLE public.remark (account uuid, session uuid, report uuid, FOREIGN KEY (account, session, report) REFERENCES cauce.report ON DELETE CASCADE);
		INSERT INTO public.remark SELECT account_id, session_id, id FROM cauce.report WHERE id = '$report'});
	$archive->(qr/public\.remark refer.*cauce\.report/s, 'those of a report');
	superuser(qq{DROP TABLE public.remark; ALTER TABLE public.note ADD follows uuid REFERENCES public.note ON DELETE SET NULL});
	my $other = mine(q{INSERT INTO cauce.session (title) VALUES ('y') RETURNING id});
	mine("INSERT INTO public.note (session_id, words, follows) VALUES ('$other', 'x', '$note')");
	$archive->(qr/public\.note refer.*public\.note/s, q{another session's});

	my $writer = CauceSession->open($cluster, 'postgres');
	superuser("UPDATE public.note SET follows = NULL");
	$writer->query("BEGIN; INSERT INTO public.stray VALUES ('$note')");
	my $pid = fork // die "fork: $!";
	if (!$pid)
	{
		my $result = try_mine("SELECT cauce.archive_session('$id')");
		require POSIX;
		POSIX::_exit($result->{sqlstate} eq '0A000' ? 0 : 1);
	}
	ok($cluster->poll_until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'", 't'), 'a row that is being added is waited for');
	$writer->query('COMMIT');
	waitpid $pid, 0;
	is($?, 0, 'and counts');
	$writer->close;
	superuser('DELETE FROM public.stray');
	is(try_mine("SELECT cauce.archive_session('$id')")->{sqlstate}, '', 'without any of them it is archived');
	superuser('DROP TABLE public.stray; ALTER TABLE public.note DROP follows');
	restored_title($id);
};

sub restored_title
{
	my ($id) = @_;
	is(try_mine("SELECT cauce.restore_session('$id')")->{sqlstate}, '42703', 'a column that is gone is missed by its archive');
	superuser('ALTER TABLE public.note ADD follows uuid');
	mine("SELECT cauce.restore_session('$id')");
	is(mine("SELECT title FROM cauce.session WHERE id = '$id'"), 'x', 'and then not');
	superuser('ALTER TABLE public.note DROP follows');
	return;
}

subtest 'a table that is being adopted' => sub {
	my ($before) = archived();
	my $id = mine(q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
	superuser(qq{CREATE TABLE public.slow (n int PRIMARY KEY, s uuid, words text); INSERT INTO public.slow VALUES (1, '$id', '$canary'); GRANT ALL ON public.slow TO app;
		SELECT cauce.adopt_begin('public.slow', 's', '{words}')});
	is(try_mine("SELECT cauce.archive_session('$id')")->{sqlstate}, '55000', 'archiving waits');
	restored($before, 'but for sessions that have nothing there');
	superuser(q{CALL cauce.protect_gradually('public.slow', 's', '{words}')});
	mine("SELECT cauce.archive_session('$id'); SELECT cauce.restore_session('$id')");
	is(mine("SELECT words FROM public.slow"), $canary, 'it goes on when it is adopted');
};

subtest 'a trigger that keeps rows' => sub {
	my ($id) = archived();
	superuser(q{CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
		CREATE TRIGGER keep BEFORE INSERT OR DELETE ON public.note FOR EACH ROW EXECUTE FUNCTION public.keep(); ALTER TABLE public.note ENABLE ALWAYS TRIGGER keep});
	refused($id, '09000', qr/public\.note could not be put back/, 'from being restored');
	superuser('ALTER TABLE public.note DISABLE TRIGGER keep');
	restored($id, 'is noticed');
	superuser('ALTER TABLE public.note ENABLE ALWAYS TRIGGER keep');
	is(try_mine("SELECT cauce.archive_session('$id')")->{sqlstate}, '09000', 'from being archived, likewise');
	is(try_mine("DELETE FROM cauce.session WHERE id = '$id'")->{sqlstate}, '09000', 'from being erased, likewise');
	is(mine("SELECT words FROM public.note WHERE session_id = '$id'"), $canary, 'nothing has changed');
	superuser('DROP TRIGGER keep ON public.note');
};

subtest 'under legal hold' => sub {
	my ($id) = archived();
	mine("SELECT cauce.restore_session('$id')");
	superuser("UPDATE cauce.session SET legal_hold = true WHERE id = '$id'");
	is(try_mine("SELECT cauce.archive_session('$id')")->{sqlstate}, '55006', 'nothing moves');
	is(mine("SELECT words FROM public.note WHERE session_id = '$id'"), $canary, 'rows of protected tables neither');
};

subtest 'a bundle of version 1' => sub {
	my $id = mine(q{INSERT INTO cauce.session (title) VALUES ('of old') RETURNING id});
	mine("INSERT INTO cauce.report (session_id, body) VALUES ('$id', '$canary'); SELECT cauce.archive_session('$id')");
	my $private = tempdir(CLEANUP => 1);
	my %file = (keyring => $cluster->as_postgres('cat', $cluster->keyring_file)->{out},
		row => superuser("SELECT to_jsonb(k) FROM cauce.data_key k WHERE session_id = '$id'"), bundle => superuser("SELECT bundle FROM cauce.archived_session WHERE id = '$id'"),
		program => qq{
			import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
			import { readFileSync } from 'node:fs';
			import { inflateSync } from 'node:zlib';
			import { dictionary, readKeyring, unwrap } from '$CauceTest::ROOT/test/open_sealed.mjs';
			const read = (name) => readFileSync('$private/' + name);
			const key = unwrap(readKeyring('$private/keyring'), JSON.parse(read('row')));
			const value = Buffer.from(read('bundle').toString().trim().slice(2), 'hex');
			const head = value.subarray(0, 36);
			const opener = createDecipheriv('aes-256-gcm', key, value.subarray(36, 48)).setAAD(head).setAuthTag(value.subarray(-16));
			let plain = Buffer.concat([opener.update(value.subarray(48, -16)), opener.final()]);
			if (head[1] & 0x10) plain = inflateSync(plain.subarray(4), { dictionary });
			const bundle = JSON.parse(plain);
			if (bundle.version !== 2 || !Array.isArray(bundle.protected)) throw new Error('no bundle of version 2');
			bundle.version = Number(process.argv[2]);
			delete bundle.protected;
			const old = Buffer.from(head);
			old[1] &= 0x0f;
			const nonce = randomBytes(12);
			const sealer = createCipheriv('aes-256-gcm', key, nonce).setAAD(old);
			const sealed = Buffer.concat([sealer.update(JSON.stringify(bundle)), sealer.final()]);
			process.stdout.write('\\\\\\\\x' + Buffer.concat([old, nonce, sealed, sealer.getAuthTag()]).toString('hex'));
		} =~ s/\\\\\\\\x/\\\\x/r);
	for my $name (keys %file)
	{
		open my $out, '>', "$private/$name" . ($name eq 'program' ? '.mjs' : '') or die "$name: $!";
		print $out $file{$name};
		close $out or die "$name: $!";
	}
	my $sealed = sub {
		my ($version) = @_;
		my ($out, $err) = ('', '');
		run [ 'node', "$private/program.mjs", $version ], '<', \undef, '>', \$out, '2>', \$err or die $err;
		return superuser("UPDATE cauce.archived_session SET bundle = '$out' WHERE id = '$id'");
	};
	$sealed->(3);
	is(try_mine("SELECT cauce.restore_session('$id')")->{sqlstate}, '0A000', 'one of a version to come is refused');
	superuser("UPDATE cauce.archived_session SET bundle = '$file{bundle}' WHERE id = '$id'");
	$sealed->(1);
	is(mine("SELECT cauce.open_archive(account_id, id, bundle)->'report'->0->>'body' FROM cauce.archived_session WHERE id = '$id'"), $canary, 'opens');
	mine("SELECT cauce.restore_session('$id')");
	is(mine("SELECT title, body FROM cauce.session s JOIN cauce.report r ON r.session_id = s.id WHERE s.id = '$id'"), "of old|$canary", 'and restores');
};

done_testing;
