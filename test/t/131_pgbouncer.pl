# PgBouncer in transaction mode: hundreds of identities through few connections to the server, with errors, savepoints,
# prepared statements and clients that vanish. Each reads what is its own; no identity reaches the next transaction. And
# what a client does that sets its token for the session: with cauce.token_transaction_only it is refused.
use strict;
use warnings;
use CauceTest;
use CauceWire;
use Digest::SHA qw(hmac_sha256);
use JSON::PP;
use MIME::Base64 qw(encode_base64url);
use POSIX ();
use Test::More;

use constant { ACCOUNTS => 200, CLIENTS => 24, TURNS => 50, SERVERS => 4, PORT => 6432 };

my $cluster = CauceTest->start;
my $run = $cluster->host;
my $dir = $cluster->dir . '/log';

# pgbouncer starts one, with lines of configuration beside those that all have in common.
my $pooler_pid;

sub pgbouncer
{
	my (%option) = @_;
	my $text = join "\n", '[databases]', "cauce = host=$run port=5432 dbname=cauce", '[pgbouncer]', 'listen_addr =', 'listen_port = ' . PORT,
	  "unix_socket_dir = $run", 'auth_type = trust', "auth_file = $dir/users", 'pool_mode = transaction', 'max_client_conn = 200',
	  "logfile = $dir/pgbouncer.log", "pidfile = $dir/pgbouncer.pid", map { "$_ = $option{$_}" } sort keys %option;
	$cluster->as_postgres('sh', '-c', 'printf \'"app" ""\n\' > "$1/users"; printf "%s\n" "$2" > "$1/pgbouncer.ini"', 'sh', $dir, $text);
	my $started = $cluster->as_postgres('/usr/sbin/pgbouncer', '-q', '-d', "$dir/pgbouncer.ini");
	$started->{status} == 0 or die "pgbouncer: $started->{err}";
	for (1 .. 100)
	{
		last if -S "$run/.s.PGSQL." . PORT;
		select undef, undef, undef, 0.05;
	}
	$pooler_pid = $cluster->as_postgres('cat', "$dir/pgbouncer.pid")->{out} + 0;
	return;
}

sub stop_pgbouncer
{
	return if !$pooler_pid;
	$cluster->as_postgres('kill', $pooler_pid);
	for (1 .. 100)
	{
		last if $cluster->as_postgres('kill', '-0', $pooler_pid)->{status};
		select undef, undef, undef, 0.05;
	}
	undef $pooler_pid;
	return;
}

my $main = $$;
END { my $status = $?; stop_pgbouncer() if $main == $$; $? = $status }

# Tokens by a secret of the server's: hundreds are signed in no time.
my $secret = 'x' x 48;
{
	my $path = $cluster->dir . '/keys/tokens.jwks';
	open my $in, '<', $path or die "$path: $!";
	my $set = decode_json(do { local $/; <$in> });
	push @{ $set->{keys} }, { kty => 'oct', kid => 'hmac', k => encode_base64url($secret) };
	open my $out, '>', "$path.new" or die "$path: $!";
	print $out encode_json($set);
	close $out;
	rename "$path.new", $path or die "$path: $!";
}

sub token
{
	my ($subject) = @_;
	my $input = join '.', map { encode_base64url(encode_json($_)) } { alg => 'HS256', kid => 'hmac' }, { sub => $subject, aud => 'cauce', exp => time + 600 };
	return "$input." . encode_base64url(hmac_sha256($input, $secret));
}

my @token = map { token("many-$_") } 0 .. ACCOUNTS - 1;
$cluster->superuser('SELECT count(cauce.create_account(\'many-\' || n)) FROM generate_series(0, ' . ACCOUNTS . ' - 1) n');
$cluster->superuser(q{CREATE FUNCTION public.template(session uuid) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE result text;
	BEGIN
		INSERT INTO cauce.report (session_id, body) VALUES (session, 'a template') RETURNING body INTO result;
		RETURN result;
	END $$});
