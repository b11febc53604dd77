// Reads and writes models as ONNX has them, in protobuf. Field numbers are those of onnx.proto3.
export const MODEL = { ir: 1, graph: 7, opset: 8, metadata: 14 };
export const GRAPH = { node: 1, name: 2, tensor: 5, input: 11, output: 12 };
export const NODE = { input: 1, output: 2, name: 3, op: 4, attribute: 5, domain: 7 };
export const ATTRIBUTE = { name: 1, real: 2, integer: 3, tensor: 5, graph: 6, integers: 8, type: 20,
	typeReal: 1, typeInteger: 2, typeGraph: 5, typeIntegers: 7 };
export const TENSOR = { dimension: 1, type: 2, floats: 4, integers: 5, name: 8, bytes: 9,
	typeFloat: 1, typeByte: 2, typeSignedByte: 3, typeInteger: 7 };
export const VARINT = 0, BYTES = 2, FLOAT = 5; // wire types of protobuf
const FIXED = { 1: 8, [FLOAT]: 4 }; // bytes of those of one size

// reader reads one number, or some bytes, after the other.
function reader(bytes) {
	let at = 0;
	return {
		varint() {
			let value = 0n, shift = 0n, byte;
			do {
				byte = bytes[at++];
				value |= BigInt(byte & 0x7f) << shift;
				shift += 7n;
			} while (byte & 0x80);
			return value;
		},
		take: size => bytes.subarray(at, at += size),
		more: () => at < bytes.length,
	};
}

// varints gives the numbers of a packed list.
export function varints(bytes) {
	const { varint, more } = reader(bytes), numbers = [];
	while (more())
		numbers.push(varint());
	return numbers;
}

// parse gives the fields of a message: [number, wire type, value].
export function parse(bytes) {
	const { varint, take, more } = reader(bytes), fields = [];
	while (more()) {
		const tag = Number(varint()), wire = tag & 7;
		if (wire === VARINT) {
			fields.push([tag >> 3, wire, varint()]);
			continue;
		}
		const size = wire === BYTES ? Number(varint()) : FIXED[wire];
		fields.push([tag >> 3, wire, take(size)]);
	}
	return fields;
}

// all gives the values of the fields of a number.
export const all = (fields, number) => fields.filter(field => field[0] === number).map(field => field[2]);

function varint(value) {
	const bytes = [];
	for (value = BigInt.asUintN(64, BigInt(value)); value > 0x7fn; value >>= 7n)
		bytes.push(Number(value & 0x7fn) | 0x80);
	return Buffer.from([...bytes, Number(value)]);
}

// join makes a message of fields.
export function join(fields) {
	return Buffer.concat(fields.flatMap(([number, wire, value]) => [varint(number << 3 | wire),
		...wire === VARINT ? [varint(value)] : wire === BYTES ? [varint(value.length), value] : [value]]));
}

export const text = (number, value) => [number, BYTES, Buffer.from(value)];
export const message = (number, fields) => [number, BYTES, join(fields)];

// Real marks an attribute that is a floating-point number.
export class Real {
	constructor(value) {
		this.bytes = Buffer.alloc(4);
		this.bytes.writeFloatLE(value);
	}
}

// attribute is a node's attribute: an integer or a list of such, a Real, or a graph's bytes.
function attribute(name, value) {
	const [kind, values] = value instanceof Real ? ['Real', [[ATTRIBUTE.real, FLOAT, value.bytes]]]
		: Buffer.isBuffer(value) ? ['Graph', [[ATTRIBUTE.graph, BYTES, value]]]
			: Array.isArray(value) ? ['Integers', value.map(one => [ATTRIBUTE.integers, VARINT, one])]
				: ['Integer', [[ATTRIBUTE.integer, VARINT, value]]];
	return message(NODE.attribute, [text(ATTRIBUTE.name, name), ...values, [ATTRIBUTE.type, VARINT, ATTRIBUTE[`type${kind}`]]]);
}

// node is a node of a graph. An operation's name may stand behind that of its domain: "com.microsoft.Gelu".
export function node(op, inputs, outputs, attributes = {}) {
	const [, domain, name] = /^(?:(.*)\.)?(.*)$/.exec(op);
	return message(GRAPH.node, [...inputs.map(input => text(NODE.input, input)), ...outputs.map(output => text(NODE.output, output)),
		text(NODE.name, `${outputs[0]}/${name}`), text(NODE.op, name),
		...Object.entries(attributes).map(([key, value]) => attribute(key, value)),
		...domain ? [text(NODE.domain, domain)] : []]);
}

// tensor, floats and integers are constants of a graph.
export const tensor = (name, shape, type, bytes) => message(GRAPH.tensor, [...shape.map(size => [TENSOR.dimension, VARINT, size]),
	[TENSOR.type, VARINT, type], text(TENSOR.name, name), [TENSOR.bytes, BYTES, bytes]]);
export const floats = (name, shape, values) =>
	tensor(name, shape, TENSOR.typeFloat, Buffer.from(Float32Array.from(values).buffer));
export const integers = (name, values, shape = [values.length]) =>
	tensor(name, shape, TENSOR.typeInteger, Buffer.from(BigInt64Array.from(values, BigInt).buffer));

// value describes an input or output of a graph: dimensions are numbers or names.
const value = (field, name, type, shape) => message(field, [text(1, name), message(2, [message(1, [[1, VARINT, type],
	message(2, shape.map(size => message(1, [typeof size === 'number' ? [1, VARINT, size] : text(2, size)])))])])]);
export const input = (...as) => value(GRAPH.input, ...as), output = (...as) => value(GRAPH.output, ...as);
