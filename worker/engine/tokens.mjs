// Writes the recognizer's token table to standard output: one token a line, its bytes in
// base64, a space, its id. The engine's Moonshine "v2" decoder joins these bytes to the text
// and passes over ids that the table does not have.
import tokenizer from 'llama-tokenizer-js';

const WORD_BOUNDARY = '\u2581'; // SentencePiece's mark for a space
const RAW_BYTE = /^<0x([0-9A-F]{2})>$/; // byte fallback: a piece that is one byte of UTF-8
const CONTROL = /^<(unk|s|\/s)>$/; // steers the decoder and is no text

function bytesOf(piece) {
	const raw = RAW_BYTE.exec(piece);
	return raw ? Buffer.from(raw[1], 'hex') : Buffer.from(piece.replaceAll(WORD_BOUNDARY, ' '));
}

for (const [id, piece] of tokenizer.vocabById.entries()) {
	if (!CONTROL.test(piece))
		process.stdout.write(`${bytesOf(piece).toString('base64')} ${id}\n`);
}
