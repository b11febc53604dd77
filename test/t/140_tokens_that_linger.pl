# A token counts where it was set, for as long as it and the settings that it was checked against hold.
use strict;
use warnings;
use CauceSession;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my $token = $cluster->token('north-pro');

subtest 'it is not stored for others' => sub {
	for my $statement ("ALTER ROLE app SET cauce.token = '$token'", "ALTER DATABASE cauce SET cauce.token = '$token'",
		"CREATE FUNCTION public.f() RETURNS int LANGUAGE sql SET cauce.token = '$token' AS 'SELECT 1'")
	{
		my $result = $cluster->try_sql(postgres => undef, $statement);
		my ($what) = $statement =~ /^(\w+ \w+)/;
		is($result->{sqlstate}, '28000', "$what is refused");
		unlike($result->{err}, qr/eyJ/, 'and does not show it');
	}
};

subtest 'a settings change reaches tokens that were taken before' => sub {
	my $open = CauceSession->open($cluster, app => $token);
	is($open->try('SELECT cauce.account_id() IS NOT NULL')->{out}, 't', 'a token is in force');

	$cluster->configure("cauce.allowed_purposes = 'research'");
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until('SHOW cauce.allowed_purposes', 'research'), 'care is no longer a purpose');
	is($open->try('SELECT cauce.account_id()')->{sqlstate}, '28000', 'the token in force opens nothing now');
	my $research = $cluster->token('north-pro', purpose => 'research');
	my $id = $cluster->sql(app => $research, 'INSERT INTO cauce.session DEFAULT VALUES RETURNING id');
	my $stream = $cluster->sql(app => $research, "SELECT cauce.stream_token('$id')");
	is($cluster->try_sql(app => $stream, 'SELECT cauce.token_scope()')->{out}, 'stream', 'a stream token carries the purpose of its maker');
	$cluster->configure("cauce.allowed_purposes = 'care'");
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until('SHOW cauce.allowed_purposes', 'care'), 'care is a purpose again');
	is($cluster->try_sql(app => $stream, 'SELECT cauce.token_scope()')->{sqlstate}, '28000', 'which is not allowed any more');

	is($open->try('SELECT cauce.account_id() IS NOT NULL')->{out}, 't', 'the first token is good again');
	$cluster->configure("cauce.token_audience = 'elsewhere'");
	$cluster->pg_ctl('reload');
	ok($cluster->poll_until('SHOW cauce.token_audience', 'elsewhere'), 'the audience changes');
	is($open->try("SET cauce.token = '$token'")->{sqlstate}, '28000', 'a remembered token is checked anew');
	$cluster->configure("cauce.token_audience = 'cauce'");
	$cluster->pg_ctl('reload');
	$open->close;
};

subtest 'its expiry is seen inside of a long procedure' => sub {
	ok($cluster->poll_until('SHOW cauce.token_audience', 'cauce'), 'settings are as they were');
	my $short = $cluster->token('north-pro', ttl => 3);
	my $result = $cluster->try_sql(app => undef, "SET cauce.token = '$short';
		DO \$\$ BEGIN FOR i IN 1..6 LOOP PERFORM cauce.account_id(); COMMIT; PERFORM pg_sleep(1); END LOOP; END \$\$");
	is($result->{sqlstate}, '28000', 'after a COMMIT');
	like($result->{err}, qr/expired/, 'and says so');
};

subtest 'a token for nobody' => sub {
	is($cluster->try_sql(app => $cluster->token('nobody'), 'SELECT count(*) FROM cauce.alert')->{sqlstate}, '28000',
		'is refused where there are no rows to ask a policy about');
};

done_testing;
