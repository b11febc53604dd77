# A phrase that the account or its organization keeps a rule for raises a sealed alert, in the same
# transaction as the segment in which it was said; what is not said raises none.
use strict;
use warnings;
use Test::More;
use Worker;

my ($wav) = (recordings())[1];    # "He was not an ill-disposed young man"
as_owner("INSERT INTO cauce.alert_rule (account_id, pattern, kind, severity)"
	  . " SELECT cauce.account_id(), v.* FROM (VALUES ('Young MAN!', 'risk', 'high'), ('HE was', 'other', 'info'),"
	  . " ('young woman', 'risk', 'high'), ('oung', 'risk', 'high'), ('...', 'risk', 'high')) AS v");

my $session = open_session();
my $worker = run_worker([ '--dsn', dsn(), '--token-file', token_file($session), $wav ]);
is($worker->{code}, 0, 'transcribed') or diag $worker->{err};
my $alerts = sub {
	return as_owner("SELECT kind, severity, detail, at_ms = (SELECT min(start_ms) FROM cauce.transcript_segment WHERE session_id = '$session')"
		  . " FROM cauce.alert WHERE session_id = '$session' ORDER BY kind");
};
is($alerts->(), "other|info|HE was|t\nrisk|high|Young MAN!|t", 'what was said raises alerts');
like(psql('postgres', "SELECT detail::text FROM (SELECT cauce.encrypted_text_out(detail) AS detail FROM cauce.alert WHERE session_id = '$session') a"),
	qr/\A(cauce1:\S+\n?){2}\z/, 'which are sealed');

# The same row again, as after an answer that was lost, raises none again.
my ($row) = transcript($session);
my @again = ('--first-seq', $row->{seq});
run_worker([ '--dsn', dsn(), '--token-file', token_file($session), @again, $wav ]);
is($alerts->(), "other|info|HE was|t\nrisk|high|Young MAN!|t", 'the same segment raises the same alerts');
unlike($worker->{err}, qr/young|man/i, 'the log has no content');

done_testing();