my @session;
{
	my $wire = CauceWire->connect($cluster, 'app');
	for my $n (0 .. ACCOUNTS - 1)
	{
		$wire->execute(q{SELECT set_config('cauce.token', $1, false)}, [ $token[$n] ]);
		$session[$n] = $wire->execute('INSERT INTO cauce.session (title) VALUES ($1) RETURNING id', ["marker $n"])->{rows}[0][0];
	}
	$wire->close;
}
is(scalar(grep { defined } @session), ACCOUNTS, 'each account has a marker of its own');

my $set = q{SELECT set_config('cauce.token', $1, true)};
my $titles = 'SELECT title FROM cauce.session ORDER BY title::text';

# What a client may do in one turn; each gives what it found wrong. $a and $b are two accounts.
my %turn = (
	read => sub {
		my ($wire, $a) = @_;
		$wire->simple('BEGIN');
		$wire->execute($set, [ $token[$a] ]);
		my $got = $wire->execute($titles, []);
		$wire->simple('COMMIT');
		return wrong('read', $got, "marker $a");
	},
	nobody => sub {
		my ($wire) = @_;
		my $alone = $wire->execute($titles, []);
		$wire->simple('BEGIN');
		my $within = $wire->execute($titles, []);
		my $open = $wire->execute('SELECT title::text FROM cauce.session', []);
		$wire->simple('COMMIT');
		return (wrong('nobody', $alone), wrong('nobody in a transaction', $within), wrong('nobody opening', $open));
	},
	error => sub {
		my ($wire, $a) = @_;
		$wire->simple('BEGIN');
		$wire->execute($set, [ $token[$a] ]);
		my $error = $wire->execute('SELECT 1 / (SELECT length(title) FROM cauce.session) * 0 / 0', []);
		my $after = $wire->execute($titles, []);
		$wire->simple('ROLLBACK');
		return ($error->{sqlstate} eq '22012' ? () : "error: $error->{sqlstate}", $after->{sqlstate} eq '25P02' ? () : "after an error: $after->{sqlstate}");
	},
	savepoint => sub {
		my ($wire, $a, $b) = @_;
		$wire->simple('BEGIN');
		$wire->execute($set, [ $token[$a] ]);
		$wire->simple('SAVEPOINT s');
		$wire->execute($set, [ $token[$b] ]);
		my $inner = $wire->execute($titles, []);
		$wire->simple('ROLLBACK TO s');
		my $outer = $wire->execute($titles, []);
		$wire->simple('COMMIT');
		return (wrong('savepoint', $inner, "marker $b"), wrong('behind the savepoint', $outer, "marker $a"));
	},
	rollback => sub {
		my ($wire, $a) = @_;
		$wire->simple('BEGIN');
		$wire->execute($set, [ $token[$a] ]);
		$wire->execute(q{UPDATE cauce.session SET title = 'changed by ' || title}, []);
		$wire->simple('ROLLBACK');
		return;
	},
	prepared => sub {
		my ($wire, $a) = @_;
		my $name = "p${$}_" . int rand 1e9;
		$wire->simple('BEGIN');
		$wire->execute($set, [ $token[$a] ]);
		$wire->simple("PREPARE $name AS $titles");
		my $got = $wire->simple("EXECUTE $name");
		my $named = $wire->execute('SELECT title FROM cauce.session WHERE id = $1', [ $session[$a] ], name => "${name}w");
		my $literal = $wire->execute('SELECT public.template($1)', [ $session[$a] ]);
		$wire->forget("${name}w");
		$wire->simple("DEALLOCATE $name; COMMIT");
		return (wrong('prepared', $got, "marker $a"), wrong('by name', $named, "marker $a"), wrong('literal', $literal, 'a template'));
	},
	refused => sub {
		my ($wire, $a) = @_;
		$wire->simple('BEGIN');
		my $got = $wire->execute($set, [ substr($token[$a], 0, -3) . 'AAA' ]);
		my $after = $wire->simple('ROLLBACK; SELECT count(*) FROM cauce.session');
		return ($got->{sqlstate} eq '28000' ? () : "refused: $got->{sqlstate}", wrong('after a refusal', $after, '0'));
	},
	stranger => sub {
		my ($wire, $a, $b) = @_;
		$wire->simple('BEGIN');
		$wire->execute($set, [ $token[$a] ]);
		my $got = $wire->execute('SELECT title FROM cauce.session WHERE id = $1', [ $session[$b] ]);
		$wire->simple('COMMIT');
		return wrong('stranger', $got, $a == $b ? "marker $a" : ());
	},
);

