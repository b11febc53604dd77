# A keyring that a program keeps (a vault) serves like a file: it is read once a process, again after a
# reload and after every change, and written through the same program. A program that fails, hangs or
# prints rubbish is a clear error (55000), ends with the statement, and loses nothing.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use JSON::PP;
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'");
my $token = $cluster->token('north-pro');
my $home = $cluster->dir . '/keys/keyring';
my $store = "$home/vault.json";
my $id = $cluster->sql(app => $token, q{INSERT INTO cauce.session (title) VALUES ('precious') RETURNING id});

sub shell
{
	my ($script, @arguments) = @_;
	my $result = $cluster->as_postgres('sh', '-ec', $script, 'sh', @arguments);
	die "$script: $result->{err}" if $result->{status};
	return $result->{out};
}

# The stand-in for a vault: what it is asked for, and how often, can be counted in its journal.
shell('umask 077; mv "$1" "$2"; printf "%s" "$3" > "$4/vault"; chmod 700 "$4/vault"', $cluster->keyring_file, $store, "#!/bin/sh\n" . <<"VAULT", $home);
echo "\$1" >> $home/journal
case "\$1" in
read) cat $store 2>/dev/null || true ;;
write) umask 077; cat > $store.new && mv $store.new $store ;;
hang) sleep 300 & echo \$! > $home/sleeper; wait ;;
fail) echo 'vault: sealed for maintenance' >&2; exit 3 ;;
flood) yes '{"keyring": "rubbish"}' ;;
quiet) ;;
text) echo 'this is no keyring' ;;
files) ls -l /proc/\$\$/fd >&2; exit 4 ;;
esac
VAULT

