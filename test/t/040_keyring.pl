# A keyring that is missing, unsafe, damaged or another database's is a clear error with a way out,
# at the first use; never a silent new keyring; and nothing is lost: with the right one back in its
# place everything opens again.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use JSON::PP;
use Test::More;

my $cluster = CauceTest->start;
my $file = $cluster->keyring_file;
my $token = $cluster->token('north-pro');
my $colleague = $cluster->token('north-pro2');
my $json = JSON::PP->new->canonical;

my $id = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('precious') RETURNING id});
$cluster->sql(app => $token, qq{INSERT INTO cauce.report (session_id, body) VALUES ('$id', 'words')});
my $all_keys = 'SELECT md5(string_agg((id, account_id, session_id, epoch, generation)::text, chr(10) ORDER BY id)) FROM cauce.data_key k';
my $keys = $cluster->superuser($all_keys);

sub shell
{
	my ($script, @arguments) = @_;
	my $result = $cluster->as_postgres('sh', '-ec', $script, 'sh', @arguments);
	die "$script: $result->{err}" if $result->{status};
	return $result->{out};
}

# put writes a file of the server's, with mode 0600.
sub put
{
	my ($path, $text) = @_;
	shell('umask 077; printf %s "$2" > "$1.put"; mv "$1.put" "$1"', $path, $text);
	return;
}

# use_file points the server to a keyring.
sub use_file
{
	my ($path) = @_;
	$cluster->configure("cauce.keyring_file = '$path'");
	$cluster->pg_ctl('reload');
	$cluster->poll_until('SHOW cauce.keyring_file', $path) or die 'no reload';
	return;
}

# opens says whether the owner reads everything.
sub opens
{
	return $cluster->try_sql(app => $token, 'SELECT title, body FROM cauce.session s JOIN cauce.report r ON r.session_id = s.id')->{out} eq 'precious|words';
}

# useless checks what everybody gets while the keyring is of no use.
sub useless
{
	my ($name, $message, %except) = @_;
	my %try = (
		'reading' => [ $token, 'SELECT body FROM cauce.report' ],
		'opening a session' => [ $colleague, q{INSERT INTO cauce.session (title) VALUES ('new')} ],
		'a session without content' => [ $colleague, 'INSERT INTO cauce.session DEFAULT VALUES' ],
		'erasing' => [ $token, 'BEGIN; DELETE FROM cauce.session; ROLLBACK' ]);
	subtest $name => sub {
		my $session = CauceSession->open($cluster, 'app');
		for my $what (grep { !$except{$_} } sort keys %try)
		{
			my ($who, $sql) = @{ $try{$what} };
			$session->query("ROLLBACK; SET cauce.token = '$who'");
			my $result = $session->try($sql);
			is("$result->{sqlstate} $result->{out}", '55000 ', "$what: 55000");
			like($result->{err}, $message, 'says what is wrong');
			like($result->{err}, qr/HINT:  \S/, 'and what to do');
		}
		$session->close;
		like($cluster->superuser('SELECT body FROM cauce.report'), qr/^cauce1:/, 'the sealed form needs no keyring');
		is($cluster->superuser($all_keys), $keys, 'no key was made, changed or lost');
	};
	return;
}

ok(opens(), 'with its keyring everything opens');
my $right = shell('cat "$1"', $file);
is($cluster->try_sql(postgres => undef, 'SELECT cauce.keyring_create()')->{sqlstate}, '55000', 'keyring_create() once more is an error');
is(shell('cat "$1"', $file), $right, 'and leaves the keyring as it is');

use_file('');
useless('no keyring is configured', qr/no keyring is configured/);
use_file($file);
ok(opens(), 'configured again: everything opens');

shell('mv "$1" "$1.away"', $file);
useless('the file is missing', qr/could not open the keyring/);
{
	my $create = $cluster->try_sql(postgres => undef, 'SELECT cauce.keyring_create()');
	is($create->{sqlstate}, '55000', 'keyring_create() beside sealed data is an error');
	like($create->{err}, qr/HINT:  \S/, 'with a hint');
	is(shell('ls "$(dirname "$1")"', $file), "keyring.json.away\n", 'and writes nothing');
}
shell('mv "$1.away" "$1"', $file);
ok(opens(), 'put back: everything opens');

for my $mode (qw(000 0644 0640 0604))
{
	shell('chmod "$2" "$1"', $file, $mode);
	useless("mode $mode", $mode eq '000' ? qr/could not open the keyring|unsafe permissions/ : qr/unsafe permissions.*mode $mode/s);
}
shell('chmod 0600 "$1"', $file);
ok(opens(), 'mode 0600 again: everything opens');

