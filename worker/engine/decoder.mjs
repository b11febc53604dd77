// Writes Moonshine's decoder to standard output in a form that costs less:
//
//	node decoder.mjs decoder_model_merged.onnx
//
// The published model multiplies a vector by its table of words for each token that it writes, and
// unpacks the table for that from bytes to 36 MiB of floating-point numbers: Transpose, DequantizeLinear,
// MatMul. Here that is a product of bytes, as all others of the model are: DynamicQuantizeLinear,
// MatMulInteger. The table is transposed once, here.
import { readFileSync } from 'node:fs';
import { ATTRIBUTE, BYTES, GRAPH, MODEL, NODE, TENSOR, VARINT, join, node, parse, text } from './onnx.mjs';

const TABLE = 'word_table_transposed';
const LOGITS = 'logits';

function fail(problem) {
	throw new Error(`${process.argv[2]}: ${problem}; engine/decoder.mjs is made for another version`);
}

const all = (fields, number) => fields.filter(field => field[0] === number).map(field => field[2]);
const texts = (fields, number) => all(fields, number).map(String);

// edit gives the fields with another value for each of a number.
const edit = (fields, number, change) =>
	fields.map(field => field[0] === number && field[1] === BYTES ? [number, BYTES, change(field[2])] : field);

// product is vector * table, of bytes.
function product(vector, scale, zero) {
	const part = name => `${LOGITS}/${name}`;
	return [
		node('DynamicQuantizeLinear', [vector], [part('bytes'), part('scale'), part('zero')]),
		node('MatMulInteger', [part('bytes'), TABLE, part('zero'), zero], [part('integers')]),
		node('Cast', [part('integers')], [part('sums')], { to: TENSOR.typeFloat }),
		node('Mul', [part('scale'), scale], [part('scales')]),
		node('Mul', [part('sums'), part('scales')], [LOGITS]),
	];
}

let tableName; // of the table that the model has

// editBranch puts the product in the place of the three nodes.
function editBranch(bytes) {
	const fields = parse(bytes);
	const isNode = field => field[0] === GRAPH.node;
	const maker = output => fields.find(field => isNode(field) && texts(parse(field[2]), NODE.output).includes(output));
	const [last, unpack, transpose] = [['MatMul', 1], ['DequantizeLinear', 0], ['Transpose', 0]].reduce((found, [op, input]) => {
		const made = maker(found.length ? found.at(-1).from : LOGITS);
		const inside = made && parse(made[2]);
		if (!inside || String(texts(inside, NODE.op)) !== op)
			fail(`no ${op} where one was`);
		const inputs = texts(inside, NODE.input);
		return [...found, { made, inputs, from: inputs[input] }];
	}, []);
	tableName = transpose.from;
	return join(fields.flatMap(field => field === last.made ? product(last.inputs[0], unpack.inputs[1], unpack.inputs[2])
		: field === unpack.made || field === transpose.made ? [] : [field]));
}

function transposed(table) {
	const [rows, columns] = all(table, TENSOR.dimension).map(Number);
	const [bytes] = all(table, TENSOR.bytes);
	if (Number(all(table, TENSOR.type)[0]) !== TENSOR.typeByte || bytes?.length !== rows * columns)
		fail('the table is not of bytes');
	const turned = Buffer.alloc(bytes.length);
	for (let row = 0; row < rows; row++)
		for (let column = 0; column < columns; column++)
			turned[column * rows + row] = bytes[row * columns + column];
	return [GRAPH.tensor, BYTES, join([[TENSOR.dimension, VARINT, columns], [TENSOR.dimension, VARINT, rows],
		[TENSOR.type, VARINT, TENSOR.typeByte], text(TENSOR.name, TABLE), [TENSOR.bytes, BYTES, turned]])];
}

function editGraph(bytes) {
	const fields = edit(parse(bytes), GRAPH.node, one =>
		join(edit(parse(one), NODE.attribute, attribute => join(edit(parse(attribute), ATTRIBUTE.graph, editBranch)))));
	const table = all(fields, GRAPH.tensor).map(parse).find(tensor => String(texts(tensor, TENSOR.name)) === tableName);
	if (!table)
		fail('no table of words');
	return join([...fields, transposed(table)]);
}

process.stdout.write(join(edit(parse(readFileSync(process.argv[2])), MODEL.graph, editGraph)));
