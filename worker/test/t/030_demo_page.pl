# Somebody with a browser, a microphone and a token can try the server: what is said shows on the page while
# it is spoken, stays there once it is stored, and is in the database, sealed. The page talks to this server
# only, and gives the microphone back. Without --demo-page there is no such page.
use strict;
use warnings;
use Server;
use Test::More;
use Worker;

plan skip_all => 'there is no /usr/bin/chromium' unless -x '/usr/bin/chromium';

my $server = start_serve(['--demo-page']);
my $spki = qx(openssl x509 -in ${\scratch()}/tls.crt -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64);
chomp $spki;
my ($wav) = (recordings())[1];
my $said = sox('said.wav', $wav, 'OUT', 'pad', 1, 1);
my $file = sox('file.wav', '-M', $wav, (recordings())[0], 'OUT');

# Three streams: into one session from the microphone, into another from a file, and one with no token.
my ($session, $other) = (open_session(), open_session());
my @messages = run_client('demo',
	{ url => url($server, '/demo', 'https'), spki => $spki, microphone => $said,
		steps => [ [ 'token', 0 ], [ 'click', 'microphone' ], [ 'until', 'interim', '\w' ], ['print'],
			[ 'until', 'final', 'young man' ], [ 'click', 'stop' ], [ 'until', 'state', 'stored' ], ['print'],
			[ 'token', 1 ], [ 'file', $file ], [ 'until', 'state', 'Streaming' ], [ 'until', 'state', 'stored' ], ['print'],
			[ 'token', 2 ], [ 'click', 'microphone' ], [ 'until', 'state', 'refused' ], ['print'] ] },
	join ' ', stream_token($session), stream_token($other), 'nonsense');
my ($speaking, $end, $both, $refused) = grep { exists $_->{state} } @messages;
is(join("\n", map { json($_) } grep { exists $_->{failed} || exists $_->{error} } @messages), '', 'the page works')
  or diag $server->{err};

like($speaking->{state}, qr/^Streaming/, 'it says that it streams');
is_deeply($speaking->{tracks}, ['live'], 'the microphone is on');
is_deeply($speaking->{enabled}, ['stop'], 'one stream at a time');
cmp_ok(@{ $speaking->{interims} } + @{ $end->{interims} }, '>=', 2, 'text shows while it is spoken');
cmp_ok(wer(reference($wav), $end->{final}), '<=', 0.2, 'and then for good') or diag $end->{final};
is($end->{interim}, '', 'nothing is left open');
like($end->{state}, qr/^All is stored: [\d.]+ s/, 'it says so once all is stored');
is(texts($session), join(' ', split /\n/, $end->{final}), 'the database has what the page shows');
like(psql('postgres', "SELECT body FROM cauce.transcript_segment WHERE session_id = '$session'"),
	qr/\A(cauce1:\S+\n?)+\z/, 'sealed');

is_deeply([ sort split /\n/, $both->{final} ], [ sort map { "channel $_->{channel}: $_->{body}" } transcript($other) ],
	'a file, each channel for itself');
like($both->{final}, qr/channel 0:.*young man/, 'the one');
like($both->{final}, qr/channel 1: \w/, 'and the other');
is_deeply($both->{enabled}, [ 'microphone', 'file' ], 'and then there may be another');

is_deeply($refused->{tracks}, ['ended'], 'without a token the microphone does not stay on');
is_deeply($refused->{enabled}, [ 'microphone', 'file' ], 'and another may be tried');

my @asked = map { $_->{request} // $_->{websocket} // () } @messages;
cmp_ok(scalar @asked, '>=', 4, 'what the page asks for');
is(join("\n", grep { !m{^(https|wss)://localhost:$server->{port}/(demo$|v1/listen\?)} } @asked), '', 'is this server only');

my ($status, $answer) = http($server, '/demo', '-i');
my ($policy) = $answer =~ /^content-security-policy: (.*?)\r$/mi;
like($policy, qr/^default-src 'none'; script-src 'sha256-\S+'; style-src 'sha256-\S+'; connect-src 'self';/, 'a policy');
unlike($policy, qr/unsafe|\*|data:|https?:/, 'without exceptions');
unlike($answer, qr{(src|href)=|url\(|https?://}i, 'nothing is loaded from anywhere');
unlike($server->{err}, qr/young man|eyJ/i, 'no content and no token in the log');
is(stop_serve($server), 0, 'exit status');

$server = start_serve([]);
is((http($server, '/demo'))[0], 404, 'off by default');
is(stop_serve($server), 0, 'exit status');

done_testing();