# wrong compares one column of rows with what it should be.
sub wrong
{
	my ($what, $result, @expected) = @_;
	return "$what: $result->{sqlstate}" if $result->{sqlstate};
	my $got = join ',', map { $_->[0] } @{ $result->{rows} };
	return $got eq join(',', @expected) ? () : "$what: got '$got' for '@expected'";
}

# client takes its turns, and every so often vanishes amid one.
sub client
{
	my ($seed) = @_;
	my @wrong;
	my %done;
	my @kinds = sort keys %turn;
	srand $seed;
	my $wire = CauceWire->connect($cluster, 'app', port => PORT);
	for (1 .. TURNS)
	{
		my ($kind, $a, $b) = ($kinds[ rand @kinds ], int rand ACCOUNTS, int rand ACCOUNTS);
		if (rand() < 0.1)
		{
			$wire->simple('BEGIN');
			$wire->execute($set, [ $token[$a] ]);
			$wire->execute($titles, []);
			CORE::close $wire->{socket};
			$done{vanished}++;
			$wire = CauceWire->connect($cluster, 'app', port => PORT);
		}
		push @wrong, $turn{$kind}->($wire, $a, $b);
		$done{$kind}++;
	}
	$wire->close;
	return { wrong => \@wrong, done => \%done };
}

