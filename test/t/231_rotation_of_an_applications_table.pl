# The background worker seals an application's table anew, too, and never runs the application's code with more
# rights than the table's owner has; code that stands in the way is noticed, and loses nothing.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1s'");
my $token = $cluster->token('north-pro');
my $account = $cluster->sql(app => $token, 'SELECT cauce.account_id()');
my $session = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});

# A table of an application's own role, with policies, that a superuser has put under cauce's care.
$cluster->superuser(q{
	CREATE ROLE tenant LOGIN; GRANT cauce_app TO tenant; GRANT CREATE ON SCHEMA public TO tenant;
	GRANT EXECUTE ON FUNCTION cauce.seal_row() TO tenant});
$cluster->sql(tenant => undef, q{
	CREATE TABLE public."odd ""name" (account_id uuid NOT NULL, "the session" uuid NOT NULL, n int, "a b" cauce.encrypted_text, list cauce.encrypted_text[],
		PRIMARY KEY (account_id, "the session", n));
	CREATE TRIGGER seal BEFORE INSERT OR UPDATE ON public."odd ""name" FOR EACH ROW EXECUTE FUNCTION cauce.seal_row('the session');
	ALTER TABLE public."odd ""name" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
	CREATE POLICY mine ON public."odd ""name" USING (account_id = cauce.account_id());
	CREATE TABLE public.seen (who text, rights boolean)});
$cluster->superuser('REVOKE EXECUTE ON FUNCTION cauce.seal_row() FROM tenant');
$cluster->sql(tenant => $token, qq{INSERT INTO public."odd ""name" SELECT '$account', '$session', n, 'text ' || n, ARRAY['one ' || n, NULL, 'two'] FROM generate_series(1, 20) n});

my $read = q{SELECT md5(string_agg(concat_ws(',', n, "a b", list::text[]), ';' ORDER BY n)) FROM public."odd ""name"};
my $content = $cluster->sql(tenant => $token, $read);

sub rotate { $cluster->superuser('SELECT cauce.rotate_data_keys()'); return }
sub finished { return $cluster->poll_until('SELECT bool_and(finished_at IS NOT NULL) FROM cauce.rotation_status', 't', 20) }
# left counts the keys that something may still lie under although they have a successor.
sub left { return $cluster->superuser('SELECT count(*) FROM cauce.data_key WHERE superseded_at IS NOT NULL AND resealed_at IS NULL') }

rotate();
ok(finished(), 'a table with odd names, forced policies, arrays');
is(left(), '0', 'is sealed anew');
is($cluster->sql(tenant => $token, $read), $content, 'and opens');

# The owner's code, where it fires even for a replica.
$cluster->sql(tenant => undef, q{
	CREATE FUNCTION public.attack() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.seen VALUES (current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user));
		BEGIN EXECUTE 'ALTER ROLE tenant SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN EXECUTE 'RESET ROLE; ALTER ROLE tenant SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN PERFORM set_config('role', 'postgres', false); EXCEPTION WHEN OTHERS THEN NULL; END;
		RETURN NEW; END $$;
	CREATE TRIGGER attack BEFORE UPDATE ON public."odd ""name" FOR EACH ROW EXECUTE FUNCTION public.attack();
	ALTER TABLE public."odd ""name" ENABLE ALWAYS TRIGGER attack});
rotate();
ok(finished(), 'a table whose owner has code run at each update');
is($cluster->superuser('SELECT string_agg(DISTINCT who || \' \' || rights, \',\') FROM public.seen'), 'tenant false', 'runs it as its owner');
is($cluster->superuser(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'tenant'}), 'f', 'who gains nothing');
is($cluster->sql(tenant => $token, $read), $content, 'and opens');

for my $how ([ 'lets no row be updated', 'RETURN NULL;', qr/a row could not be sealed anew/ ], [ 'puts back what was there', 'RETURN OLD;', qr/have not stayed so/ ])
{
	my ($name, $return, $message) = @$how;
	subtest "code that $name" => sub {
		$cluster->sql(tenant => undef, "CREATE OR REPLACE FUNCTION public.attack() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN $return END \$\$");
		rotate();
		ok(!$cluster->poll_until('SELECT bool_and(finished_at IS NOT NULL) FROM cauce.rotation_status', 't', 5), 'keeps a rotation from its end');
		like($cluster->log, $message, 'the log says so');
		isnt(left(), '0', 'which is not said to be done');
		is($cluster->sql(tenant => $token, $read), $content, 'everything opens');
		$cluster->sql(tenant => undef, 'ALTER TABLE public."odd ""name" DISABLE TRIGGER attack');
		ok(finished(), 'without it the rotation ends by itself');
		is(left(), '0', 'with everything under new keys');
		is($cluster->sql(tenant => $token, $read), $content, 'everything opens');
		$cluster->sql(tenant => undef, 'ALTER TABLE public."odd ""name" ENABLE ALWAYS TRIGGER attack');
	};
}

done_testing;
