# What was erased after a backup was made comes back with it, and is erased again by its certificates, which have
# outlived it elsewhere; nothing that they do not name goes, and nothing goes by a certificate that this keyring has not signed.
use strict;
use warnings;
use CauceTest;
use Test::More;

my $cluster = CauceTest->start(settings => "cauce.retention_naptime = '1d'");
my %token = map { $_ => $cluster->token($_) } qw(north-pro south-pro solo);
$cluster->superuser('CREATE ROLE ops LOGIN IN ROLE cauce_operator');

# new_session makes one with a report.
sub new_session
{
	my ($who, $title) = @_;
	return $cluster->sql(app => $token{$who}, "INSERT INTO cauce.session (title) VALUES ('$title') RETURNING id AS session \\gset
		INSERT INTO cauce.report (session_id, body) VALUES (:'session', '$title'), (:'session', 'another');
		SELECT :'session'");
}
my %session = (map({ $_ => new_session('north-pro', $_) } qw(kept erased archived held part)), map({ $_ => new_session('south-pro', $_) } qw(theirs other)), mine => new_session('solo', 'mine'));
$cluster->sql(app => $token{'north-pro'}, "SELECT cauce.archive_session('$session{archived}')");
$cluster->sql(app => $token{'south-pro'}, "SELECT cauce.archive_session('$session{other}')");

my $backup = CauceTest->standby_of($cluster);
$backup->pg_ctl('stop', '-m', 'fast');
$backup->as_postgres('rm', $backup->pgdata . '/standby.signal');

$cluster->sql(app => $token{'north-pro'}, "DELETE FROM cauce.session WHERE id IN ('$session{erased}', '$session{held}'); DELETE FROM cauce.archived_session WHERE id = '$session{archived}'; DELETE FROM cauce.report WHERE session_id = '$session{part}'");
$cluster->sql(app => $token{'south-pro'}, "SELECT cauce.delete_my_data('south-pro')");
my $certificates = $cluster->superuser('SELECT array_agg(jws ORDER BY account_id, erased_at) FROM cauce.erasure_certificate');
is($cluster->superuser("SELECT count(*) FROM unnest('$certificates'::text[])"), '5', 'there are certificates');
is($cluster->sql(ops => undef, "SELECT DISTINCT outcome FROM cauce.reapply_erasures('$certificates') ORDER BY 1"), "names no key: its rows are not known\nnothing left", 'on the server itself there is nothing to do');

$backup->pg_ctl('start');
$backup->superuser("UPDATE cauce.session SET legal_hold = true WHERE id = '$session{held}'");
is($backup->superuser('SELECT (SELECT count(*) FROM cauce.session), (SELECT count(*) FROM cauce.archived_session), (SELECT count(*) FROM cauce.account WHERE subject = $$south-pro$$)'), '6|2|1', 'a backup has all of it');
is($backup->try_sql(app => $token{solo}, "SELECT cauce.reapply_erasures('$certificates')")->{sqlstate}, '42501', 'applying them is no application\'s business');
is($backup->sql(ops => undef, "SELECT subject, outcome FROM cauce.reapply_erasures('$certificates') ORDER BY 1, 2"),
	"account|erased\narchive|erased\nreport|names no key: its rows are not known\nsession|erased\nsession|under legal hold", 'an operator has them applied');
my %left = map { $session{$_} => $_ } keys %session;
is(join(' ', sort map { $left{$_} } split /\n/, $backup->superuser('SELECT id FROM cauce.session UNION SELECT id FROM cauce.archived_session')), 'held kept mine part', 'what they name is gone, and nothing else');
is($backup->superuser(q{SELECT count(*) FROM cauce.account WHERE subject = 'south-pro'}), '0', 'the account is gone');
is($backup->superuser("SELECT count(*) FROM cauce.data_key WHERE session_id IN ('$session{erased}', '$session{archived}', '$session{theirs}', '$session{other}')"), '0', 'with its keys');
is($backup->superuser(q{SELECT subject, cauce.open_certificate(jws)->>'reason', cauce.verify_certificate(id) FROM cauce.erasure_certificate WHERE reason = 'reapplied' ORDER BY 1}), "account|reapplied|t\narchive|reapplied|t\nsession|reapplied|t", 'which is certified');
$backup->superuser("UPDATE cauce.session SET legal_hold = false WHERE id = '$session{held}'");
is($backup->sql(ops => undef, "SELECT subject, outcome FROM cauce.reapply_erasures('$certificates') ORDER BY 1, 2"),
	"account|nothing left\narchive|nothing left\nreport|names no key: its rows are not known\nsession|erased\nsession|nothing left", 'once more, it does what is left');

subtest 'what this keyring has not signed' => sub {
	my $forged = $backup->superuser("SELECT array_agg(overlay(jws PLACING CASE substr(jws, length(jws) - 9, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM length(jws) - 9 FOR 1)) FROM unnest('$certificates'::text[]) jws");
	my $stranger = CauceTest->start(settings => "cauce.retention_naptime = '1d'");
	my $theirs = $stranger->token('solo');
	$stranger->sql(app => $theirs, q{INSERT INTO cauce.session (title) VALUES ('x'); DELETE FROM cauce.session});
	my $foreign = $stranger->superuser('SELECT array_agg(jws) FROM cauce.erasure_certificate');
	$stranger->stop;
	for my $what ($forged, $foreign, '{x}')
	{
		is($backup->sql(ops => undef, "SELECT DISTINCT outcome FROM cauce.reapply_erasures('$what')"), 'not signed by this keyring', 'does nothing');
	}
	is($backup->superuser('SELECT count(*) FROM cauce.session'), '3', 'all is there');
};

done_testing;
