# encrypted_text, encrypted_jsonb and encrypted_bytea travel as text, jsonb and bytea do, bit for bit: as
# parameters and results of both formats, through COPY in all three; and without identity as sealed
# forms that come back to what they were, through COPY and binary logical replication too.
use strict;
use warnings;
use CauceTest;
use CauceWire;
use File::Temp qw(tempdir);
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;

my $cluster = CauceTest->start(settings => <<'SETTINGS');
wal_level = logical
shared_preload_libraries = 'pg_cron,cauce,auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_verbose = on
auto_explain.log_nested_statements = on
log_statement = none
log_min_messages = debug1
log_parameter_max_length_on_error = -1
SETTINGS
my $token = $cluster->token('north-pro');
my $scratch = tempdir('cauce-wire-XXXXXX', TMPDIR => 1, CLEANUP => 1);

# The plain twin is the oracle: whatever is done to both must look the same to the owner.
$cluster->superuser(q{
	CREATE TABLE public.plain (id int PRIMARY KEY, t text, j jsonb, b bytea, ts text[], js jsonb[], bs bytea[]);
	CREATE TABLE public.sealed (id int PRIMARY KEY, t cauce.encrypted_text, j cauce.encrypted_jsonb, b cauce.encrypted_bytea,
		ts cauce.encrypted_text[], js cauce.encrypted_jsonb[], bs cauce.encrypted_bytea[]);
	CREATE TABLE public.moved (LIKE public.sealed);
	GRANT ALL ON public.plain, public.sealed, public.moved TO app});

my $wire = CauceWire->connect($cluster, 'app');
$wire->execute(q{SELECT set_config('cauce.token', $1, false)}, [$token]);

# both runs a statement on the plain and on the sealed table, and gives both results. In the
# statement, TABLE and the types' prefix TYPE stand for what differs.
sub both
{
	my ($sql, $parameters, %option) = @_;
	return map {
		my ($table, $prefix) = @$_;
		my $text = $sql =~ s/\bTABLE\b/public.$table/gr;
		$text =~ s/\bTYPE\((\w+)\)/$prefix ? "cauce.encrypted_$1" : $1/ge;
		$wire->execute($text, $parameters, %option, $option{name} ? (name => "$option{name} $table") : ());
	} ([ plain => '' ], [ sealed => 'cauce' ]);
}

# same tells whether a statement does the same to both.
sub same
{
	my ($name, @call) = @_;
	my ($plain, $sealed) = both(@call);
	is("$plain->{error}$sealed->{error}", '', "$name: no error");
	is_deeply($sealed->{rows}, $plain->{rows}, "$name: the same rows");
	return;
}

# refused tells whether a statement fails on both with the same SQLSTATE.
sub refused
{
	my ($name, $sqlstate, @call) = @_;
	is($_->{sqlstate}, $sqlstate, "$name is refused") for both(@call);
	return;
}

sub int4 { return pack 'N', $_[0] }

my $every_byte = join '', map { chr } 0 .. 255;
my @texts = (undef, '', 'x', "\x{c3}\x{b1} \x{f0}\x{9f}\x{98}\x{80}\t\n\\\"'", 'y' x 255, 'y' x 256, join(' ', map { rand } 1 .. 5000));
my @jsons = (undef, 'null', '""', '"x"', '{"b": [1, 2.50, {"c": null}], "a": "\u00e9"}', '[' . join(',', map { rand } 1 .. 5000) . ']', '{"dup": 1, "dup": 2}');
my @bytes = (undef, '', "\0", $every_byte, "\\x", 'z' x 4096, join '', map { chr rand 256 } 1 .. 70000);