subtest 'many identities over few connections' => sub {
	pgbouncer(default_pool_size => SERVERS);
	my @client;
	for my $seed (1 .. CLIENTS)
	{
		pipe my $from, my $to or die "pipe: $!";
		my $pid = fork // die "fork: $!";
		if ($pid == 0)
		{
			my $report = eval { client($seed) } // { wrong => ["died: $@"], done => {} };
			print $to encode_json($report);
			CORE::close $to;
			POSIX::_exit(0);
		}
		CORE::close $to;
		push @client, { pid => $pid, from => $from };
	}
	my $servers = $cluster->superuser(q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'});
	my (@wrong, %done);
	for my $client (@client)
	{
		local $/;
		my $report = decode_json(readline $client->{from});
		waitpid $client->{pid}, 0;
		push @wrong, @{ $report->{wrong} };
		$done{$_} += $report->{done}{$_} for keys %{ $report->{done} };
	}
	is(scalar @wrong, 0, CLIENTS . ' clients: each read its own, and nobody nothing') or diag join "\n", @wrong[ 0 .. ($#wrong < 10 ? $#wrong : 10) ];
	ok($done{$_}, "$done{$_} times: $_") for sort keys %turn, 'vanished';
	cmp_ok($servers, '<=', SERVERS, "over $servers connections");
	stop_pgbouncer();
	unlike($cluster->log, qr/eyJ|marker \d/, 'neither token nor content is in the log');
};

# after gives what the next client of the pool is, after one has done something.
sub after
{
	my (@statements) = @_;
	my $first = CauceWire->connect($cluster, 'app', port => PORT);
	my @result = map { $first->execute(@$_) } @statements;
	$first->close;
	my $next = CauceWire->connect($cluster, 'app', port => PORT);
	my $who = $next->execute('SELECT count(*) FROM cauce.session', []);
	$next->close;
	return { first => $result[-1]{sqlstate}, error => $result[-1]{error}, next => $who->{rows}[0][0] };
}

my %session_scope = (
	'set_config(…, false)' => [ [ q{SELECT set_config('cauce.token', $1, false)}, [ $token[1] ] ] ],
	SET => [ [ "SET cauce.token = '$token[1]'", [] ] ],
	'SET in a transaction' => [ [ 'BEGIN', [] ], [ "SET cauce.token = '$token[1]'", [] ], [ 'COMMIT', [] ] ],
	'SET, then SET LOCAL' => [ [ 'BEGIN', [] ], [ "SET cauce.token = '$token[1]'", [] ], [ "SET LOCAL cauce.token = ''", [] ], [ 'COMMIT', [] ] ],
	'SET in a savepoint' => [ [ 'BEGIN', [] ], [ 'SAVEPOINT a', [] ], [ "SET cauce.token = '$token[1]'", [] ], [ 'RELEASE a', [] ], [ 'COMMIT', [] ] ],
);

subtest 'a token that is set for the session' => sub {
	pgbouncer(default_pool_size => 1);
	is(after(@{ $session_scope{$_} })->{next}, '1', "$_: the pool hands it to the next client") for sort keys %session_scope;
	stop_pgbouncer();
	pgbouncer(default_pool_size => 1, server_reset_query => 'DISCARD ALL', server_reset_query_always => 1);
	is(after(@{ $session_scope{$_} })->{next}, '0', "server_reset_query_always: $_: it does not") for sort keys %session_scope;
	stop_pgbouncer();
};

subtest 'cauce.token_transaction_only' => sub {
	$cluster->configure('cauce.token_transaction_only = on');
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until('SHOW cauce.token_transaction_only', 'on'), 'is on');
	pgbouncer(default_pool_size => 1);
	for my $how (sort keys %session_scope)
	{
		my $got = after(@{ $session_scope{$how} });
		is($got->{first}, '28000', "$how: is refused, by its COMMIT at the latest");
		like($got->{error}, qr/token_transaction_only is on.*set_config\('cauce\.token', \$1, true\)/s, '... with a hint');
		is($got->{next}, '0', '... and the next client is nobody');
	}
	my $wire = CauceWire->connect($cluster, 'app', port => PORT);
	is_deeply([ map { $turn{$_}->($wire, 3, 4) } sort keys %turn ], [], 'what ends with its transaction is as it was');
	my $both = sub { $wire->execute(@$_) for [ 'BEGIN', [] ], [ $set, [ $token[5] ] ], [ "SET cauce.token = ''", [] ]; return $wire->simple('COMMIT')->{sqlstate} };
	is($both->(), '', 'to take a token back for good is no offence');
	is($wire->simple(q{BEGIN; SET cauce.token = ''; COMMIT; RESET cauce.token; DISCARD ALL})->{sqlstate} =~ /^(|25001)$/ ? 1 : 0, 1, 'nor RESET');
	is($wire->execute('BEGIN', [])->{sqlstate} . $wire->execute("SET cauce.token = '$token[1]'", [])->{sqlstate} . $wire->execute('ROLLBACK', [])->{sqlstate}, '',
		'what is rolled back is nothing');
	is($wire->simple('SELECT count(*) FROM cauce.session')->{rows}[0][0], '0', 'and leaves nobody');
	$wire->close;
	stop_pgbouncer();
	local $ENV{PGOPTIONS} = "-c cauce.token=$token[1]";
	like($cluster->try_sql(app => undef, 'SELECT 1')->{err}, qr/FATAL:  the identity token is refused/, 'the startup packet is for a session, too');
	delete $ENV{PGOPTIONS};
	is($cluster->try_sql(app => undef, 'SET cauce.token_transaction_only = off')->{sqlstate}, '55P02', 'an application cannot switch it off');
};

done_testing;