{
	my $inside = $cluster->pgdata . '/keyring.json';
	my $link = $cluster->dir . '/keys/keyring/link.json';
	shell('cp -p "$1" "$2"; ln -s "$2" "$3"', $file, $inside, $link);
	use_file($inside);
	useless('inside the data directory', qr/inside of the data directory/);
	use_file($link);
	useless('a link into the data directory', qr/inside of the data directory/);
	shell('rm "$1" "$2"', $inside, $link);
	use_file($cluster->dir . '/keys/keyring');
	useless('a directory', qr/keyring/);
	use_file($file);
	ok(opens(), 'outside again: everything opens');
}

# without gives the keyring without the keys that match.
sub without
{
	my ($pattern) = @_;
	my $set = $json->decode($right);
	$set->{keys} = [ grep { $_->{kid} !~ $pattern } @{ $set->{keys} } ];
	return $json->encode($set);
}

my %damaged = (
	'an empty file' => '',
	'not JSON' => 'keyring',
	'a truncated file' => substr($right, 0, length($right) / 2),
	'JSON, but no key set' => '[]',
	'no name' => $right =~ s/"keyring":/"ring":/r,
	'no keys' => '{"keyring": "00000000-0000-4000-8000-000000000000", "keys": []}',
	'a short key' => $right =~ s/"k": "..../"k": "/r,
	'no signing key' => without(qr/^sign$/));
for my $how (sort keys %damaged)
{
	put($file, $damaged{$how});
	useless("damaged: $how", qr/the keyring is damaged.*DETAIL/s);
}
my %incomplete = ('no master key' => without(qr/^master/), 'no epoch keys' => without(qr/^epoch/));
for my $how (sort keys %incomplete)
{
	put($file, $incomplete{$how});
	# Erasing takes the signing key alone, and that is there.
	useless($how, qr/keyring/, erasing => 1);
}
put($file, $right);
ok(opens(), 'whole again: everything opens');

my $other = CauceTest->start;
my $foreign = $other->as_postgres('cat', $other->keyring_file)->{out};
$other->stop;
put($file, $foreign);
useless('the keyring of another database, made today', qr/does not belong to this database/);
# One that was made on another day has other epochs.
my $shifted = $json->decode($foreign);
$_->{kid} =~ s/^epoch-(\d{4})/'epoch-' . ($1 + 20)/e for @{ $shifted->{keys} };
put($file, $json->encode($shifted));
useless('and one with other epochs', qr/does not belong to this database/);

subtest 'a connection that has the keys notices a change of the file' => sub {
	put($file, $right);
	my $session = CauceSession->open($cluster, app => $token);
	is($session->query('SELECT body FROM cauce.report'), 'words', 'it reads');
	put($file, $foreign);
	is($session->try('INSERT INTO cauce.session DEFAULT VALUES')->{sqlstate}, '55000', 'no key is made under the wrong keyring');
	put($file, $right);
	is($session->query('SELECT body FROM cauce.report'), 'words', 'with the right one it reads again');
	$session->close;
};

