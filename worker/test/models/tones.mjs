// Writes test models into a directory, and configurations with a voice detector:
//
//	node tones.mjs DIRECTORY VAD
//
// They know four tones and nothing of speech: their weights are set here by hand, so that which word is
// heard when, and how sure the model is of it, is known. They go through all of the engine that a model of
// speech of the same kind goes through, and prove that way, not accuracy. As the worker listens where
// there is voice, the tones are to be mixed with speech that is not as loud.
//
//	offline-*.onnx, streaming-*.onnx	a transducer, which tells probabilities of tokens
//	streaming-ctc.onnx					NeMo's kind of CTC model, which does not
import { writeFileSync } from 'node:fs';
import { GRAPH, MODEL, TENSOR, VARINT, floats, input, integers, join, message, node, output, text } from '../../engine/onnx.mjs';

// A token, the mel band (of 80, 20 to 7600 Hz) that its tone is in, and its probability while that is heard.
const TOKENS = [['\u2581four', 60, 0.9], ['teen', 66, 0.8], ['\u2581six', 72, 0.6], ['\u2581seven', 76, 0.95]];
const LOUD = 5; // logarithm of a band's energy from which there is a tone
const BLANK = '<blk>', SIZE = TOKENS.length + 1;
const NEVER = -60, AGAIN = -120; // what makes a token as good as impossible, and one that was the last
const SUBSAMPLING = 4; // frames of 10 ms to a frame of the encoder
const CHUNK = 16, WINDOW = 32; // frames that a streaming model goes on at a time, and needs for that

const directory = process.argv[2];

function write(name, metadata, graph) {
	writeFileSync(`${directory}/${name}.onnx`, join([[MODEL.ir, VARINT, 8],
		message(MODEL.graph, [text(GRAPH.name, name), ...graph]), message(MODEL.opset, [text(1, ''), [2, VARINT, 13]]),
		...Object.entries(metadata).map(([key, data]) => message(MODEL.metadata, [text(1, key), text(2, String(data))]))]));
}

// scores makes, of features (batch, frames, bands), logits of tokens: the blank's is 0, and a token's is such
// that it has its probability beside that while its tone is heard. Only the first `frames` are used.
function scores(features, logits, frames) {
	return [
		integers('from', [0]), integers('until', [frames]), integers('axis', [1]), integers('step', [SUBSAMPLING]),
		integers('bands', TOKENS.map(([, band]) => band)), floats('loud', [1], [LOUD]),
		floats('weights', [TOKENS.length, SIZE], TOKENS.flatMap(([, , p], i) =>
			Array.from({ length: SIZE }, (_, j) => j === i + 1 ? Math.log(p / (1 - p)) - NEVER : 0))),
		floats('bias', [SIZE], Array.from({ length: SIZE }, (_, j) => j ? NEVER : 0)),
		node('Slice', [features, 'from', 'until', 'axis', 'step'], ['frames']),
		node('Gather', ['frames', 'bands'], ['energies'], { axis: 2 }),
		node('Greater', ['energies', 'loud'], ['heard']),
		node('Cast', ['heard'], ['tones'], { to: TENSOR.typeFloat }),
		node('MatMul', ['tones', 'weights'], ['raised']),
		node('Add', ['raised', 'bias'], [logits]),
	];
}

const FLOAT = TENSOR.typeFloat, INTEGER = TENSOR.typeInteger;

function transducer(name) {
	write(`${name}-decoder`, { vocab_size: SIZE, context_size: 1 }, [
		input('y', INTEGER, ['N', 1]), output('decoder_out', FLOAT, ['N', SIZE]), integers('axis', [1]),
		floats('table', [SIZE, SIZE], Array.from({ length: SIZE * SIZE }, (_, i) => i && i % (SIZE + 1) === 0 ? AGAIN : 0)),
		node('Gather', ['table', 'y'], ['rows'], { axis: 0 }), node('Squeeze', ['rows', 'axis'], ['decoder_out'])]);
	write(`${name}-joiner`, { joiner_dim: SIZE }, [
		input('encoder_out', FLOAT, ['N', SIZE]), input('decoder_out', FLOAT, ['N', SIZE]), output('logit', FLOAT, ['N', SIZE]),
		node('Add', ['encoder_out', 'decoder_out'], ['logit'])]);
}

transducer('offline');
write('offline-encoder', { model_type: 'zipformer' }, [
	input('x', FLOAT, ['N', 'T', 80]), input('x_lens', INTEGER, ['N']),
	output('encoder_out', FLOAT, ['N', 'S', SIZE]), output('encoder_out_lens', INTEGER, ['N']),
	...scores('x', 'encoder_out', 1 << 30),
	integers('up', [SUBSAMPLING - 1]), node('Add', ['x_lens', 'up'], ['more']), node('Div', ['more', 'step'], ['encoder_out_lens'])]);

transducer('streaming');
write('streaming-encoder', { model_type: 'lstm', num_encoder_layers: 1, T: WINDOW, decode_chunk_len: CHUNK, rnn_hidden_size: 1, d_model: 1 }, [
	input('x', FLOAT, ['N', WINDOW, 80]), input('h', FLOAT, [1, 'N', 1]), input('c', FLOAT, [1, 'N', 1]),
	output('encoder_out', FLOAT, ['N', CHUNK / SUBSAMPLING, SIZE]), output('next_h', FLOAT, [1, 'N', 1]), output('next_c', FLOAT, [1, 'N', 1]),
	...scores('x', 'encoder_out', CHUNK), node('Identity', ['h'], ['next_h']), node('Identity', ['c'], ['next_c'])]);

const caches = ['channel', 'time'].map(name => [`cache_last_${name}`, FLOAT, ['N', 1, 1, 1]]);
caches.push(['cache_last_channel_len', INTEGER, ['N']]);
write('streaming-ctc', { window_size: WINDOW, chunk_shift: CHUNK, subsampling_factor: SUBSAMPLING, vocab_size: SIZE - 1,
	...Object.fromEntries(['channel', 'time'].flatMap(name => [1, 2, 3].map(i => [`cache_last_${name}_dim${i}`, 1]))) }, [
	input('audio_signal', FLOAT, ['N', 80, WINDOW]), input('length', INTEGER, ['N']), ...caches.map(cache => input(...cache)),
	output('logits', FLOAT, ['N', CHUNK / SUBSAMPLING, SIZE]), output('logits_length', INTEGER, ['N']),
	...caches.map(([name, ...rest]) => output(`next_${name}`, ...rest)),
	node('Transpose', ['audio_signal'], ['x'], { perm: [0, 2, 1] }), ...scores('x', 'logits', CHUNK),
	node('Identity', ['length'], ['logits_length']), ...caches.map(([name]) => node('Identity', [name], [`next_${name}`]))]);

writeFileSync(`${directory}/tokens.txt`, [BLANK, ...TOKENS.map(([token]) => token)].map((token, i) => `${token} ${i}\n`).join(''));
const files = name => Object.fromEntries(['encoder', 'decoder', 'joiner'].map(part => [part, `${name}-${part}.onnx`]));
for (const [name, models] of Object.entries({ offline: { transducer: files('offline') },
	streaming: { streaming_transducer: files('streaming') }, ctc: { streaming_nemo_ctc: { model: 'streaming-ctc.onnx' } } }))
	writeFileSync(`${directory}/${name}.json`, JSON.stringify({ vad: process.argv[3], tokens: 'tokens.txt', ...models }));
