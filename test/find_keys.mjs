// Looks for a server's keys in a core dump.
//
//	node test/find_keys.mjs KEYRING ROWS CORE
//
// KEYRING is the keyring's file; ROWS a file with the rows of cauce.data_key, one JSON object a line. Prints a line
// for each place in CORE where one of their keys begins (or what is derived of it for an account's row), in bytes or as the keyring's file writes it (the
// signing key also with its last byte first, as OpenSSL keeps a number), and at last how many keys it looked for.
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { readKeyring, rowKey, unwrap } from './open_sealed.mjs';

const CHUNK_BYTES = 1 << 24;
const [keyringFile, rowsFile, coreFile] = process.argv.slice(2);
const keyring = readKeyring(keyringFile);
const rows = readFileSync(rowsFile, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
const dataKeys = rows.map((row) => [`data key ${row.id}`, unwrap(keyring, row)]);
const sign = Buffer.from(JSON.parse(readFileSync(keyringFile, 'utf8')).keys.find(({ kid }) => kid === 'sign').d, 'base64url');
const keys = [...keyring, ['sign', sign], ['sign, last byte first', Buffer.from(sign).reverse()], ...dataKeys, ...dataKeys.map(([name, key]) => [`${name}, derived`, rowKey(key)])];
const wanted = keys.flatMap(([name, key]) => [[name, key], [`${name} in base64url`, Buffer.from(key.toString('base64url'))]]);

// Few offsets begin with three bytes that some key begins with.
const beginnings = new Map();
const seen = new Uint8Array(1 << 24);
for (const [name, bytes] of wanted) {
	const beginning = bytes.readUIntBE(0, 3);
	seen[beginning] = 1;
	beginnings.set(beginning, [...beginnings.get(beginning) ?? [], [name, bytes]]);
}

const core = openSync(coreFile, 'r');
const overlap = Math.max(...wanted.map(([, bytes]) => bytes.length));
const buffer = Buffer.alloc(CHUNK_BYTES + overlap);
for (let at = 0, got; (got = readSync(core, buffer, 0, buffer.length, at)) > 0; at += CHUNK_BYTES) {
	for (let i = 0, beginning = buffer.readUInt16BE(0); i < CHUNK_BYTES && i + 2 < got; i++) {
		beginning = (beginning << 8 | buffer[i + 2]) & 0xffffff;
		if (!seen[beginning]) continue;
		for (const [name, bytes] of beginnings.get(beginning))
			if (buffer.compare(bytes, 0, bytes.length, i, Math.min(i + bytes.length, got)) === 0) console.log(`${name} at ${at + i}`);
	}
}
closeSync(core);
console.log(`${keys.length} keys`);
