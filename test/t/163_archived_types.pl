# Documents, bytes and arrays in a session's tables come back from its archive as what they were: a
# JSON null is no NULL, a JSON string keeps its quotes, whatever the settings of those who archive and restore.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my $token = $cluster->token('north-pro');
$cluster->superuser(q{
	CREATE DOMAIN public.note AS cauce.encrypted_text;
	ALTER TABLE cauce.report ADD doc cauce.encrypted_jsonb, ADD file cauce.encrypted_bytea, ADD label public.note,
		ADD tags cauce.encrypted_text[], ADD docs cauce.encrypted_jsonb[], ADD files cauce.encrypted_bytea[];
	GRANT INSERT ON cauce.report TO app});

sub mine { return $cluster->sql(app => $token, @_) }

my $session = mine(q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
my @doc = (q{'null'}, q{'""'}, q{'"a \"string\""'}, q{'{"a": [1, 2.50, null], "b": {"c": "é \\\\ 😀"}}'}, q{'{}'}, q{'[]'}, q{'-0.00'}, q{'true'}, 'NULL', q{'"cauce1:AAAA"'});
my @file = (q{'\x'}, q{'\x00'}, q{'\x5c5c'}, q{decode(string_agg(lpad(to_hex(n), 2, '0'), ''), 'hex') FROM generate_series(0, 255) n}, q{'\x27225c'}, q{'cauce1:AAAA'}, 'NULL', q{'\xff'}, q{'\x01'}, q{'abc'});
for my $i (0 .. $#doc)
{
	my $file = $file[$i] =~ /FROM/ ? "(SELECT $file[$i])" : $file[$i];
	mine("INSERT INTO cauce.report (session_id, body, kind, doc, file, label, tags, docs, files) VALUES ('$session', 'r', '$i', $doc[$i], $file, 'l $i',
		ARRAY['a', NULL, '', '{\"}'], ARRAY[$doc[$i], NULL, '[1, [2]]', 'null']::cauce.encrypted_jsonb[], ARRAY[convert_to($doc[$i]::text, 'UTF8'), NULL]::cauce.encrypted_bytea[])");
}
mine(qq{INSERT INTO cauce.report (session_id, body, kind, tags, docs) VALUES ('$session', 'r', 'shapes', '{{a,b},{c,d}}', '{{1,"[2]"},{null,"{}"}}'), ('$session', 'r', 'empty', '{}', '{}')});

my $rows = q{SELECT kind, doc, doc IS NULL, file, label, tags, docs, files FROM cauce.report ORDER BY kind};
my $before = mine($rows);
like($before, qr/^0\|null\|f\|/m, 'there is a JSON null');

for my $settings ([qw(hex hex)], [qw(escape hex)], [qw(hex escape)])
{
	my ($archiving, $restoring) = @$settings;
	mine("SET bytea_output = $archiving; SELECT cauce.archive_session('$session') \\g /dev/null");
	is(mine('SELECT count(*) FROM cauce.report'), '0', "archived with bytea_output = $archiving");
	mine("SET bytea_output = $restoring; SELECT cauce.restore_session('$session') \\g /dev/null");
	is(mine($rows), $before, "restored with $restoring: everything is as it was");
}

subtest 'without authority' => sub {
	is($cluster->try_sql(postgres => undef, 'SELECT row_to_json(r) FROM cauce.report r')->{sqlstate}, '28000', 'a row with a document is no JSON');
	is($cluster->try_sql(postgres => undef, 'SELECT doc::json FROM cauce.report')->{sqlstate}, '28000', 'nor is the document');
	unlike($cluster->superuser('SELECT * FROM cauce.report'), qr/"string|\\x/, 'what is stored is sealed');
};
like(mine(q{SELECT row_to_json(r) FROM cauce.report r WHERE kind = '3'}), qr/"doc":\{"a": \[1, 2.50, null\]/, 'for the owner a document in a row is JSON');

done_testing;
