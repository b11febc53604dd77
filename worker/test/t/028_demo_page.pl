# The demo page, in a browser: a microphone and a file are streamed, interim and final text are shown, what is
# final is stored, and the page asks nobody else for anything.
use strict;
use warnings;
use Server;
use Test::More;
use Worker;

my $server = start_serve(['--demo-page']);
my ($wav) = (recordings())[3];
my $session = open_session();
my ($status, $page) = http($server, '/demo');
is($status, 200, 'it is there');
unlike($page, qr{src=|href=|url\(|import\b}, 'with nothing from elsewhere');
my ($microphone, $file, $foreign) = run_client('demo', { url => url($server, '', 'https'),
		microphone => sox('microphone.wav', $wav, '-r', 48000, 'OUT', 'pad', 1, 3), file => $wav }, stream_token($session));
is($microphone->{name}, 'microphone', 'microphone') or diag explain $microphone;
cmp_ok(wer(reference($wav), $microphone->{final}), '<=', 0.3, 'its words are shown') or diag $microphone->{final};
isnt($microphone->{interim}, '', 'and interim text before');
is($file->{name} // '', 'file', 'file') or diag explain $file;
cmp_ok(wer(reference($wav), $file->{final}), '<=', 0.1, 'its words are shown') or diag $file->{final};
is(texts($session), "$microphone->{final} $file->{final}", 'what is final is stored');
is_deeply($foreign->{foreign}, [], 'nobody else is asked');
is(stop_serve($server), 0, 'exit status');

done_testing();
