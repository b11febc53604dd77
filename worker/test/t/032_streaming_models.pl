# A streaming model hears a segment while it is spoken: text comes on the way, nothing is lost at its end, at Finalize
# or where it is cut for its length, no file is opened once there is audio, and no audio is left behind. The models are
# those of test/models, through the engine itself.
use strict;
use warnings;
use List::Util qw(max);
use Memory;
use Server;
use Test::More;
use Tones;
use Worker;

my ($wav) = (recordings())[1];
my @models = ('--models', tone_models('streaming'));
my @said = ([ 1.0, 'four' ], [ 1.2, 'teen' ], [ 1.7, 'six' ], [ 2.3, 'seven' ]);
my $tones = tone_file('tones', $wav, @said);
my $audio = raw_file('tones', $tones);

# heard transcribes a WAV file and returns its rows.
sub heard
{
	my ($file, %how) = @_;
	my $session = open_session();
	my $worker = run_worker([ '--dsn', dsn(), '--token-file', token_file($session), @models, $file ], %how);
	is($worker->{code}, 0, 'exit status') or diag $worker->{err};
	return transcript($session);
}

sub bodies { return join ' ', map { $_->{body} } @_ }

# The last word is written down although the stream ends right behind it.
is(bodies(heard(sox('short.wav', $tones, 'OUT', 'trim', 0, 2.4))), 'fourteen six seven', 'the last word of a stream');

