# Whatever code the owner of a protected table puts on it (triggers of every kind, rules, defaults, checks,
# types, computed columns, indexes) never runs with more rights than that owner's, whoever archives, restores or
# erases, and while a session is archived or restored nothing opens for it.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my $token = $cluster->token('north-pro');
my $canary = 'qzrights';

$cluster->superuser(q{
	CREATE ROLE hers LOGIN;
	CREATE SCHEMA hers AUTHORIZATION hers;
	GRANT USAGE ON SCHEMA hers TO app;
	CREATE TABLE hers.seen (what text, who name, content text);
	ALTER TABLE hers.seen OWNER TO hers;
	GRANT INSERT ON hers.seen TO PUBLIC;
	GRANT USAGE ON SCHEMA cauce TO hers});
# watch notes who runs it, tries to become more, and tries to read.
$cluster->sql(hers => undef, q{
	CREATE FUNCTION hers.watch(what text, value text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
	BEGIN
		BEGIN
			EXECUTE 'ALTER ROLE hers SUPERUSER';
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
		INSERT INTO hers.seen VALUES (what, current_user, value);
		RETURN true;
	END $$;
	-- An index, a check and a computed column want what says that it changes nothing.
	CREATE FUNCTION hers.quiet(what text, value text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN hers.watch(what, value); END $$;
	CREATE FUNCTION hers.fires() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		said text;
	BEGIN
		IF TG_LEVEL = 'ROW' THEN
			BEGIN
				said := format('%s', CASE TG_OP WHEN 'DELETE' THEN OLD.words ELSE NEW.words END);
				said := said || CASE TG_OP WHEN 'DELETE' THEN OLD.words::text ELSE NEW.words::text END;
			EXCEPTION WHEN OTHERS THEN NULL;
			END;
		END IF;
		BEGIN
			said := concat(said, (SELECT string_agg(k.words::text, '') FROM hers.kept k));
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
		PERFORM hers.watch(concat_ws(' ', TG_NAME, TG_OP), said);
		RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
	END $$;
	CREATE TABLE hers.kept (words text);
	CREATE TABLE hers.note (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, visit uuid, words text, plain text);
	GRANT ALL ON hers.note, hers.kept TO app});
$cluster->superuser(q{ALTER TABLE hers.kept ALTER words TYPE cauce.encrypted_text;
	GRANT USAGE ON TYPE cauce.encrypted_text TO hers; GRANT EXECUTE ON FUNCTION cauce.open_text(cauce.encrypted_text) TO hers;
	SELECT cauce.protect('hers.note', 'visit', '{words}')});
for my $when (qw(BEFORE AFTER))
{
	for my $level (qw(ROW STATEMENT))
	{
		for my $enabled ('', 'ALWAYS', 'REPLICA')
		{
			my $name = lc "${when}_${level}_$enabled";
			$cluster->sql(hers => undef, "CREATE TRIGGER $name $when INSERT OR DELETE ON hers.note FOR EACH $level EXECUTE FUNCTION hers.fires();
				ALTER TABLE hers.note ENABLE $enabled TRIGGER $name");
		}
	}
}
for my $enabled ('', 'ALWAYS')
{
	my $name = lc "late_$enabled";
	$cluster->sql(hers => undef, "CREATE CONSTRAINT TRIGGER $name AFTER INSERT OR DELETE ON hers.note DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hers.fires();
		ALTER TABLE hers.note ENABLE $enabled TRIGGER $name");
}

# seen gives what has run since the last call, as `what who`, and who is a superuser now.
sub seen
{
	my $seen = $cluster->superuser(q{WITH gone AS (DELETE FROM hers.seen RETURNING *) SELECT DISTINCT what, who FROM gone ORDER BY 1});
	return { map { split /\|/ } split /\n/, $seen };
}

# all_hers checks that everything ran as the owner, and that some of what was expected did run.
sub all_hers
{
	my ($name, @expected) = @_;
	is($cluster->superuser(qq{SELECT count(*) FROM hers.seen WHERE content LIKE '%$canary%'}), '0', "$name: nothing opens") if $name =~ /archived|restored|erased by retention/;
	my $seen = seen();
	is(join(' ', grep { $seen->{$_} ne 'hers' } sort keys %$seen), '', "$name: whatever runs is hers") or diag join ', ', map { "$_ as $seen->{$_}" } sort keys %$seen;
	ok(exists $seen->{$_}, "$name: $_ runs") for @expected;
	is($cluster->superuser(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'hers'}), 'f', "$name: she is what she was");
	return $seen;
}

# new_session makes one with a row, whose sealed value is kept elsewhere, too.
sub new_session
{
	my $id = $cluster->sql(app => $token, qq{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id AS session \\gset
		INSERT INTO hers.note (visit, words, plain) VALUES (:'session', '$canary', 'plain');
		SELECT :'session'});
	$cluster->superuser("INSERT INTO hers.kept SELECT words FROM hers.note WHERE visit = '$id'");
	seen();
	return $id;
}

my $id = new_session();
$cluster->superuser('ALTER TABLE hers.note DISABLE TRIGGER ALL; ALTER TABLE hers.note ENABLE TRIGGER ALL; '
	. join '; ', map { my $t = $_; map { "ALTER TABLE hers.note ENABLE " . uc($_) . " TRIGGER ${t}_$_" } qw(always replica) } qw(before_row after_row before_statement after_statement));
$cluster->superuser('ALTER TABLE hers.note ENABLE ALWAYS TRIGGER late_always');

subtest 'archived by its owner' => sub {
	$cluster->sql(app => $token, "SELECT cauce.archive_session('$id')");
	my $seen = all_hers('archived', map { "$_ DELETE" } qw(before_row_always after_row_replica after_statement_always late_always));
	is(join(' ', grep { /_ / } keys %$seen), '', 'ordinary triggers do not fire: a session that moves is not deleted');
	$cluster->sql(app => $token, "SELECT cauce.restore_session('$id')");
	$seen = all_hers('restored', map { "$_ INSERT" } qw(before_row_always after_row_replica after_statement_always late_always));
	is(join(' ', grep { /_ / } keys %$seen), '', 'nor when it comes back');
};

subtest 'archived by retention' => sub {
	# A table that refers to a report sees even what moves in custody, which is cauce's alone.
	$cluster->superuser('GRANT REFERENCES ON cauce.report TO hers');
	$cluster->sql(hers => undef, q{CREATE TABLE hers.extra (a uuid, s uuid, r uuid, FOREIGN KEY (a, s, r) REFERENCES cauce.report ON DELETE CASCADE);
		CREATE TRIGGER extra BEFORE DELETE ON hers.extra FOR EACH STATEMENT EXECUTE FUNCTION hers.fires()});
	$cluster->sql(app => $token, "INSERT INTO cauce.report (session_id, body) VALUES ('$id', '$canary')");
	seen();
	$cluster->superuser("UPDATE cauce.session SET started_at = now() - interval '90 days' WHERE id = '$id'");
	is($cluster->superuser('SELECT archived, failed FROM cauce.run_retention()'), '1|0', 'archived');
	all_hers('archived', 'before_row_always DELETE', 'after_statement_replica DELETE', 'late_always DELETE', 'extra DELETE');
	$cluster->sql(hers => undef, 'DROP TABLE hers.extra');
};

subtest 'code of other kinds' => sub {
	$cluster->sql(hers => undef, q{
		CREATE DOMAIN hers.checked AS text CHECK (hers.quiet('domain', VALUE));
		ALTER TABLE hers.note ALTER plain TYPE hers.checked, ADD later boolean DEFAULT hers.watch('default', 'x'), ADD computed boolean GENERATED ALWAYS AS (hers.quiet('computed', plain)) STORED,
			ADD CHECK (hers.quiet('check', plain));
		CREATE INDEX ON hers.note (hers.quiet('index', plain));
		CREATE RULE ruled AS ON INSERT TO hers.note DO ALSO SELECT hers.watch('rule', 'x');
		ALTER TABLE hers.note ENABLE ALWAYS RULE ruled});
	seen();
	is($cluster->try_sql(app => $token, "SELECT cauce.restore_session('$id')")->{sqlstate}, '', 'restored');
	all_hers('restored', qw(domain default computed check index rule));
	is($cluster->sql(app => $token, "SELECT words, plain, later, computed FROM hers.note"), "$canary|plain|t|t", 'as it was');
	$cluster->sql(hers => undef, 'DROP RULE ruled ON hers.note');
};

subtest 'erased' => sub {
	$cluster->superuser("UPDATE cauce.session SET legal_hold = false WHERE id = '$id'");
	$cluster->sql(app => $token, "DELETE FROM cauce.session WHERE id = '$id'");
	all_hers('by its owner', 'before_row_ DELETE', 'after_row_ DELETE', 'after_statement_ DELETE', 'late_ DELETE');

	$id = new_session();
	$cluster->sql(app => $token, q{SELECT cauce.set_retention(1, 'delete')});
	$cluster->superuser("UPDATE cauce.session SET started_at = now() - interval '9 days' WHERE id = '$id'");
	is($cluster->superuser('SELECT deleted, failed FROM cauce.run_retention()'), '1|0', 'by retention');
	all_hers('erased by retention', 'before_row_ DELETE', 'after_row_ DELETE', 'after_statement_ DELETE', 'late_ DELETE');

	$id = new_session();
	$cluster->superuser("UPDATE cauce.session SET started_at = now() - interval '9 days' WHERE id = '$id'");
	$cluster->configure('cauce.retention_naptime = 1');
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until('SELECT count(*) FROM cauce.session', '0'), 'by the worker');
	all_hers('erased by the worker', 'after_row_ DELETE', 'late_ DELETE');

	$id = new_session();
	$cluster->sql(app => $token, q{SELECT cauce.delete_my_data('north-pro')});
	all_hers('with the account', 'after_row_ DELETE', 'late_ DELETE');
};

done_testing;
