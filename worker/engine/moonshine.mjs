// Writes Moonshine's encoder or decoder to standard output in the form that costs least:
//
//	node moonshine.mjs encoder|decoder signed|unsigned MODEL
//
// The published models spell each layer out: over a thousand operations for a token, most of them on shapes, and the
// table of words is unpacked to 36 MiB for each. Here a layer is some sixteen operations, those that onnxruntime has
// for the purpose: attention with what came before, rotation by place, a sum with its normalization, a product of
// bytes. Weights are the published bytes, and products of bytes the same whole numbers; floating-point ones are added
// in another order.
//
// Those bytes are unsigned. Processors with VNNI multiply unsigned by signed ones, several times as fast: "signed" takes
// 128 from weights and their zero points, so that differences stay what they are. Processors without it would cut such
// products off at 16 bits: they need "unsigned".
import { readFileSync } from 'node:fs';
import { ATTRIBUTE, GRAPH, MODEL, NODE, Real, TENSOR, VARINT, all, floats, integers, join, message, node, parse, tensor,
	text, varints } from './onnx.mjs';

const HEADS = 8; // of attention, in Moonshine tiny and base
const MICROSOFT = 'com.microsoft';
const OPSETS = [['', 17], [MICROSOFT, 1]];
const EPSILON = new Real(1e-5); // of normalization
const SIGN = 0x80;

const [, , part, form, path] = process.argv;
const parts = { encoder, decoder }, forms = { signed: SIGN, unsigned: 0 };
const sign = forms[form], typeOfBytes = sign ? TENSOR.typeSignedByte : TENSOR.typeByte;

if (!(part in parts) || sign === undefined || !path)
	throw new Error('usage: moonshine.mjs encoder|decoder signed|unsigned MODEL');

function fail(problem) {
	throw new Error(`${path}: ${problem}; engine/moonshine.mjs is made for another version`);
}

// What is read of the published model.

const texts = (fields, number) => all(fields, number).map(String);
const nameOf = described => texts(parse(described), 1)[0]; // of an input or output

// Nodes finds the operations of a graph by what they make and use.
class Nodes {
	constructor(graph) {
		this.graph = graph;
		this.list = all(graph, GRAPH.node).map(parse).map(fields =>
			({ fields, op: texts(fields, NODE.op)[0], inputs: texts(fields, NODE.input), outputs: texts(fields, NODE.output) }));
		this.makers = new Map(this.list.flatMap(one => one.outputs.map(output => [output, one])));
	}

	has(output) {
		return this.makers.has(output);
	}

	making(output) {
		return this.makers.get(output) ?? fail(`nothing makes ${output}`);
	}

	using(input) {
		return this.list.find(one => one.inputs.includes(input)) ?? fail(`nothing uses ${input}`);
	}
}

const published = parse(readFileSync(path));
const graph = parse(all(published, MODEL.graph)[0]);
const tensors = new Map(all(graph, GRAPH.tensor).map(parse).map(fields => [texts(fields, TENSOR.name)[0], fields]));

const tensorOf = name => tensors.get(name) ?? fail(`no tensor ${name}`);
const dimensionsOf = name => all(tensorOf(name), TENSOR.dimension).map(Number);
const bytesOf = name => all(tensorOf(name), TENSOR.bytes)[0]
	?? Buffer.from(all(tensorOf(name), TENSOR.integers).flatMap(packed => varints(packed).map(Number)));

function floatsOf(name) {
	const bytes = Buffer.concat([...all(tensorOf(name), TENSOR.bytes), ...all(tensorOf(name), TENSOR.floats)]);
	return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
}

// What is written.

const written = new Map(); // constants of all graphs, by name

// keep takes a published constant over.
function keep(name) {
	written.set(name, message(GRAPH.tensor, tensorOf(name)));
	return name;
}

// constant writes one, with a function of onnx.mjs.
function constant(make, name, ...how) {
	if (!written.has(name))
		written.set(name, make(name, ...how));
	return name;
}

