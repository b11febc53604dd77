# Every element of an array of sealed values is bound to its row, its column and its place, under the
# session's key; an array keeps its shape, its NULLs and, where nothing changes, its bytes. Domains
# change nothing of this, and composite types are refused.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Digest::SHA qw(sha256);
use MIME::Base64 qw(decode_base64);
use Test::More;

use constant AT_INPUT => 0x20;    # docs/format.md

my $cluster = CauceTest->start;
my %token = map { $_ => $cluster->token($_) } qw(north-pro south-pro);

$cluster->superuser(q{
	CREATE DOMAIN public.note AS cauce.encrypted_text CHECK (cauce.account_id() IS NULL OR length(VALUE) < 1000);
	CREATE DOMAIN public.notes AS cauce.encrypted_text[] CHECK (cardinality(VALUE) < 100);
	CREATE TABLE public.visit (account_id uuid DEFAULT cauce.account_id(), session_id uuid, id int, PRIMARY KEY (account_id, session_id, id),
		speaker text, body public.note, words cauce.encrypted_text[], forms cauce.encrypted_jsonb[], pictures cauce.encrypted_bytea[],
		under public.notes, over public.note[]);
	CREATE TRIGGER seal BEFORE INSERT OR UPDATE ON public.visit FOR EACH ROW EXECUTE FUNCTION cauce.seal_row('session_id');
	CREATE TABLE public.hoard AS TABLE public.visit WITH NO DATA;
	GRANT ALL ON public.visit, public.hoard TO app});

my @columns = qw(body words forms pictures under over);
my %kind = (body => 1, words => 1, forms => 2, pictures => 3, under => 1, over => 1);

sub mine { return $cluster->sql(app => $token{'north-pro'}, @_) }

