// Writes Silero's voice detector to standard output in a form that costs less:
//
//	node silero.mjs silero_vad_v6.onnx
//
// The published model finds out for every frame of 32 ms what its rate and its shapes are, and is made of
// convolutions, which cost far more than they compute where there are four steps of time. Here it is for
// 16 kHz and one stream, with the same weights. Steps are rows, so that each convolution is a product with
// constant weights on the right, which the engine lays out once. A stream's weights have often left the cache
// when its next frame comes, so that few weights count as much as few nodes.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { ATTRIBUTE, GRAPH, MODEL, NODE, TENSOR, all, floats, input, integers, join, message, node, output, parse, text } from './onnx.mjs';

// The model that was taken apart. Nothing that it computes is looked at again, only its weights.
const SHA256 = '1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3';
const BRANCH = 'If_0_then_branch__Inline_0__'; // for 16 kHz, as its constants are named

const SAMPLES = 576; // of a frame and the 64 before it; as many as 64 more are its end mirrored
const STEPS = 4, HOP = 128, WINDOW = 256; // samples from a step to the next, and of a step
const BINS = 129; // of the spectrum
const TAPS = 3; // steps that a convolution takes together
const FIRST = 128, SECOND = 64, THIRD = 64, FOURTH = 128; // channels of the convolutions
const HIDDEN = 128; // of the LSTM
const STATE = [2, 1, HIDDEN]; // shape of hidden state and cell
const INPUT = 0, FORGET = 1, CELL = 2, OUTPUT = 3; // its gates, in PyTorch's order

const published = readFileSync(process.argv[2]);
if (createHash('sha256').update(published).digest('hex') !== SHA256)
	throw new Error(`${process.argv[2]}: not the model that engine/silero.mjs is made for`);

const nodes = graph => all(parse(graph), GRAPH.node).map(parse);
const range = length => Array.from({ length }, (_, i) => i);

const model = parse(published);
const attributes = nodes(all(model, MODEL.graph)[0]).flatMap(one => all(one, NODE.attribute)).map(parse);
const constants = new Map(attributes.flatMap(attribute => all(attribute, ATTRIBUTE.graph)).flatMap(nodes)
	.map(one => [String(all(one, NODE.output)[0]), all(one, NODE.attribute)]));

// weights are those of a tensor, one row after the other.
function weights(name) {
	const [tensor] = all(parse(constants.get(BRANCH + name)[0]), ATTRIBUTE.tensor);
	return new Float32Array(Uint8Array.from(all(parse(tensor), TENSOR.bytes)[0]).buffer);
}

// matrix is a constant with a value for each row and column.
const matrix = (name, rows, columns, value) =>
	floats(name, [rows, columns], range(rows * columns).map(i => value(Math.floor(i / columns), i % columns)));

const basis = weights('stft.forward_basis_buffer'); // cosines of all bins, then sines

// spectrum makes the magnitudes of all bins, in a row a step. The windowed cosines of sample i and of sample 256 - i
// are the same, sines the opposite, and those of sample 0 nothing: sums and differences of two samples
// need half the weights.
function spectrum(magnitudes) {
	const mirrored = sample => sample < SAMPLES ? sample : 2 * (SAMPLES - 1) - sample;
	const pick = place => range(STEPS * HOP).map(i => mirrored(HOP * Math.floor(i / HOP) + place(1 + i % HOP)));
	return [
		integers('picked', [...pick(i => i), ...pick(i => WINDOW - i)], [1, 2 * STEPS * HOP]),
		integers('pairs_shape', [2, STEPS, HOP]),
		matrix('cosines', HOP, BINS, (i, bin) => basis[bin * WINDOW + 1 + i] / (1 + i === WINDOW / 2 ? 2 : 1)), // 128 is its own pair
		matrix('sines', HOP, BINS, (i, bin) => basis[(BINS + bin) * WINDOW + 1 + i]),
		node('GatherElements', ['input', 'picked'], ['samples'], { axis: 1 }),
		node('Reshape', ['samples', 'pairs_shape'], ['pairs']),
		node('Split', ['pairs'], ['ones', 'others'], { axis: 0 }),
		node('Add', ['ones', 'others'], ['sums']),
		node('Sub', ['ones', 'others'], ['differences']),
		node('MatMul', ['sums', 'cosines'], ['real']),
		node('MatMul', ['differences', 'sines'], ['imaginary']),
		node('Mul', ['real', 'real'], ['real_squares']),
		node('Mul', ['imaginary', 'imaginary'], ['imaginary_squares']),
		node('Add', ['real_squares', 'imaginary_squares'], ['powers']),
		node('Sqrt', ['powers'], [magnitudes]),
	];
}

// convolution is a product. A kernel has the taps of one input after those of the other; `place` is where in it the
// weight of an input of the product is.
function convolution(number, from, to, inputs, outputs, place, biased = [1], attributes = {}) {
	const name = `convolution${number}`;
	const kernels = weights(`encoder.${number}.reparam_conv.weight`), bias = weights(`encoder.${number}.reparam_conv.bias`);
	return [
		matrix(`${name}_weights`, inputs, outputs, (row, column) => kernels[column * kernels.length / outputs + place(row)]),
		matrix(`${name}_bias`, biased.length, outputs, (row, column) => biased[row] * bias[column]),
		node('Gemm', [from, `${name}_weights`, `${name}_bias`], [name], attributes),
		node('Relu', [name], [to]),
	];
}