const quantized = (name, shape, bytes) => constant(tensor, name, shape, typeOfBytes, Buffer.from(bytes.map(byte => byte ^ sign)));

// sideBySide is a matrix of several, with a scale and a zero point for each column.
function sideBySide(matrices) {
	const [{ rows }] = matrices, columns = matrices.reduce((before, one) => before + one.columns, 0);
	const bytes = Buffer.alloc(rows * columns), each = key => matrices.flatMap(one => Array(one.columns).fill(one[key][0]));
	for (let row = 0, at = 0; row < rows; row++)
		for (const one of matrices)
			at += one.bytes.copy(bytes, at, row * one.columns, (row + 1) * one.columns);
	return { name: matrices.map(one => one.name).join('+'), rows, columns, bytes, scales: each('scales'), zeros: each('zeros') };
}

// Writer gathers the operations of a graph. Its methods write one and give what it makes.
class Writer {
	fields = [];
	copied = new Set();

	constructor(nodes, prefix) {
		this.nodes = nodes; // of the published graph
		this.prefix = prefix;
	}

	// make gives the name of an output, or a list of such. Outputs have the names that are given; null: any.
	make(op, inputs, attributes = {}, outputs = [null]) {
		const names = outputs.map((name, i) => name ?? `${this.prefix}${this.fields.length}.${i}`);
		this.fields.push(node(op, inputs, names, attributes));
		return names.length === 1 ? names[0] : names;
	}

	// copy writes published operations and what they need.
	copy(output) {
		if (tensors.has(output))
			keep(output);
		if (!this.nodes.has(output) || this.copied.has(output))
			return output;
		this.copied.add(output);
		const { fields, inputs } = this.nodes.making(output);
		inputs.forEach(input => this.copy(input));
		this.fields.push(message(GRAPH.node, fields));
		return output;
	}

	split(value, count, axis = -1) {
		return this.make('Split', [value], { axis }, Array(count).fill(null));
	}

	// matrixOf is what a published product multiplies by.
	matrixOf(product) {
		const [, name, , zero] = this.nodes.making(`${product}/MatMul_output_0_output_quantized`).inputs;
		const [, scale] = this.nodes.making(`${product}/MatMul_quant_scales_mul:0`).inputs;
		const [rows, columns] = dimensionsOf(name);
		return { name, rows, columns, bytes: bytesOf(name), scales: floatsOf(scale), zeros: bytesOf(zero) };
	}

	// product multiplies by the matrices of some published products, side by side, or by that of one and adds its bias.
	product(value, ...products) {
		const matrices = products.map(product => this.matrixOf(product)), sum = `${products[0]}/Add_output_0`;
		const bias = this.nodes.has(sum) ? [this.nodes.making(sum).inputs.find(input => tensors.has(input))] : [];
		return this.multiply(value, { ...matrices.length > 1 ? sideBySide(matrices) : matrices[0], bias });
	}

	multiply(value, { name, rows, columns, bytes, scales, zeros, bias = [] }, outputs = [null]) {
		const sizes = scales.length > 1 ? [columns] : [];
		return this.make(`${MICROSOFT}.DynamicQuantizeMatMul`, [value, quantized(`${name}/bytes`, [rows, columns], bytes),
			constant(floats, `${name}/scales`, sizes, scales), quantized(`${name}/zeros`, sizes, zeros), ...bias.map(one => keep(one))], {}, outputs);
	}

	weightOf(norm) {
		const scaled = `${norm}/Div_output_0`;
		return keep(this.nodes.using(scaled).inputs.find(input => input !== scaled));
	}

	normalize(value, norm) {
		return this.make('LayerNormalization', [value, this.weightOf(norm)], { axis: -1, epsilon: EPSILON });
	}

	// addAndNormalize gives the normalized sum and the sum itself.
	addAndNormalize(one, other, norm, name = null) {
		const [normalized, , , sum] = this.make(`${MICROSOFT}.SkipLayerNormalization`, [one, other, this.weightOf(norm)],
			{ epsilon: EPSILON }, [name, '', '', null]);
		return [normalized, sum];
	}

