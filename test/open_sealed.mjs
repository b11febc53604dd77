// Opens one sealed value, outside of the database. Written from docs/format.md alone, and with another
// language's cryptography, so that the format is what the document says and not what the code happens to do.
//
//	node test/open_sealed.mjs KEYRING ROW [SCHEMA TABLE KEY… COLUMN] < SEALED
//
// KEYRING is the keyring's file; ROW a file with the value's row of cauce.data_key, as to_jsonb() prints it;
// SEALED a cauce1:… or, as bytea is printed, \x…. Prints the plaintext. With the fields of a place it also checks
// that the value belongs there. Fails, and prints nothing, when anything does not fit.
import { createDecipheriv, createHash, hkdfSync } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { inflateSync } from 'node:zlib';

const fail = (why) => { throw new Error(why); };
const hkdf = (ikm, salt, info) => Buffer.from(hkdfSync('sha256', ikm, salt, info, 32));
const uuid = (text) => Buffer.from((text ?? '').replaceAll('-', '').padStart(32, '0'), 'hex');
const integer = (bytes, value) => { const b = Buffer.alloc(bytes); b.writeIntBE(value, 0, bytes); return b; };
const deciphered = (decipher, bytes) => Buffer.concat([decipher.update(bytes), decipher.final()]);

// readKeyring gives the symmetric keys by name.
export const readKeyring = (file) => new Map(JSON.parse(readFileSync(file)).keys
	.filter((key) => key.kty === 'oct').map((key) => [key.kid, Buffer.from(key.k, 'base64url')]));

// unwrap gives the 32 bytes of a data key.
export function unwrap(keyring, row) {
	const wrapped = Buffer.from(row.wrapped.slice(2), 'hex');
	wrapped[0] === 1 && wrapped.length === 49 || fail('data key: version');
	const info = Buffer.concat([
		Buffer.from('cauce data key 1'), ...[row.id, row.account_id, row.organization_id, row.session_id].map(uuid),
		integer(4, (Date.parse(`${row.epoch}T00:00:00Z`) - Date.UTC(2000, 0, 1)) / 86400e3), wrapped.subarray(5, 9),
		integer(3, row.generation).subarray(1), Buffer.from([(row.organization_id ? 1 : 0) | (row.session_id ? 2 : 0)])]);
	const ikm = [`master-${wrapped.readInt32BE(1)}`, `epoch-${row.epoch}`].map((kid) => keyring.get(kid) ?? fail(`no ${kid}`));
	const kek = hkdf(Buffer.concat(ikm), 'cauce keyring 1', info);
	return deciphered(createDecipheriv('id-aes256-wrap', kek, Buffer.alloc(8, 0xa6)), wrapped.subarray(9));
}

// The dictionary is the strings of src/dictionary.h, one behind the other.
const dictionary = Buffer.from([...readFileSync(new URL('../src/dictionary.h', import.meta.url), 'utf8')
	.matchAll(/^\t"(.*)"/gm)].map((line) => line[1]).join(''));

// rowKey gives the key that an account's data key stands for in the account's own row.
export const rowKey = (dataKey) => hkdf(dataKey, '', 'cauce row 1');

// open gives the plaintext of a value.
function open(keyring, row, value, place) {
	const [header, nonce, ciphertext, tag] = [[0, 36], [36, 48], [48, -16], [-16]].map(([from, to]) => value.subarray(from, to));
	const [version, flags, binding] = [header[0], header[1], header.subarray(20)];
	version === 1 && (flags & 0xc0) === 0 || fail('value: version or flags');
	header.subarray(4, 20).equals(uuid(row.id)) && header.readUInt16BE(2) === row.generation || fail('value: another data key');
	const dataKey = unwrap(keyring, row);
	const key = flags & 0x20 ? hkdf(dataKey, binding, 'cauce input 1') : row.session_id ? dataKey : rowKey(dataKey);
	let plain = deciphered(createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: 16 }).setAAD(header).setAuthTag(tag), ciphertext);
	if (flags & 0x10) {
		const size = plain.readUInt32BE(0);
		plain = inflateSync(plain.subarray(4), { dictionary });
		plain.length === size || fail('value: length');
	}
	if (place.length) {
		const fields = Buffer.concat(place.flatMap((field) => [integer(4, Buffer.byteLength(field)), Buffer.from(field)]));
		createHash('sha256').update(fields).digest().subarray(0, 16).equals(binding) || fail('value: another place');
	}
	return plain;
}

if (import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
	const [keyring, row, ...place] = process.argv.slice(2);
	const text = readFileSync(0, 'latin1').trim();
	const value = text.startsWith('cauce1:') ? Buffer.from(text.slice(7), 'base64') : Buffer.from(text.slice(2), 'hex');
	process.stdout.write(open(readKeyring(keyring), JSON.parse(readFileSync(row)), value, place));
}