# elements gives the sealed forms of one column of a row, in the order of storage, as a superuser sees them; NULL as ''.
sub elements
{
	my ($column, $id, $table) = @_;
	my $value = $cluster->superuser("SELECT $column FROM " . ($table // 'public.visit') . " WHERE id = $id");
	$value =~ s/^\[.*?\]=//;
	return map { $_ eq 'NULL' ? '' : $_ } $value =~ m{(NULL|cauce1:[A-Za-z0-9+/=]+)}g;
}

sub parts
{
	my ($form) = @_;
	my %part;
	@part{qw(version flags generation key binding nonce)} = unpack 'C C n H32 a16 a12', decode_base64($form =~ s/^cauce1://r);
	return \%part;
}

# binding computes what a value should be bound to, from docs/format.md alone.
sub binding
{
	return substr sha256(join '', map { pack 'N/a*', $_ } @_), 0, 16;
}

my $session = mine(q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
my $account = mine('SELECT cauce.account_id()');
my $key = $cluster->superuser("SELECT replace(id::text, '-', '') FROM cauce.data_key WHERE session_id = '$session'");

# check_row looks at every sealed value of a row.
sub check_row
{
	my ($id) = @_;
	my %nonce;
	my $count = 0;
	for my $column (@columns)
	{
		my $place = 0;
		for my $form (elements($column, $id))
		{
			$place++;
			next if $form eq '';
			my $part = parts($form);
			my @place = $column eq 'body' ? () : ($place);
			is($part->{flags} & 0x0f, $kind{$column}, "$column $place: its kind");
			is($part->{flags} & AT_INPUT, 0, 'not as input sealed it');
			is($part->{key}, $key, 'under the key of the session');
			ok($part->{binding} eq binding('public', 'visit', $account, $session, $id, $column, @place), 'bound to its place');
			$nonce{ $part->{nonce} } = 1;
			$count++;
		}
	}
	is(scalar keys %nonce, $count, 'each under a nonce of its own');
	return;
}

my $values = q{'a note', '{one,NULL,"",one}', '{"{\"a\": 1}",NULL,"null"}', '{"\\\\x00ff",NULL,""}', '{x,y,x}', '{u,NULL,v}'};
my $row = "SELECT @{[join ', ', @columns]} FROM public.visit WHERE id =";

subtest 'what goes in' => sub {
	mine("INSERT INTO public.visit (session_id, id, @{[join ', ', @columns]}) VALUES ('$session', 1, $values)");
	is(mine("$row 1"), 'a note|{one,NULL,"",one}|{"{\"a\": 1}",NULL,"null"}|{"\\\\x00ff",NULL,"\\\\x"}|{x,y,x}|{u,NULL,v}', 'comes out');
	check_row(1);
};

subtest 'shapes' => sub {
	my %shape = (2 => '[0:1][1:2]={{a,b},{c,NULL}}', 3 => '{}', 4 => '{NULL,NULL}', 5 => '{{{a},{b}},{{c},{d}}}', 6 => '[-3:-2]={a,b}');
	for my $id (sort keys %shape)
	{
		mine("INSERT INTO public.visit (session_id, id, words) VALUES ('$session', $id, '$shape{$id}')");
		is(mine("SELECT words FROM public.visit WHERE id = $id"), $shape{$id}, "$shape{$id} stays");
		check_row($id);
	}
	my $long = '{' . join(',', map { "w$_" } 1 .. 3000) . '}';
	mine("INSERT INTO public.visit (session_id, id, words) VALUES ('$session', 7, '$long')");
	is(mine('SELECT words FROM public.visit WHERE id = 7'), $long, 'a long one stays');
	my %binding = map { parts($_)->{binding} => 1 } elements(words => 7);
	is(scalar keys %binding, 3000, 'and has as many bindings');
};

subtest 'changes' => sub {
	my @before = elements(words => 1);
	my $all = $cluster->superuser("$row 1");
	mine("UPDATE public.visit SET speaker = 'x', words = words, over = over WHERE id = 1");
	is($cluster->superuser("$row 1"), $all, 'another column, or itself: not a byte');
	mine(q{UPDATE public.visit SET words = array_append(words, 'new') WHERE id = 1});
	my @after = elements(words => 1);
	is_deeply([ @after[ 0 .. 3 ] ], \@before, 'an element added: the others stay as they are');
	mine(q{UPDATE public.visit SET words[2] = 'two' WHERE id = 1});
	is(mine('SELECT words FROM public.visit WHERE id = 1'), '{one,two,"",one,new}', 'an element set');
	is((elements(words => 1))[0], $before[0], 'and no other');
	mine('UPDATE public.visit SET words = words[2:] WHERE id = 1');
	is(mine('SELECT words FROM public.visit WHERE id = 1'), '{two,"",one,new}', 'elements moved');
	mine('UPDATE public.visit SET id = 100 WHERE id = 1');
	check_row(100);
	mine('UPDATE public.visit SET id = 1 WHERE id = 100');
	mine('UPDATE public.visit SET over = words::public.note[], under = pictures::text[] WHERE id = 1');
	is(mine('SELECT over, under FROM public.visit WHERE id = 1'), '{two,"",one,new}|{"\\\\x00ff",NULL,"\\\\x"}', 'from one column to another, and from one type to another');
	check_row(1);
};

subtest 'a long value' => sub {
	mine("INSERT INTO public.visit (session_id, id) VALUES ('$session', 9)");
	$cluster->superuser('ALTER DOMAIN public.note DROP CONSTRAINT note_check');
	mine(q{UPDATE public.visit SET body = (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 100000)) WHERE id = 9});
	$cluster->superuser('ALTER DOMAIN public.note ADD CONSTRAINT note_check CHECK (cauce.account_id() IS NULL OR length(VALUE) < 1000) NOT VALID');
	my $stored = $cluster->superuser('SELECT body FROM public.visit WHERE id = 9');
	my ($buffers) = $cluster->sql(postgres => $token{'north-pro'}, q{UPDATE public.visit SET speaker = 'x' WHERE id = 9;
		EXPLAIN (ANALYZE, BUFFERS) UPDATE public.visit SET speaker = 'y' WHERE id = 9}) =~ /Buffers: shared hit=(\d+)/;
	cmp_ok($buffers, '<', 100, 'is not fetched when another column changes');
	ok($cluster->superuser('SELECT body FROM public.visit WHERE id = 9') eq $stored, 'and stays as it is');
	mine('DELETE FROM public.visit WHERE id = 9');
};

subtest 'those who may not' => sub {
	my $other = $cluster->sql(app => $token{'south-pro'}, q{INSERT INTO cauce.session (title) VALUES ('y') RETURNING id});
	my $result = $cluster->try_sql(app => $token{'south-pro'}, "INSERT INTO public.visit (session_id, id, words) SELECT '$other', 1, words FROM public.visit WHERE session_id = '$session' AND id = 2");
	is($result->{sqlstate}, '42501', 'nobody takes the array of another account');
	is($cluster->try_sql(app => $token{'south-pro'}, 'SELECT words::text[] FROM public.visit WHERE id = 2')->{sqlstate}, '42501', 'nor casts it');
	like($cluster->sql(app => $token{'south-pro'}, 'SELECT words FROM public.visit WHERE id = 2'), qr/^\[0:1\]\[1:2\]=\{\{cauce1:/, 'nor sees but sealed elements');
	my @form = elements(words => 5);
	my $swapped = $cluster->try_sql(postgres => undef, "UPDATE public.visit SET words = '{$form[1],$form[0]}' WHERE id = 6");
	is($swapped->{sqlstate}, '42501', 'a superuser moves none from row to row');
	@form = elements(words => 6);
	is($cluster->try_sql(postgres => undef, "UPDATE public.visit SET words = '{$form[1],$form[0]}' WHERE id = 6")->{sqlstate}, '42501', 'nor within its array');
	is($cluster->try_sql(postgres => undef, "UPDATE public.visit SET words = '{$form[0],$form[1]}' WHERE id = 6")->{sqlstate}, '', 'but may bring it as it was');
	mine("INSERT INTO public.hoard (words) VALUES ('{as,input,left,it}')");
	is($cluster->try_sql(app => $token{'south-pro'}, "INSERT INTO public.visit (session_id, id, words) SELECT '$other', 2, words FROM public.hoard")->{sqlstate}, '42501', 'what lies in a table without the trigger moves for its owner');
	mine("INSERT INTO public.visit (session_id, id, words) SELECT '$session', 8, words FROM public.hoard WHERE words IS NOT NULL;
		DELETE FROM public.hoard");
	check_row(8);
	is($cluster->try_sql(postgres => undef, "INSERT INTO public.hoard (account_id, session_id, id, words) VALUES ('$account', '$session', 0, '{NULL,cauce1:AAAA}')")->{sqlstate}, 'XX001', 'a damaged element is no element');
};

subtest 'a dump' => sub {
	my $file = $cluster->dir . '/run/visit.copy';
	my $rows = q{SELECT count(*) || ' ' || md5(string_agg(v::text, '|' ORDER BY id)) FROM public.visit v};
	my $before = $cluster->superuser($rows);
	for my $format (qw(text binary))
	{
		$cluster->superuser("COPY public.visit TO '$file' (FORMAT $format); DELETE FROM public.visit; COPY public.visit FROM '$file' (FORMAT $format)");
		is($cluster->superuser($rows), $before, "format $format: restored byte by byte, a domain with a CHECK included");
	}
	is($cluster->try_sql(app => $token{'north-pro'}, "UPDATE public.visit SET body = repeat('x', 1000) WHERE id = 1")->{sqlstate}, '23514', 'the CHECK holds for the owner');
};

subtest 'composite types' => sub {
	$cluster->superuser(q{
		CREATE TYPE public.pair AS (plain text, sealed cauce.encrypted_text);
		CREATE DOMAIN public.list AS cauce.encrypted_jsonb[];
		CREATE TYPE public.deep AS (pairs public.pair[])});
	for my $type (qw(pair pair[] deep list[]))
	{
		$cluster->superuser("ALTER TABLE public.visit ADD hidden public.$type");
		my $result = $cluster->try_sql(app => $token{'north-pro'}, "INSERT INTO public.visit (session_id, id) VALUES ('$session', 50)");
		is($result->{sqlstate}, '0A000', "a column of type $type is refused");
		like($result->{err}, qr/"hidden"/, 'by name');
		$cluster->superuser('ALTER TABLE public.visit DROP hidden');
	}
	mine("INSERT INTO public.visit (session_id, id) VALUES ('$session', 50)");
	pass('without it the table works again');
};

# What another identity's literal left in a plan would be refused by the trigger (src/literals.c).
subtest 'literals in plans that are kept' => sub {
	my $pooled = CauceSession->open($cluster, 'app', undef);
	my %sessions = map { $_ => $cluster->sql(app => $token{$_}, q{INSERT INTO cauce.session (title) VALUES ('z') RETURNING id}) } sort keys %token;
	my %literal = (
		words => q{'{a literal}'},
		forms => q{ARRAY['{"a": "literal"}']::cauce.encrypted_jsonb[]},
		pictures => q{'{NULL,"\\\\x00"}'},
		body => q{('("a literal",{})'::public.template).body},
		under => q{'{a,literal}'},
		over => q{ARRAY['a literal']::public.note[]},
	);
	my $n = 1000;
	$cluster->superuser('CREATE TYPE public.template AS (body cauce.encrypted_text, words cauce.encrypted_text[])');
	# as_one runs a statement in a transaction of one identity, or of none.
	my $as_one = sub {
		my ($who, $sql) = @_;
		my $result = $pooled->try(join ' ', 'BEGIN;', $who ? "SET LOCAL cauce.token = '$token{$who}';" : (), "$sql; COMMIT;");
		$pooled->try('ROLLBACK') if $result->{sqlstate};
		return $result;
	};
	for my $parser ('', 'north-pro')
	{
		my $by = $parser || 'nobody';
		for my $column (sort keys %literal)
		{
			my $name = "\"$column by $by\"";
			$as_one->($parser, "PREPARE $name (uuid, int) AS INSERT INTO public.visit (session_id, id, $column) VALUES (\$1, \$2, $literal{$column})");
			for my $who (qw(north-pro south-pro north-pro))
			{
				$n++;
				my $result = $as_one->($who, "EXECUTE $name ('$sessions{$who}', $n)");
				is($result->{sqlstate}, '', "$column, prepared by $by, serves $who") or diag $result->{err};
			}
		}
	}
	$pooled->close;
};

subtest 'erasure' => sub {
	$cluster->superuser('INSERT INTO public.hoard SELECT * FROM public.visit WHERE id = 1');
	is(mine('SELECT words::text[] FROM public.hoard WHERE id = 1'), '{two,"",one,new}', 'a copy opens');
	mine("DELETE FROM cauce.session WHERE id = '$session'");
	for my $column (qw(body words forms pictures under over))
	{
		is($cluster->try_sql(app => $token{'north-pro'}, "SELECT $column FROM public.hoard WHERE id = 1")->{sqlstate}, 'XX001', "$column: until the session is erased");
	}
};

done_testing;
