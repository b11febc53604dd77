# What cannot work ends at once with an exit status for its kind and one line that says what to do.
use strict;
use warnings;
use Test::More;
use Tones;
use Worker;

my $session = open_session();
my $file = token_file($session);
my @good = ('--dsn', dsn(), '--token-file', $file);
my ($wav) = (recordings())[1];

sub fails
{
	my ($name, $code, $line, $arguments, $input) = @_;
	my $worker = run_worker($arguments, input => $input // '');
	is($worker->{code}, $code, "$name: exit status $code") or diag $worker->{err};
	like($worker->{err}, $line, "$name: it says why");
	is(scalar(() = $worker->{err} =~ /\n/g), 1, "$name: in one line");
	return;
}

fails('no options', 2, qr/--dsn and --token-file/, []);
fails('unknown option', 2, qr/--help/, [ @good, '--loud' ]);
fails('bad rate', 2, qr/8000 to 48000/, [ @good, '--rate', 96000 ]);
fails('nine channels', 2, qr/1 to 8/, [ @good, '--rate', 8000, '--channels', 9 ]);
fails('format alone', 2, qr/--rate/, [ @good, '--format', 's16le' ]);
fails('two files', 2, qr/one stream/, [ @good, $wav, $wav ]);
fails('no such file', 2, qr/cannot open/, [ @good, scratch() . '/none.wav' ]);
fails('a directory', 2, qr/directory/, [ @good, scratch() ]);
fails('bad DSN', 2, qr/--dsn/, [ '--dsn', 'host=x secret', '--token-file', $file, $wav ]);
fails('no token file', 2, qr/token file/, [ '--dsn', dsn(), '--token-file', '/none', $wav ]);
fails('no token', 2, qr/not a JWT/,
	[ '--dsn', dsn(), '--token-file', spew(scratch() . '/no', "nonsense\n"), $wav ]);
fails('a large token', 2, qr/larger/,
	[ '--dsn', dsn(), '--token-file', spew(scratch() . '/large', 'x' x 20000), $wav ]);
fails('too many speakers', 2, qr/fewer channels/, [ @good, ('--speaker', 'a') x 2, $wav ]);

fails('empty stream', 3, qr/is empty/, \@good);
fails('empty raw stream', 3, qr/is empty/, [ @good, '--rate', 16000 ]);
fails('no WAV', 3, qr/not a WAV file.*--rate/, \@good, 'Gold' . "\0" x 1000);
fails('no Ogg', 3, qr/before any audio/, \@good, 'OggS' . "\0" x 1000);
fails('half a header', 3, qr/before any audio/, \@good, substr slurp($wav), 0, 30);
fails('no audio', 3, qr/before any audio/, \@good, substr slurp($wav), 0, 44);
fails('WAV called raw', 3, qr/leave out --rate/, [ @good, '--rate', 16000 ], slurp($wav));
fails('24 bits', 3, qr/16-bit/, [ @good, sox('24.wav', $wav, '-b', 24, 'OUT') ]);
fails('96 kHz', 3, qr/48000 Hz/, [ @good, sox('96.wav', $wav, '-r', 96000, 'OUT') ]);

my ($head, $payload, $signature) = split /\./, stream_token($session);
$signature =~ tr/A-Za-z/B-ZAb-za/;
fails('forged token', 4, qr/SQLSTATE 28000/,
	[ '--dsn', dsn(), '--token-file', token_file($session, "$head.$payload.$signature"), $wav ]);
fails('no such database', 4, qr/3D000/,
	[ '--dsn', dsn(dbname => 'none'), '--token-file', $file, $wav ]);

my $models = spew(scratch() . '/models.json', '{"vad": "none.onnx", "tokens": "none.txt"}');
fails('no models', 6, qr/cannot read the model file/, [ @good, '--models', $models, $wav ]);

# Model configurations, and what is said of them; in a file beside the test models.
(my $beside = tone_models('offline')) =~ s/[^\/]+$/bad.json/;
my ($vad) = slurp(tone_models('offline')) =~ /("vad":"[^"]+")/;
my $streaming = '"encoder": "streaming-encoder.onnx", "decoder": "streaming-decoder.onnx", "joiner": "streaming-joiner.onnx"';
(my $swapped = $streaming) =~ s/streaming-encoder/offline-encoder/;
(my $part = $streaming) =~ s/streaming-encoder/streaming-joiner/;
spew(scratch() . '/tones/broken.onnx', substr slurp(scratch() . '/tones/streaming-ctc.onnx'), 0, 700);
my @bad = (
	[ 'an unknown kind', '"parrot": {"model": "tokens.txt"}', qr/unknown kind of model, "parrot"/ ],
	[ 'no kind', '"model_type": "x"', qr/no recognition model/ ],
	[ 'two kinds', '"tdnn": {"model": "tokens.txt"}, "dolphin": {"model": "tokens.txt"}', qr/more than one recognition model/ ],
	[ 'an incomplete kind', '"whisper": {"encoder": "tokens.txt"}', qr/no "decoder" in whisper/ ],
	[ 'an unknown key', '"whisper": {"ears": "tokens.txt"}', qr/unknown or ill-typed key "ears"/ ],
	[ 'an ill-typed number', '"whisper": {"tail_paddings": "2"}', qr/ill-typed key "tail_paddings"/ ],
	[ 'languages in one text', '"languages": "en, de", "tdnn": {"model": "tokens.txt"}', qr/"languages" that is not a list/ ],
	[ 'no languages', '"languages": [], "tdnn": {"model": "tokens.txt"}', qr/"languages" that is not a list/ ],
	[ 'a missing file', '"tdnn": {"model": "none.onnx"}', qr/cannot read the model file .*none\.onnx/ ],
	# These the engine finds, and may have a line of its own to say.
	[ 'a streaming model called offline', qq("transducer": {$streaming}), qr/not take the recognition model as "transducer"/, 1 ],
	[ 'an offline model called streaming', qq("streaming_transducer": {$swapped}), qr/as "streaming_transducer"/, 1 ],
	[ 'a part called the whole', qq("streaming_transducer": {$part}), qr/as "streaming_transducer"/, 1 ],
	[ 'a CTC model called another', '"streaming_zipformer2_ctc": {"model": "streaming-ctc.onnx"}', qr/as "streaming_zipformer2_ctc"/, 1 ],
	[ 'a broken model', '"streaming_nemo_ctc": {"model": "broken.onnx"}', qr/as "streaming_nemo_ctc"/, 1 ],
	[ 'no model at all', '"nemo_ctc": {"model": "tokens.txt"}', qr/as "nemo_ctc"/, 1 ],
	[ 'a wrong type', qq("model_type": "paraformer", "transducer": {$streaming}), qr/as "transducer"/, 1 ]);
for (@bad)
{
	my ($name, $text, $line, $engine) = @$_;
	my @arguments = (@good, '--models', spew($beside, qq({$vad, "tokens": "tokens.txt", $text})), $wav);
	next if !$engine && (fails($name, 6, $line, \@arguments), 1);
	my $worker = run_worker(\@arguments);
	is($worker->{code}, 6, "$name: exit status 6") or diag $worker->{err};
	like((split /\n/, $worker->{err})[-1], $line, "$name: the last line says why");
}
fails('no tokens', 6, qr/no "tokens"/, [ @good, '--models', spew($beside, qq({$vad, "tdnn": {"model": "tokens.txt"}})), $wav ]);
fails('bad models', 6, qr/unknown or ill-typed key "ears"/,
	[ @good, '--models', spew(scratch() . '/ears.json', '{"ears": 2}'), $wav ]);

is(transcript($session), 0, 'none of these stored a thing');
for my $question ('--help', '--version')
{
	my $answer = qx{@{[worker_path()]} $question};
	is($?, 0, "$question answers");
	like($answer, qr/^cauce-worker/, 'with what it is');
}

done_testing();