# use_command points the server to a command, and waits until it counts.
sub use_command
{
	my ($command, $file) = @_;
	$cluster->configure("cauce.keyring_command = '$command'\ncauce.keyring_file = '" . ($file // '') . "'");
	$cluster->pg_ctl('reload');
	$cluster->poll_until('SHOW cauce.keyring_command', $command) or die "no reload";
	return;
}

sub title { return $cluster->try_sql(app => $token, 'SELECT title FROM cauce.session WHERE title IS NOT NULL') }
sub journal { return split /\n/, shell('cat "$1/journal" 2>/dev/null || true', $home) }

use_command("$home/vault %o");
is(title()->{out}, 'precious', 'the vault\'s keyring opens what the file\'s has sealed');
is($cluster->superuser(q{SELECT count(*) FROM cauce.keyring_status() WHERE kind = 'master' AND in_use}), '1', 'and its keys can be listed');

subtest 'how often it is asked' => sub {
	my $session = CauceSession->open($cluster, app => $token);
	$session->query('SELECT title FROM cauce.session');
	my $before = () = journal();
	$session->query('SELECT title FROM cauce.session') for 1 .. 5;
	is(scalar(() = journal()), $before, 'once a process, not once a statement');
	$cluster->pg_ctl('reload');
	$cluster->poll_until('SELECT true', 't');
	for (1 .. 50)
	{
		$session->query('BEGIN; INSERT INTO cauce.session DEFAULT VALUES; ROLLBACK');
		last if scalar(() = journal()) > $before;
		select undef, undef, undef, 0.1;
	}
	cmp_ok(scalar(() = journal()), '>', $before, 'and again when a key is made after a reload');
	is($cluster->superuser('SELECT cauce.rotate_master_key()'), '2', 'a change is written through the program');
	is((grep { $_ eq 'write' } journal()), 1, 'once');
	is($session->query('SELECT title FROM cauce.session'), 'precious', 'a connection from before reads on');
	$session->query('INSERT INTO cauce.session DEFAULT VALUES');
	is($cluster->superuser('SELECT string_agg(DISTINCT cauce.master_of(wrapped)::text, \',\') FROM cauce.data_key'), '2', 'and wraps under the new master key');
	$session->close;
};
like(shell('cat "$1"', $store), qr/"master": 2/, 'the vault has it');

my $keys = $cluster->superuser('SELECT md5(string_agg(k::text, chr(10) ORDER BY id)) FROM cauce.data_key k');

# useless checks what everybody gets.
sub useless
{
	my ($name, $message) = @_;
	subtest $name => sub {
		for my $sql ('SELECT title FROM cauce.session', 'INSERT INTO cauce.session DEFAULT VALUES')
		{
			my $result = $cluster->try_sql(app => $token, $sql);
			is($result->{sqlstate}, '55000', $sql);
			like($result->{err}, $message, 'says what is wrong');
			like($result->{err}, qr/HINT:  \S/, 'and what to do');
		}
		is($cluster->superuser('SELECT md5(string_agg(k::text, chr(10) ORDER BY id)) FROM cauce.data_key k'), $keys, 'no key was made, changed or lost');
	};
	return;
}

use_command("$home/vault fail");
useless('it fails', qr/cauce\.keyring_command failed.*exited with exit code 3/s);
like($cluster->log, qr/vault: sealed for maintenance/, 'what it says on standard error is in the log');
use_command("$home/vault quiet");
useless('it prints nothing', qr/printed no keyring/);
{
	my $create = $cluster->try_sql(postgres => undef, 'SELECT cauce.keyring_create()');
	is($create->{sqlstate}, '55000', 'and keyring_create() beside sealed data is an error');
}
use_command("$home/vault text");
useless('it prints something else', qr/the keyring is damaged/);
unlike($cluster->log, qr/this is no keyring/, 'which is not logged');
use_command("$home/vault flood");
useless('it does not stop printing', qr/wrote too much/);
use_command('/nowhere/vault %o');
useless('there is no such program', qr/exited with exit code 127|command not found/);
use_command("$home/vault %o", $store);
useless('a file as well', qr/two keyrings are configured/);

use_command("$home/vault files");
title();
is_deeply([ grep { /socket:|\/base\/|\/pg_wal\// } grep { !/ 2 -> / } split /\n/, $cluster->log ], [], 'it inherits no socket and no file of the server\'s');

subtest 'it hangs' => sub {
	use_command("$home/vault hang");
	my $result = $cluster->try_sql(app => $token, q{SET statement_timeout = '1s'; SELECT title FROM cauce.session});
	is($result->{sqlstate}, '57014', 'a statement that waits for it can be cancelled');
	my $sleeper = shell('cat "$1/sleeper"', $home);
	chomp $sleeper;
	my $session = CauceSession->open($cluster, app => $token);
	my $pid = $session->query('SELECT pg_backend_pid()');
	$session->{in} .= "SELECT title FROM cauce.session;\n";
	$session->{run}->pump_nb for 1 .. 3;
	my $other = $sleeper;
	for (1 .. 50) { select undef, undef, undef, 0.1; chomp($other = shell('cat "$1/sleeper"', $home)); last if $other ne $sleeper }
	isnt($other, $sleeper, 'a connection waits for it');
	$cluster->superuser("SELECT pg_terminate_backend($pid, 10000)");
	$session->{run}->kill_kill;
	like(shell('sed -n "s/^State:\t//p" "/proc/$1/status" 2>/dev/null || true', $other), qr/^(Z.*)?$/, 'ending that connection ends it');
	like(shell('sed -n "s/^State:\t//p" "/proc/$1/status" 2>/dev/null || true', $sleeper), qr/^(Z.*)?$/, 'and takes all of it along');
};

subtest 'a program that only reads' => sub {
	use_command("$home/vault read");
	is(title()->{out}, 'precious', 'opens');
	for my $sql ('cauce.rotate_master_key()', 'cauce.retire_master_key(1)')
	{
		my $result = $cluster->try_sql(postgres => undef, "SELECT $sql");
		is($result->{sqlstate}, '55000', "$sql is an error");
		like($result->{err}, qr/keyring is read-only.*HINT:  Add %o/s, 'that says how to change it');
	}
};

subtest 'another keyring in the vault' => sub {
	use_command("$home/vault %o");
	my $session = CauceSession->open($cluster, app => $token);
	is($session->query('SELECT count(*) FROM cauce.session WHERE title IS NOT NULL'), '1', 'a connection reads');
	my $other = CauceTest->start;
	my $foreign = $other->as_postgres('cat', $other->keyring_file)->{out};
	$other->stop;
	shell('cp "$1" "$1.kept"; umask 077; printf %s "$2" > "$1"', $store, $foreign);
	use_command("$home/vault  %o");
	is($session->try('INSERT INTO cauce.session DEFAULT VALUES')->{sqlstate}, '55000', 'nothing is made under it');
	like($cluster->try_sql(app => $token, 'SELECT title FROM cauce.session')->{err}, qr/does not belong to this database/, 'nor opened');
	shell('mv "$1.kept" "$1"', $store);
	use_command("$home/vault %o");
	is($session->query('SELECT count(*) FROM cauce.session WHERE title = \'precious\''), '1', 'put back: it reads again');
	$session->close;
};

subtest 'a new database, and a vault that has nothing yet' => sub {
	shell('mv "$1" "$1.kept"', $store);
	use_command("$home/vault %o");
	$cluster->superuser('CREATE DATABASE fresh');
	$cluster->superuser('SET client_min_messages = warning; CREATE EXTENSION cauce CASCADE', database => 'fresh');
	like($cluster->superuser('SELECT cauce.keyring_create()', database => 'fresh'), qr/^[0-9a-f-]{36}$/, 'keyring_create() fills it');
	is($cluster->try_sql(postgres => undef, 'SELECT cauce.keyring_create()', database => 'fresh')->{sqlstate}, '55000', 'once');
	my $made = decode_json(shell('cat "$1"', $store));
	cmp_ok(scalar @{ $made->{keys} }, '>', 500, 'with epoch keys for years');
	shell('mv "$1.kept" "$1"', $store);
	use_command("$home/vault %o ");
	is(title()->{status}, 0, 'the first database\'s keyring serves it again');
};

{
	my ($master) = map { $_->{k} } grep { $_->{kid} eq 'master-2' } @{ decode_json(shell('cat "$1"', $store))->{keys} };
	is_deeply([ $cluster->files_with($master) ], [], 'the master key is nowhere in the data directory');
	is(index($cluster->log, $master), -1, 'nor in the log');
}

done_testing;