# Where speech is cut for its length each word is there once, in its own segment, at its own time.
{
	my $speech = sox('speech.wav', (recordings())[0], 'OUT', 'trim', 1, 0.8, 'repeat', 37, 'pad', 0, 1);
	my @cycle = qw(six seven four);
	my @many = map { [ 1 + 1.1 * $_, $cycle[ $_ % 3 ] ] } 0 .. 25;
	(my $german = $models[1]) =~ s/streaming/german/;
	spew($german, slurp($models[1]) =~ s/\{/{"languages": ["fr", "de"], /r);
	my $server = start_serve([ '--models', $german ]);
	my $session = open_session();
	my ($english) = run_client('script', { url => url($server, '/v1/listen?language=en-GB'), headers => { Authorization => 'Token $TOKEN' }, steps => [] },
		stream_token($session));
	is($english->{status}, 400, 'a language that the configured model does not know is refused');
	like($english->{body}, qr/language/, 'and the answer says so');
	my @messages = run_client('script', { url => url($server, '/v1/listen?language=DE-ch&encoding=linear16&sample_rate=16000&endpointing=false&interim_results=true'),
			headers => { Authorization => 'Token $TOKEN' },
			steps => [ [ file => raw_file('many', tone_file('many', $speech, @many)), 3200, 2 ], [ text => '{"type": "CloseStream"}' ] ] },
		stream_token($session));
	my @rows = transcript($session);
	cmp_ok(scalar @rows, '>', 1, 'long speech is cut');
	is(bodies(@rows), join(' ', map { $_->[1] } @many), 'and each word is there once');
	my @finals = grep { ($_->{type} // '') eq 'Results' && $_->{is_final} } @messages;
	ok((grep { !$_->{speech_final} && length $_->{channel}{alternatives}[0]{transcript} } @finals), 'cut in the middle of speech');
	my @words = map { @{ $_->{channel}{alternatives}[0]{words} } } @finals;
	my @off = map { 1000 * abs($words[$_]{start} - $many[$_][0]) } 0 .. $#words;
	cmp_ok(max(@off), '<=', tone_ms(), 'at its time') or diag "@off";

	# Interim text grows, and is what the final text begins with.
	my $session2 = open_session();
	@messages = run_client('script', { url => url($server, '/v1/listen?encoding=linear16&sample_rate=16000&interim_results=true'),
			headers => { Authorization => 'Token $TOKEN' },
			steps => [ [ file => $audio, 3200, 5 ], [ text => '{"type": "CloseStream"}' ] ] },
		stream_token($session2));
	my @results = map { { final => $_->{is_final}, %{ $_->{channel}{alternatives}[0] } } } grep { ($_->{type} // '') eq 'Results' } @messages;
	is_deeply([ map { $_->{transcript} } @results ], [ 'four', 'fourteen', 'fourteen six', ('fourteen six seven') x 2 ],
		'text on the way, and the final one');
	is_deeply([ map { $_->{final} ? 1 : 0 } @results ], [ 0, 0, 0, 0, 1 ], 'which is the last');
	is($results[2]{words}[1]{start}, $results[4]{words}[1]{start}, 'times on the way are the final ones');
	cmp_ok(abs($results[2]{words}[1]{confidence} - tone_sure(2, 'six')), '<', 1e-4, 'and so is confidence');

	# Finalize ends what is being spoken; what follows is another segment.
	my $session3 = open_session();
	my ($head, $tail) = (spew(scratch() . '/head', substr slurp($audio), 0, 2 * 31200), spew(scratch() . '/tail', substr slurp($audio), 2 * 31200));
	@messages = run_client('script', { url => url($server, '/v1/listen?encoding=linear16&sample_rate=16000'),
			headers => { Authorization => 'Token $TOKEN' },
			steps => [ [ file => $head, 3200 ], [ text => '{"type": "Finalize"}' ], [ until => 'Results' ], [ file => $tail, 3200 ],
				[ text => '{"type": "CloseStream"}' ] ] },
		stream_token($session3));
	is(join('|', map { $_->{body} } transcript($session3)), 'fourteen six|seven', 'Finalize');

	# reset does so for vosk clients, which get text on the way, too.
	my $session4 = open_session();
	@messages = run_client('script', { url => url($server, '/'), headers => { Authorization => 'Token $TOKEN' },
			steps => [ [ text => '{"config": {"sample_rate": 16000}}' ], [ turns => $head, 3200 ], [ text => '{"reset": 1}' ], [ until => 'text' ],
				[ turns => $tail, 3200 ], [ text => '{"eof": 1}' ] ] },
		stream_token($session4));
	is(join('|', map { $_->{body} } transcript($session4)), 'fourteen six|seven', 'reset');
	is_deeply([ grep { length } map { $_->{partial} // '' } @messages ]->[0], 'four', 'partial text');

	# Eight streams at a time, on one thread's worth of turns, get each their own words.
	my @clients = map { my $one = open_session(); [ $one, start_client('script',
			{ url => url($server, '/v1/listen?encoding=linear16&sample_rate=16000'), headers => { Authorization => 'Token $TOKEN' },
				steps => [ [ file => $audio, 3200, 20 ], [ text => '{"type": "CloseStream"}' ] ] }, stream_token($one)) ] } 1 .. 8;
	finish_client($_->[1]) for @clients;
	is(join('|', map { texts($_->[0]) } @clients), join('|', ('fourteen six seven') x 8), 'streams do not mix');

	# SIGTERM: what was said is stored.
	my $session5 = open_session();
	my $most = spew(scratch() . '/most', substr slurp($audio), 0, 2 * 35200);
	my $client = start_client('script', { url => url($server, '/v1/listen?encoding=linear16&sample_rate=16000&interim_results=true'),
			headers => { Authorization => 'Token $TOKEN' }, steps => [ [ file => $most, 3200 ], [ wait => 60000 ] ] },
		stream_token($session5));
	ok(wait_until(sub { $client->{out} =~ /fourteen six/ }, $client), 'a stream goes on');
	is(stop_serve($server), 0, 'SIGTERM');
	finish_client($client);
	is(texts($session5), 'fourteen six', 'what was said before is stored');
}

# The sandbox holds: once the stream is read no file is opened but libpq's and the resolver's, for reading.
my $trace = scratch() . '/trace';
heard($tones, before => [ qw(strace -f -qq -o), $trace ]);
my @lines = split /\n/, slurp($trace);
my ($limit) = grep { $lines[$_] =~ /RLIMIT_FSIZE, \{rlim_cur=0/ } 0 .. $#lines;
my @models_opened = grep { /open.*(?:\.onnx|tokens\.txt)/ } @lines[ $limit // 0 .. $#lines ];
ok(defined $limit && !@models_opened, 'no model is opened once audio may come') or diag "@models_opened";

# No memory keeps what was said.
SKIP:
{
	skip 'reading the memory of another process takes root' if $> != 0;
	my $samples = slurp($audio);
	my $needles = needles(16000, s16 => $samples, f32 => pack 'f<*', map { $_ / 32768 } unpack 's<*', $samples);
	my $session = open_session();
	my $worker = start_worker([ '--dsn', dsn(), '--token-file', token_file($session), '--rate', 16000, '--print', @models ]);
	my $half = 2 * 32000;
	feed($worker, substr $samples, 0, $half);
	ok(wait_until(sub { max(0, map { $_->{seconds} } pieces(worker_pid($worker), $needles)) > 1 }, $worker), 'control: it is there while it is spoken');
	feed($worker, substr($samples, $half) . "\0" x 32000);
	ok(wait_until(sub { $worker->{out} =~ /\n/ }, $worker), 'all is stored');
	my @left = grep { $_->{seconds} >= 0.05 } pieces(worker_pid($worker), $needles);
	is(scalar @left, 0, 'nothing is left');
	diag sprintf '%.4f s as %s', @{$_}{qw(seconds where)} for @left;
	is(finish_worker($worker)->{code}, 0, 'exit status');
}

done_testing();