// byTap is the place where all inputs of a tap come together, then those of the next.
const byTap = (inputs, first) => row => row % inputs * TAPS + first + Math.floor(row / inputs);

// encoder has four convolutions: four steps stay four, become two, become one, stay one. The second takes steps
// -1, 0, 1 and 1, 2, 3 of the first: just these the first makes, that of step -1 without bias, as it is to be nothing. A
// step that is not there is nothing, too: a row of zeros behind the others. What the taps of the second add up to is
// large and cancels out; so it takes them as the published one does, one channel after the other, and rounds no worse.
function encoder(magnitudes, voice) {
	const made = [-1, 1, 0, 2, 1, 3]; // in the order of taps
	const taken = made.flatMap(step => range(TAPS).map(tap => step < 0 ? STEPS : step + tap - 1)).map(step => step < 0 ? STEPS : step);
	return [
		integers('padding', [0, 0, 0, 0, 1, 0]),
		integers('taken', taken, [made.length, TAPS]),
		integers('first_shape', [made.length, TAPS * BINS]),
		integers('second_shape', [FIRST * TAPS, 2]),
		integers('third_shape', [1, 2 * SECOND]),
		node('Pad', [magnitudes, 'padding'], ['padded']),
		node('Gather', ['padded', 'taken'], ['steps'], { axis: 1 }),
		node('Reshape', ['steps', 'first_shape'], ['first_rows']),
		...convolution(0, 'first_rows', 'first', TAPS * BINS, FIRST, byTap(BINS, 0), made.map(step => step < 0 ? 0 : 1)),
		node('Transpose', ['first'], ['first_channels'], { perm: [1, 0] }),
		node('Reshape', ['first_channels', 'second_shape'], ['second_columns']),
		...convolution(1, 'second_columns', 'second', FIRST * TAPS, SECOND, row => row, [1], { transA: 1 }),
		node('Reshape', ['second', 'third_shape'], ['third_row']),
		...convolution(2, 'third_row', 'third', 2 * SECOND, THIRD, byTap(SECOND, 1)),
		...convolution(3, 'third', voice, THIRD, FOURTH, byTap(THIRD, 1)),
	];
}

// gates are some of the LSTM's, with the same activation.
function gates(name, activation, numbers) {
	const [inputs, hidden, bias, hiddenBias] = ['weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'].map(of => weights(`decoder.rnn.${of}`));
	const gate = column => numbers[Math.floor(column / HIDDEN)] * HIDDEN + column % HIDDEN;
	return [
		matrix(`${name}_weights`, FOURTH + HIDDEN, numbers.length * HIDDEN, (row, column) =>
			row < FOURTH ? inputs[gate(column) * FOURTH + row] : hidden[gate(column) * HIDDEN + row - FOURTH]),
		matrix(`${name}_bias`, 1, numbers.length * HIDDEN, (_, column) => bias[gate(column)] + hiddenBias[gate(column)]),
		node('Gemm', ['voice_and_hidden', `${name}_weights`, `${name}_bias`], [`${name}_sums`]),
		node(activation, [`${name}_sums`], [name]),
	];
}

// decoder is an LSTM's step, and the probability of voice that comes of it. The engine's own LSTM takes as long while
// its weights are in the cache, and longer when they are not.
function decoder(voice) {
	return [
		integers('rows_shape', [2, HIDDEN]),
		integers('state_shape', STATE),
		floats('last_weights', [HIDDEN, 1], weights('decoder.decoder.2.weight')),
		floats('last_bias', [1], weights('decoder.decoder.2.bias')),
		node('Reshape', ['state', 'rows_shape'], ['rows']),
		node('Split', ['rows'], ['hidden', 'cell'], { axis: 0 }),
		node('Concat', [voice, 'hidden'], ['voice_and_hidden'], { axis: 1 }),
		...gates('gates', 'Sigmoid', [INPUT, FORGET, OUTPUT]),
		...gates('candidate', 'Tanh', [CELL]),
		node('Split', ['gates'], ['input_gate', 'forget_gate', 'output_gate'], { axis: 1 }),
		node('Mul', ['input_gate', 'candidate'], ['added']),
		node('Mul', ['forget_gate', 'cell'], ['kept']),
		node('Add', ['added', 'kept'], ['next_cell']),
		node('Tanh', ['next_cell'], ['next_cell_tanh']),
		node('Mul', ['output_gate', 'next_cell_tanh'], ['next_hidden']),
		node('Concat', ['next_hidden', 'next_cell'], ['next_rows'], { axis: 0 }),
		node('Reshape', ['next_rows', 'state_shape'], ['stateN']),
		node('Relu', ['next_hidden'], ['positive']),
		node('Gemm', ['positive', 'last_weights', 'last_bias'], ['logit']),
		node('Sigmoid', ['logit'], ['output']),
	];
}

const FLOAT = TENSOR.typeFloat;
process.stdout.write(join([...model.filter(field => field[0] !== MODEL.graph), message(MODEL.graph, [
	...spectrum('magnitudes'), ...encoder('magnitudes', 'voice'), ...decoder('voice'), text(GRAPH.name, 'silero'),
	input('input', FLOAT, [1, SAMPLES]), input('state', FLOAT, STATE), input('sr', TENSOR.typeInteger, [1]),
	output('output', FLOAT, [1, 1]), output('stateN', FLOAT, STATE)])]));