subtest 'parameters and results in text' => sub {
	for my $i (0 .. $#texts)
	{
		my $hex = defined $bytes[$i] ? '\x' . unpack('H*', $bytes[$i]) : undef;
		same("row $i", 'INSERT INTO TABLE (id, t, j, b) VALUES ($1, $2, $3, $4) RETURNING t, j, b', [ $i, $texts[$i], $jsons[$i], $hex ], name => 'text');
	}
	for my $output (qw(hex escape))
	{
		$wire->simple("SET bytea_output = $output");
		same("read, bytea_output = $output", 'SELECT * FROM TABLE ORDER BY id');
	}
	$wire->simple('RESET bytea_output');
};

subtest 'parameters and results in binary' => sub {
	for my $i (0 .. $#texts)
	{
		my $json = defined $jsons[$i] ? "\x01$jsons[$i]" : undef;
		same("row $i", 'INSERT INTO TABLE (id, t, j, b) VALUES ($1, $2, $3, $4) RETURNING t, j, b',
			[ int4(100 + $i), $texts[$i], $json, $bytes[$i] ], binary => 1, name => 'binary');
	}
	same('read', 'SELECT id, t, j, b FROM TABLE ORDER BY id', [], binary => 1);
	same('what arrived as text', 'SELECT t, j, b FROM TABLE WHERE id = $1', [ int4(4) ], binary => 1);
	is($wire->execute('UPDATE public.sealed SET j = $1', ["\x02{}"], binary => 1)->{sqlstate}, '22P03', 'a version that jsonb does not know is refused');
	refused('no version', '08P01', 'UPDATE TABLE SET j = $1', [''], binary => 1);
	refused('what is not UTF-8', '22021', 'UPDATE TABLE SET t = $1', ["\xff"], binary => 1);
	refused('what is not JSON', '22P02', 'UPDATE TABLE SET j = $1', ["\x01{"], binary => 1);
};

subtest 'typed parameters, ON CONFLICT, MERGE, arrays' => sub {
	same('a parameter of the plain type', 'UPDATE TABLE SET t = $1::text, j = $2::jsonb, b = $3::bytea WHERE id = 1 RETURNING t, j, b', [ 'as text', '{"as": "jsonb"}', '\x00ff' ]);
	same('a parameter of the type', 'UPDATE TABLE SET t = $1::TYPE(text), j = $2::TYPE(jsonb), b = $3::TYPE(bytea) WHERE id = 1 RETURNING t, j, b', [ 'as it is', '{"as": "is"}', '\x01' ]);
	same('ON CONFLICT', 'INSERT INTO TABLE (id, t, j, b) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET t = excluded.t, j = excluded.j, b = excluded.b RETURNING t, j, b', [ 1, 'new', '[1]', '\x02' ]);
	same('MERGE', 'MERGE INTO TABLE AS m USING (SELECT $1::int AS id, $2::text AS t, $3::jsonb AS j, $4::bytea AS b) AS v ON m.id = v.id
		WHEN MATCHED THEN UPDATE SET t = v.t, j = v.j, b = v.b WHEN NOT MATCHED THEN INSERT (id, t, j, b) VALUES (v.id, v.t, v.j, v.b)', [ $_, 'merged', '{"m": 1}', '\x03' ]) for 1, 201;
	same('arrays in text', 'UPDATE TABLE SET ts = $1, js = $2, bs = $3 WHERE id = 1 RETURNING ts, js, bs', [ '{a,NULL,"","{}"}', '{"{\"a\": 1}",NULL,"null"}', '{"\\\\x00ff",NULL,""}' ]);
	same('arrays of two dimensions', 'UPDATE TABLE SET ts = $1, js = $2 WHERE id = 2 RETURNING ts, js, ts[2][1]', [ '[0:1][1:2]={{a,b},{c,NULL}}', '{{1,2},{3,4}}' ]);
	same('empty arrays', 'UPDATE TABLE SET ts = $1, js = $2, bs = $3 WHERE id = 3 RETURNING ts, js, bs', [ '{}', '{}', '{}' ]);
	same('elements', 'SELECT ts[1], js[1]->$1, bs[1], cardinality(ts), array_length(js, 1) FROM TABLE ORDER BY id', ['a']);
	same('literals', q{INSERT INTO TABLE VALUES (202, 'a', '{"a": 1}', '\x00', '{a}', '{"[1]"}', '{"\\\\x01"}') RETURNING *});
	# The element type's OID, which differs, is in the binary form of an array: only what follows it is compared.
	my ($plain, $sealed) = map { [ map { defined ? substr $_, 12 : undef } map { @$_ } @{ $_->{rows} } ] } both('SELECT ts, js, bs FROM TABLE ORDER BY id', [], binary => 1);
	is_deeply($sealed, $plain, 'arrays in binary: the same elements');
	my @binary = map { $_->{rows}[0] } both('SELECT ts, js, bs FROM TABLE WHERE id = 1', [], binary => 1);
	my $again = $wire->execute('UPDATE public.sealed SET ts = $1, js = $2, bs = $3 WHERE id = 201 RETURNING ts, js, bs', $binary[1], binary => 1);
	is_deeply($again->{rows}, [ $binary[1] ], 'arrays as binary parameters come back as they were') or diag $again->{error};
};

# copy_out gives the file that a table's COPY makes.
sub copy_out
{
	my ($role, $as, $table, $format) = @_;
	my $file = "$scratch/$table.$format";
	$cluster->sql($role, $as, "\\copy (SELECT id, t, j, b FROM public.$table ORDER BY id) TO '$file' (FORMAT $format)");
	return $file;
}

sub slurp
{
	my ($file) = @_;
	open my $in, '<:raw', $file or die "$file: $!";
	local $/;
	return scalar <$in>;
}

my $digest = q{SELECT md5(string_agg(t::text, '|' ORDER BY id)), md5(string_agg(j::text, '|' ORDER BY id)), md5(string_agg(b::text, '|' ORDER BY id)), count(*) FROM public.};
my $forms = q{SELECT md5(string_agg(format('%s %s %s', t, j, b), '|' ORDER BY id)) FROM public.};

for my $format (qw(text csv binary))
{
	subtest "COPY, format $format" => sub {
		my $plain = copy_out(app => $token, plain => $format);
		my $opened = copy_out(app => $token, sealed => $format);
		ok(slurp($opened) eq slurp($plain), 'out, for the owner: as the plain table, bit for bit');
		$cluster->sql(app => $token, "TRUNCATE public.moved; \\copy public.moved (id, t, j, b) FROM '$plain' (FORMAT $format)" =~ s/; /;\n/r);
		is($cluster->sql(app => $token, "${digest}moved"), $cluster->sql(app => $token, "${digest}plain"), 'in, from the plain file');

		my $sealed = copy_out(postgres => undef, sealed => $format);
		unlike(slurp($sealed), qr/merged|yyyyyyyy|zzzzzzzz/, 'out, without identity: no content');
		$cluster->superuser("TRUNCATE public.moved;\n\\copy public.moved (id, t, j, b) FROM '$sealed' (FORMAT $format)");
		is($cluster->superuser("${forms}moved"), $cluster->superuser("${forms}sealed"), 'in, by a superuser: the same sealed values');
		is($cluster->sql(app => $token, "${digest}moved"), $cluster->sql(app => $token, "${digest}plain"), 'which their owner opens');
	};
}

subtest 'binary logical replication' => sub {
	my $conninfo = $cluster->dsn('postgres');
	$cluster->superuser('CREATE DATABASE copy');
	$cluster->superuser('SET client_min_messages = warning; CREATE EXTENSION cauce CASCADE; CREATE TABLE public.sealed (id int PRIMARY KEY, t cauce.encrypted_text, j cauce.encrypted_jsonb, b cauce.encrypted_bytea,
		ts cauce.encrypted_text[], js cauce.encrypted_jsonb[], bs cauce.encrypted_bytea[])', database => 'copy');
	$cluster->superuser(q{CREATE PUBLICATION all_of_it FOR TABLE public.sealed; SELECT pg_create_logical_replication_slot('copy', 'pgoutput') \g /dev/null});
	$cluster->superuser("SET client_min_messages = error; CREATE SUBSCRIPTION copy CONNECTION '$conninfo' PUBLICATION all_of_it WITH (create_slot = false, slot_name = 'copy', copy_data = false, binary = true)", database => 'copy');
	$wire->simple('UPDATE public.sealed SET t = t');
	is($wire->simple(q{INSERT INTO public.sealed SELECT id + 1000, t, j, b, ts, js, bs FROM public.sealed})->{sqlstate}, '', 'rows are added');
	my $rows = q{SELECT count(*) || ' ' || md5(string_agg(format('%s %s %s %s %s %s', t, j, b, ts, js, bs), '|' ORDER BY id)) FROM public.sealed WHERE id >= 1000};
	my $here = $cluster->superuser($rows);
	my $there = '';
	for (1 .. 100)
	{
		$there = $cluster->superuser($rows, database => 'copy');
		last if $there eq $here;
		select undef, undef, undef, 0.1;
	}
	is($there, $here, 'the subscriber holds the same sealed values');
	is($cluster->try_sql(postgres => undef, "SELECT $_ FROM public.sealed WHERE id = 1000", database => 'copy')->{sqlstate} || 'none', 'none', "$_ is there") for qw(t j b);
	$cluster->superuser('ALTER SUBSCRIPTION copy DISABLE; ALTER SUBSCRIPTION copy SET (slot_name = NONE)', database => 'copy');
	$cluster->superuser('DROP SUBSCRIPTION copy', database => 'copy');
	$cluster->poll_until(q{SELECT count(*) FROM pg_replication_slots WHERE active}, '0');
	$cluster->superuser(q{SELECT pg_drop_replication_slot('copy') \g /dev/null});
};

# Sealed text is UTF-8 whatever the database's encoding, so that it opens in a database of another one.
subtest 'a database in LATIN1' => sub {
	$cluster->superuser(q{CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0});
	my $file = $cluster->dir . '/run/latin.copy';
	$cluster->superuser(qq{COPY (SELECT id, account_id, organization_id, session_id, epoch, generation, wrapped FROM cauce.data_key) TO '$file';
		COPY (SELECT id, subject FROM cauce.account) TO '$file.accounts'});
	$cluster->superuser(qq{SET client_min_messages = warning; CREATE EXTENSION cauce CASCADE;
		COPY cauce.account (id, subject) FROM '$file.accounts'; DELETE FROM cauce.data_key;
		COPY cauce.data_key (id, account_id, organization_id, session_id, epoch, generation, wrapped) FROM '$file'}, database => 'latin');
	for my $value (qw(text jsonb))
	{
		my $word = $value eq 'text' ? "\x{c3}\x{a9}t\x{c3}\x{a9}" : "{\"s\": \"\x{c3}\x{a9}t\x{c3}\x{a9}\"}";
		my $form = $cluster->sql(app => $token, "CREATE TEMP TABLE w (v cauce.encrypted_$value); INSERT INTO w VALUES ('$word'); SELECT set_config('cauce.token', '', false) \\g /dev/null
			SELECT v FROM w");
		my $latin = $cluster->sql(postgres => $token, "SET client_encoding = UTF8; SELECT '$form'::cauce.encrypted_$value, length('$form'::cauce.encrypted_${value}::text)", database => 'latin');
		is($latin, "$word|" . ($value eq 'text' ? 3 : 12), "$value opens");
		is($cluster->sql(app => $token, "SET client_encoding = UTF8; SELECT '$word'::cauce.encrypted_$value", database => 'latin'), $word, 'and is sealed');
		my $euro = "\x{e2}\x{82}\x{ac}";
		$form = $cluster->sql(app => $token, "CREATE TEMP TABLE w (v cauce.encrypted_$value); INSERT INTO w VALUES ('\"$euro\"'); SELECT set_config('cauce.token', '', false) \\g /dev/null
			SELECT v FROM w");
		is($cluster->try_sql(postgres => $token, "SELECT '$form'::cauce.encrypted_$value", database => 'latin')->{sqlstate}, '22P05', 'a character that LATIN1 has not is an error');
	}
};

subtest 'a sealed form of one kind' => sub {
	my %form;
	@form{qw(text jsonb bytea)} = split /\|/, $cluster->superuser('SELECT t, j, b FROM public.sealed WHERE id = 202');
	my %column = (text => 't', jsonb => 'j', bytea => 'b');
	my %kind = (text => 1, jsonb => 2, bytea => 3);
	for my $from (sort keys %form)
	{
		for my $to (grep { $_ ne $from } sort keys %form)
		{
			is($cluster->try_sql(postgres => undef, "SELECT '$form{$from}'::cauce.encrypted_$to")->{sqlstate}, 'XX001', "$from is refused as $to");
			my $bytes = decode_base64($form{$from} =~ s/^cauce1://r);
			substr $bytes, 1, 1, chr(ord(substr $bytes, 1, 1) & 0xf0 | $kind{$to});
			my $forged = 'cauce1:' . encode_base64($bytes, '');
			is($cluster->try_sql(postgres => undef, "INSERT INTO public.moved (id, $column{$to}) VALUES (-1, '$forged')")->{sqlstate}, '', 'with the kind changed its form is right');
			is($cluster->try_sql(app => $token, "SELECT $column{$to} FROM public.moved WHERE id = -1")->{sqlstate}, 'XX001', 'but it does not open');
			$cluster->superuser('DELETE FROM public.moved WHERE id = -1');
		}
	}
};

subtest 'what is refused, and what is explained' => sub {
	my $parameter = '{"mood": qzrefused}';
	my %way = (
		'a parameter' => sub { $_[0]->execute('INSERT INTO public.sealed (id, j) VALUES (9000, $1)', [$parameter]) },
		'a binary parameter' => sub { $_[0]->execute('INSERT INTO public.sealed (id, j) VALUES ($1, $2)', [ int4(9000), "\x01$parameter" ], binary => 1) },
		'a literal' => sub { $_[0]->simple("INSERT INTO public.sealed (id, j) VALUES (9000, '$parameter')") },
		'an element' => sub { $_[0]->execute('INSERT INTO public.sealed (id, js) VALUES (9000, $1)', ['{"{\"mood\": qzrefused}"}']) },
		'half a character' => sub { $_[0]->execute('INSERT INTO public.sealed (id, j) VALUES (9000, $1)', ['{"mood": "qzrefused \u0000"}']) },
	);
	my $stranger = CauceWire->connect($cluster, 'app');
	for my $client ([ 'without identity' => $stranger ], [ 'with identity' => $wire ])
	{
		for my $way (sort keys %way)
		{
			my $result = $way{$way}->($client->[1]);
			like($result->{sqlstate}, qr/^22P0[25]$/, "$way, $client->[0]: refused");
			like($result->{error}, qr/qzrefused|0000/, 'the client hears why');
		}
	}
	is($stranger->execute('INSERT INTO public.sealed (id, b) VALUES (9000, $1)', ['\xqzrefused'])->{sqlstate}, '22023', 'hex that is none');
	my $copied = $cluster->try_sql(app => undef, "COPY public.sealed (id, j) FROM STDIN;\n9000\t$parameter\n\\.");
	is($copied->{sqlstate}, '22P02', 'COPY is refused');
	is($wire->simple(q{INSERT INTO public.sealed (id, t, j, b) VALUES (9001, 'qzrefused', '{"a": "qzrefused"}', 'qzrefused');
		UPDATE public.sealed SET j = '["qzrefused"]' WHERE j @> '{"a": "qzrefused"}' AND t = 'qzrefused'})->{sqlstate}, '', 'what is not refused');
	my $log = $cluster->log;
	unlike($log, qr/qzrefused|717a72656675736564/i, 'the log has not a word of it');
	like($log, qr/ERROR: .*json/, 'but that there was an error');
	like($log, qr/duration: /, 'and how long statements took');
};

done_testing;