	// rotation readies the cosines and sines of places: [places, 1] to [places, frequencies].
	rotation(places, embedding) {
		const [published] = this.nodes.making(`${embedding}/MatMul_output_0`).inputs;
		const frequencies = floatsOf(published);
		const angles = this.make('Mul', [places, constant(floats, `${published}/row`, [1, frequencies.length], frequencies)]);
		this.turn = [constant(integers, 'no_place', [0]), this.make('Cos', [angles]), this.make('Sin', [angles])];
		this.turned = 2 * frequencies.length;
	}

	rotate(value) {
		return this.make(`${MICROSOFT}.RotaryEmbedding`, [value, ...this.turn],
			{ interleaved: 1, num_heads: HEADS, rotary_embedding_dim: this.turned });
	}

	attend(inputs, outputs) {
		return this.make(`${MICROSOFT}.MultiHeadAttention`, inputs, { num_heads: HEADS }, outputs);
	}
}

// The encoder's convolutions are kept as they are.
function encoder() {
	const writer = new Writer(new Nodes(graph), 'value'), layerOf = layer => `/layers.${layer}`;
	let sum = writer.copy('/Transpose_output_0'); // [1, frames, width]
	const count = writer.make('Squeeze', [writer.make('Shape', [sum], { start: 1, end: 2 })]);
	const places = writer.make('Range', [constant(integers, 'none', [0], []), count, constant(integers, 'one', [1], [])]);
	writer.rotation(writer.make('Unsqueeze', [writer.make('Cast', [places], { to: TENSOR.typeFloat }), constant(integers, 'column', [1])]),
		'/rotary_emb');
	let normalized = writer.normalize(sum, `${layerOf(0)}/input_layernorm`);
	for (let layer = 0, more = true; more; layer++) {
		const name = layerOf(layer), attention = `${name}/self_attn`;
		const [query, key, value] = writer.split(writer.product(normalized, ...['q', 'k', 'v'].map(one => `${attention}/${one}_proj`)), 3);
		const attended = writer.attend([writer.rotate(query), writer.rotate(key), value]);
		[normalized, sum] = writer.addAndNormalize(sum, writer.product(attended, `${attention}/dense`), `${name}/post_attention_layernorm`);
		const hidden = writer.make(`${MICROSOFT}.Gelu`, [writer.product(normalized, `${name}/mlp/fc1`)]);
		more = writer.nodes.has(`${layerOf(layer + 1)}/mlp/fc2/Add_output_0`);
		[normalized, sum] = writer.addAndNormalize(sum, writer.product(hidden, `${name}/mlp/fc2`),
			more ? `${layerOf(layer + 1)}/input_layernorm` : '/layer_norm', more ? null : all(graph, GRAPH.output).map(nameOf)[0]);
	}
	return writer.fields;
}

// The decoder is two graphs: of the first token, which makes keys and values of what the encoder heard, and of the others.
function decoder() {
	const [choice] = all(graph, GRAPH.node).map(parse);
	const branches = Object.fromEntries(all(choice, NODE.attribute).map(parse)
		.map(fields => [texts(fields, ATTRIBUTE.name)[0], new Nodes(parse(all(fields, ATTRIBUTE.graph)[0]))]));
	return [node('If', texts(choice, NODE.input), all(graph, GRAPH.output).map(nameOf), {
		then_branch: token(new Writer(branches.then_branch, 'next/'), false),
		else_branch: token(new Writer(branches.else_branch, 'first/'), true),
	})];
}

// vocabulary is the table of words as the matrix of a product: [width, words].
function vocabulary(table, scale, zero) {
	const [words, width] = dimensionsOf(table), rows = bytesOf(table), columns = Buffer.alloc(rows.length);
	for (let word = 0; word < words; word++)
		for (let i = 0; i < width; i++)
			columns[i * words + word] = rows[word * width + i];
	return { name: `${table}/transposed`, rows: width, columns: words, bytes: columns, scales: floatsOf(scale), zeros: bytesOf(zero) };
}

