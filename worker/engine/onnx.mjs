// Reads and writes models as ONNX has them, in protobuf. Field numbers are those of onnx.proto3.
export const MODEL = { ir: 1, graph: 7, opset: 8, metadata: 14 };
export const GRAPH = { node: 1, name: 2, tensor: 5, input: 11, output: 12 };
export const NODE = { input: 1, output: 2, name: 3, op: 4, attribute: 5 };
export const ATTRIBUTE = { name: 1, integer: 3, tensor: 5, graph: 6, integers: 8, type: 20, typeInteger: 2, typeIntegers: 7 };
export const TENSOR = { dimension: 1, type: 2, name: 8, bytes: 9, typeFloat: 1, typeByte: 2, typeInteger: 7 };
export const VARINT = 0, BYTES = 2; // wire types of protobuf
const FIXED = { 1: 8, 5: 4 }; // bytes of the others

// parse gives the fields of a message: [number, wire type, value].
export function parse(bytes) {
	const fields = [];
	let at = 0;
	function varint() {
		let value = 0n, shift = 0n, byte;
		do {
			byte = bytes[at++];
			value |= BigInt(byte & 0x7f) << shift;
			shift += 7n;
		} while (byte & 0x80);
		return value;
	}
	while (at < bytes.length) {
		const tag = Number(varint()), wire = tag & 7;
		if (wire === VARINT) {
			fields.push([tag >> 3, wire, varint()]);
			continue;
		}
		const size = wire === BYTES ? Number(varint()) : FIXED[wire];
		fields.push([tag >> 3, wire, bytes.subarray(at, at += size)]);
	}
	return fields;
}

function varint(value) {
	const bytes = [];
	for (value = BigInt(value); value > 0x7fn; value >>= 7n)
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

// attribute is a node's attribute: an integer or a list of such.
function attribute(name, value) {
	const list = Array.isArray(value);
	return message(NODE.attribute, [text(ATTRIBUTE.name, name),
		...[value].flat().map(one => [list ? ATTRIBUTE.integers : ATTRIBUTE.integer, VARINT, one]),
		[ATTRIBUTE.type, VARINT, list ? ATTRIBUTE.typeIntegers : ATTRIBUTE.typeInteger]]);
}

// node is a node of a graph.
export function node(op, inputs, outputs, attributes = {}) {
	return message(GRAPH.node, [...inputs.map(name => text(NODE.input, name)), ...outputs.map(name => text(NODE.output, name)),
		text(NODE.name, `${outputs[0]}/${op}`), text(NODE.op, op),
		...Object.entries(attributes).map(([name, value]) => attribute(name, value))]);
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
