// Opens one sealed value, outside of the database. Written from docs/format.md alone, and with another
// language's cryptography, so that the format is what the document says and not what the code happens to do.
//
//	node test/open_sealed.mjs KEYRING ROW [SCHEMA TABLE KEY… COLUMN] < SEALED
//
// KEYRING is the keyring's file; ROW a file with the value's row of cauce.data_key, as to_jsonb() prints it;
// SEALED a cauce1:… or, as bytea is printed, \x…. Prints the plaintext. With the fields of a place it also checks
// that the value belongs there. Fails, and prints nothing, when anything does not fit.
import { createDecipheriv, createHash, hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { inflateSync } from 'node:zlib';

const fail = (why) => { throw new Error(why); };
const hkdf = (ikm, salt, info) => Buffer.from(hkdfSync('sha256', ikm, salt, info, 32));
const uuid = (text) => Buffer.from((text ?? '').replaceAll('-', '').padStart(32, '0'), 'hex');
const integer = (bytes, value) => { const b = Buffer.alloc(bytes); b.writeIntBE(value, 0, bytes); return b; };
const opened = (decipher, bytes) => Buffer.concat([decipher.update(bytes), decipher.final()]);

const [keyringFile, rowFile, ...place] = process.argv.slice(2);
const keys = new Map(JSON.parse(readFileSync(keyringFile)).keys.map((key) => [key.kid, Buffer.from(key.k ?? '', 'base64url')]));
const row = JSON.parse(readFileSync(rowFile));
const text = readFileSync(0, 'latin1').trim();
const value = text.startsWith('cauce1:') ? Buffer.from(text.slice(7), 'base64') : Buffer.from(text.slice(2), 'hex');

// The data key, unwrapped.
const wrapped = Buffer.from(row.wrapped.slice(2), 'hex');
wrapped[0] === 1 && wrapped.length === 49 || fail('data key: version');
const info = Buffer.concat([
	Buffer.from('cauce data key 1'), ...[row.id, row.account_id, row.organization_id, row.session_id].map(uuid),
	integer(4, (Date.parse(`${row.epoch}T00:00:00Z`) - Date.UTC(2000, 0, 1)) / 86400e3), wrapped.subarray(5, 9),
	integer(3, row.generation).subarray(1), Buffer.from([(row.organization_id ? 1 : 0) | (row.session_id ? 2 : 0)])]);
const [master, epoch] = [`master-${wrapped.readInt32BE(1)}`, `epoch-${row.epoch}`].map((kid) => keys.get(kid) ?? fail(`no ${kid}`));
const kek = hkdf(Buffer.concat([master, epoch]), 'cauce keyring 1', info);
const dataKey = opened(createDecipheriv('id-aes256-wrap', kek, Buffer.alloc(8, 0xa6)), wrapped.subarray(9));

// The value, opened.
const [header, nonce, ciphertext, tag] = [[0, 36], [36, 48], [48, -16], [-16]].map(([from, to]) => value.subarray(from, to));
const [version, flags, binding] = [header[0], header[1], header.subarray(20)];
version === 1 && (flags & 0xc0) === 0 || fail('value: version or flags');
header.subarray(4, 20).equals(uuid(row.id)) && header.readUInt16BE(2) === row.generation || fail('value: another data key');
const key = flags & 0x20 ? hkdf(dataKey, binding, 'cauce input 1') : row.session_id ? dataKey : hkdf(dataKey, '', 'cauce row 1');
const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 }).setAAD(header).setAuthTag(tag);
let plain = opened(decipher, ciphertext);
if (flags & 0x10) {
	const size = plain.readUInt32BE(0);
	// The dictionary is the strings of src/dictionary.h, one behind the other.
	const source = readFileSync(new URL('../src/dictionary.h', import.meta.url), 'utf8');
	const dictionary = Buffer.from([...source.matchAll(/^\t"(.*)"/gm)].map((line) => line[1]).join(''));
	plain = inflateSync(plain.subarray(4), { dictionary });
	plain.length === size || fail('value: length');
}
if (place.length) {
	const fields = Buffer.concat(place.flatMap((field) => [integer(4, Buffer.byteLength(field)), Buffer.from(field)]));
	createHash('sha256').update(fields).digest().subarray(0, 16).equals(binding) || fail('value: another place');
}
process.stdout.write(plain);