// token gives the graph of a token.
function token(writer, first) {
	const { nodes } = writer, top = '/model/decoder', layerOf = layer => `${top}/layers.${layer}`;
	const { inputs: [table], outputs: [row] } = nodes.using('input_ids');
	const [, scale, zero] = nodes.using(row).inputs;
	let sum = writer.copy(nodes.using(row).outputs[0]); // [1, 1, width]
	const place = writer.make('Shape', ['past_key_values.0.decoder.key'], { start: 2, end: 3 });
	writer.rotation(writer.make('Cast', [place], { to: TENSOR.typeFloat }), `${top}/rotary_emb`);
	let normalized = writer.normalize(sum, `${layerOf(0)}/input_layernorm`);
	for (let layer = 0, more = true; more; layer++) {
		const name = layerOf(layer), own = `${name}/self_attn`, heard = `${name}/encoder_attn`;
		const pair = (past, whose) => ['key', 'value'].map(one => `${past}.${layer}.${whose}.${one}`);
		const [query, key, value] = writer.split(writer.product(normalized, ...['q', 'k', 'v'].map(one => `${own}/${one}_proj`)), 3);
		const [attended] = writer.attend([writer.rotate(query), writer.rotate(key), value, '', '', '', ...pair('past_key_values', 'decoder')],
			[null, ...pair('present', 'decoder')]);
		[normalized, sum] = writer.addAndNormalize(sum, writer.product(attended, `${own}/dense`), `${name}/post_attention_layernorm`);
		if (first)
			keysAndValues(writer, heard, pair('present', 'encoder'));
		const listened = writer.attend([writer.product(normalized, `${heard}/q_proj`), ...pair(first ? 'present' : 'past_key_values', 'encoder')]);
		[normalized, sum] = writer.addAndNormalize(sum, writer.product(listened, `${heard}/dense`), `${name}/final_layernorm`);
		const [hidden, gate] = writer.split(writer.product(normalized, `${name}/mlp/up_proj`), 2);
		const open = writer.make(`${MICROSOFT}.QuickGelu`, [gate], { alpha: new Real(1) }); // x * sigmoid(x)
		more = nodes.has(`${layerOf(layer + 1)}/mlp/down_proj/Add_output_0`);
		[normalized, sum] = writer.addAndNormalize(sum, writer.product(writer.make('Mul', [hidden, open]), `${name}/mlp/down_proj`),
			more ? `${layerOf(layer + 1)}/input_layernorm` : `${top}/norm`);
	}
	const outputs = all(nodes.graph, GRAPH.output);
	writer.multiply(normalized, vocabulary(table, scale, zero), [nameOf(outputs[0])]);
	if (!first)
		outputs.map(nameOf).filter(output => nodes.making(output).op === 'Constant').forEach(output => writer.copy(output));
	return join([...writer.fields, ...nodes.graph.filter(field => [GRAPH.name, GRAPH.output].includes(field[0]))]);
}

// keysAndValues makes those of what was heard: [1, frames, width] to [1, heads, frames, width / heads] each.
function keysAndValues(writer, attention, outputs) {
	const both = writer.split(writer.product('encoder_hidden_states', ...['k', 'v'].map(one => `${attention}/${one}_proj`)), 2);
	both.forEach((one, i) => writer.make('Transpose', [writer.make('Reshape', [one, constant(integers, 'heads', [0, 0, HEADS, -1])])],
		{ perm: [0, 2, 1, 3] }, [outputs[i]]));
}

const operations = parts[part]();
process.stdout.write(join([
	...published.filter(([number]) => ![MODEL.graph, MODEL.opset].includes(number)),
	message(MODEL.graph, [...operations, ...written.values(),
		...graph.filter(([number]) => [GRAPH.name, GRAPH.input, GRAPH.output].includes(number))]),
	...OPSETS.map(([domain, version]) => message(MODEL.opset, [text(1, domain), [2, VARINT, version]])),
]));