subtest 'a signing key that is damaged signs nothing' => sub {
	# Nobody could verify what is signed with a private part that is not the public one's.
	my $foreign_sign = (grep { $_->{kid} eq 'sign' } @{ $json->decode($foreign)->{keys} })[0];
	for my $part (qw(x y d))
	{
		for my $damaged ($foreign_sign->{$part}, 'AAAA')
		{
			my $set = $json->decode($right);
			$_->{kid} eq 'sign' and $_->{$part} = $damaged for @{ $set->{keys} };
			put($file, $json->encode($set));
			my $result = $cluster->try_sql(app => $token, 'BEGIN; DELETE FROM cauce.report; ROLLBACK');
			like("$result->{sqlstate} $result->{err}", qr/^55000 .*the keyring's signing key is damaged/s, "$part: " . length $damaged);
		}
	}
	put($file, $right);
	is($cluster->try_sql(app => $token, 'BEGIN; DELETE FROM cauce.report; ROLLBACK')->{sqlstate}, '', 'the right one does');
};

subtest 'a second database' => sub {
	$cluster->superuser('CREATE DATABASE second');
	my %second = (database => 'second');
	$cluster->superuser('SET client_min_messages = warning; CREATE EXTENSION cauce CASCADE', %second);
	is($cluster->try_sql(postgres => undef, 'SELECT cauce.keyring_create()', %second)->{sqlstate}, '55000', 'shares the server\'s keyring, and makes none');
	$cluster->superuser(q{SELECT cauce.create_account('north-pro', display_name => 'Second')}, %second);
	is($cluster->sql(app => $token, 'SELECT display_name FROM cauce.account', %second), 'Second', 'with keys of its own');
	isnt($cluster->superuser('SELECT id FROM cauce.data_key WHERE account_id = (SELECT id FROM cauce.account)', %second),
		$cluster->superuser(q{SELECT k.id FROM cauce.data_key k JOIN cauce.account a ON a.id = k.account_id WHERE subject = 'north-pro' AND session_id IS NULL}),
		'not those of the first');
};

subtest 'keyring_create() where it cannot write' => sub {
	$cluster->superuser('CREATE DATABASE third');
	$cluster->superuser('SET client_min_messages = warning; CREATE EXTENSION cauce CASCADE', database => 'third');
	shell('mkdir "$1"; chmod 500 "$1"', $cluster->dir . '/keys/keyring/closed');
	for my $path ($cluster->dir . '/keys/keyring/closed/k.json', $cluster->dir . '/keys/none/k.json', $cluster->pgdata . '/k.json')
	{
		use_file($path);
		my $create = $cluster->try_sql(postgres => undef, 'SELECT cauce.keyring_create()', database => 'third');
		like($create->{sqlstate}, qr/^(42501|58P01|55000)$/, "an error: $path");
		like($create->{err}, qr/HINT:  \S/, 'with a hint');
	}
	use_file($cluster->dir . '/keys/keyring/third.json');
	my $made = $cluster->superuser('SELECT cauce.keyring_create()', database => 'third');
	like($made, qr/^[0-9a-f-]{36}$/, 'where it can, it gives the new keyring\'s id');
	is(shell('stat -c "%a %U" "$1"', $cluster->dir . '/keys/keyring/third.json'), "600 postgres\n", 'a file for the server alone');
	is(shell('ls "$1" "$2" | grep -c "new$" || true', $cluster->dir . '/keys/keyring', $cluster->pgdata), "0\n", 'no half-written file is left');
	useless('the new keyring is not that of the first database', qr/does not belong to this database/);
	use_file($file);
};

subtest 'what is written, and what is left' => sub {
	my $home = $cluster->dir . '/keys/keyring';
	my $link = "$home/link.json";
	# As a server leaves it that was killed while it wrote.
	shell('cp -p "$1" "$1.new"; ln -s "$1" "$2"', $file, $link);
	use_file($link);
	my $old = shell('cat "$1"', $file);
	is($cluster->superuser('SELECT cauce.rotate_master_key()'), '2', 'a keyring behind a link is changed');
	ok(opens(), 'everything opens');
	is(shell('test -L "$1" && echo link', $link), "link\n", 'the link stays one');
	like(shell('cat "$1"', $file), qr/"master-2"/, 'and leads to the keyring as it is now');
	is(shell('ls "$1"', $home) =~ s/^(closed|third\.json|link\.json|keyring\.json)\n//gmr, '', 'no other file with keys is left');
	use_file($file);
	$right = shell('cat "$1"', $file);
};

for ([ 'two keys of one name', sub { push @{ $_[0]{keys} }, $_[0]{keys}[0] } ], [ 'a master key in use that is not there', sub { $_[0]{master} = 7 } ],
	[ 'a master key in use beyond any number', sub { $_[0]{master} = 4294967297 } ], [ 'a name for a number', sub { $_[0]{master} = '1' } ],
	[ 'a day that there is not', sub { $_->{kid} =~ s/^epoch-(\d+)-\d\d-\d\d$/epoch-$1-02-30/ for $_[0]{keys}[5] } ])
{
	my ($how, $damage) = @$_;
	my $set = $json->decode($right);
	$damage->($set);
	put($file, $json->encode($set));
	useless("damaged: $how", qr/the keyring is damaged.*DETAIL/s);
}
put($file, $right);

ok(opens(), 'after all that everything opens');
is($cluster->superuser('SELECT count(*) FROM cauce.session'), '1', 'and nothing came in between');
{
	my ($master) = map { $_->{k} } grep { $_->{kid} eq 'master-1' } @{ $json->decode($right)->{keys} };
	is_deeply([ $cluster->files_with($master) ], [], 'the master key is nowhere in the data directory');
	is(index($cluster->log, $master), -1, 'nor in the log');
}

done_testing;
