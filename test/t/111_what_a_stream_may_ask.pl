# Beside appending, a stream token learns the alert rules of its own account and organization, and ends
# its own session: while that is live, and nobody else's.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start;
my %app = map { $_ => $cluster->token($_) } qw(north-pro north-admin south-admin solo);
$cluster->superuser('CREATE ROLE worker LOGIN IN ROLE cauce_stream');

# rule makes one, for the caller's organization or account.
sub rule
{
	my ($who, $column, $pattern) = @_;
	$cluster->sql(app => $app{$who}, "INSERT INTO cauce.alert_rule (${column}_id, pattern, kind) VALUES (cauce.${column}_id(), '$pattern', 'risk')");
	return;
}
rule('north-admin', organization => 'north words');
rule('north-pro', account => 'my words');
rule('north-admin', account => 'admin words');
rule('south-admin', organization => 'south words');
rule('solo', account => 'solo words');

sub open_session
{
	my ($who) = @_;
	return $cluster->sql(app => $app{$who}, q{INSERT INTO cauce.session (title) VALUES ('x') RETURNING id});
}

sub stream
{
	my ($who, $session) = @_;
	return $cluster->sql(app => $app{$who}, "SELECT cauce.stream_token('$session')");
}

my $session = open_session('north-pro');
my $other = open_session('north-pro');
my $token = stream('north-pro', $session);
my $patterns = q{SELECT string_agg(pattern || '/' || kind || '/' || severity, ',' ORDER BY pattern) FROM cauce.stream_alert_rules()};
for my $role (qw(app worker))
{
	is($cluster->sql($role => $token, $patterns), 'my words/risk/info,north words/risk/info', "$role: the account's rules and its organization's");
	is($cluster->sql($role => stream('solo', open_session('solo')), $patterns), 'solo words/risk/info', "$role: without an organization, the account's");
}
is($cluster->sql(app => $app{'north-pro'}, $patterns), '', 'an ordinary token is no stream');
is($cluster->sql(app => $app{'north-pro'}, 'SELECT cauce.end_stream()'), 'f', 'and ends none');
is($cluster->sql(worker => undef, $patterns), '', 'nor is nobody');
is($cluster->sql(worker => undef, 'SELECT cauce.end_stream()'), 'f', 'who ends none either');

my $state = sub { return $cluster->sql(app => $app{'north-pro'}, "SELECT status, ended_at IS NOT NULL FROM cauce.session WHERE id = '$_[0]'") };
is($cluster->sql(worker => $token, 'SELECT cauce.end_stream()'), 't', 'its own session ends');
is($state->($session), 'ended|t', 'at that time');
is($state->($other), 'live|f', 'and no other one');
is($cluster->sql(worker => $token, 'SELECT cauce.end_stream()'), 'f', 'once');
is($cluster->sql(worker => $token, $patterns), '', 'after which there are no rules to learn');

done_testing();
