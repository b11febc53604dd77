// Opens one sealed value, outside of the database. Written from docs/format.md alone, and with another
// language's cryptography, so that the format is what the document says and not what the code happens to do.
//
//	node test/open_sealed.mjs KEYRING ROW [SCHEMA TABLE KEY… COLUMN] < SEALED
//
// KEYRING is the keyring's file; ROW a file with the value's row of cauce.data_key, as to_jsonb() prints it, or an
// array of such rows; SEALED a cauce1:… or, as bytea is printed, \x…. Prints the plaintext; of a bundle with the rows
// of protected tables opened, each value checked to belong where it is. With the fields of a place it also checks that
// the value belongs there. Fails, and prints nothing, when anything does not fit.
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
export const dictionary = Buffer.from([...readFileSync(new URL('../src/dictionary.h', import.meta.url), 'utf8')
	.matchAll(/^\t"(.*)"/gm)].map((line) => line[1]).join(''));

// rowKey gives the key that an account's data key stands for in the account's own row.
export const rowKey = (dataKey) => hkdf(dataKey, '', 'cauce row 1');

// bytes gives those of a sealed form.
const bytes = (text) => text.startsWith('cauce1:') ? Buffer.from(text.slice(7), 'base64') : Buffer.from(text.slice(2), 'hex');

// rowOf finds a value's data key among several, by id and generation.
const rowOf = (rows, value) => rows.find((row) => value.subarray(4, 20).equals(uuid(row.id)) && value.readUInt16BE(2) === row.generation)
	?? fail('value: another data key');

// openRows gives the rows of one protected table in a bundle as objects, opened.
function openRows(keyring, keys, { schema, table, primary_key, columns, sealed, rows }) {
	return rows.map((row) => {
		const at = (name) => row[columns.indexOf(name)];
		const place = (name, ...more) => [schema, table, ...primary_key.map(at), name, ...more];
		const opened = (form, where) => open(keyring, keys, bytes(form), where).toString();
		return Object.fromEntries(columns.map((name) => {
			let value = at(name);
			if (sealed.includes(name) && value?.items)
				value = value.items.map((item, i) => item && opened(item, place(name, String(i + 1))));
			else if (sealed.includes(name) && value !== null)
				value = opened(value, place(name));
			return [name, value];
		}));
	});
}

// openBundle gives a bundle's JSON, opened.
function openBundle(keyring, keys, json) {
	const bundle = JSON.parse(json);
	[1, 2].includes(bundle.version) || fail('bundle: version');
	bundle.protected = bundle.protected?.map((table) => ({ schema: table.schema, table: table.table, rows: openRows(keyring, keys, table) }));
	return JSON.stringify(bundle);
}

// open gives the plaintext of a value.
function open(keyring, keys, value, place) {
	const row = rowOf(keys, value);
	const [header, nonce, ciphertext, tag] = [[0, 36], [36, 48], [48, -16], [-16]].map(([from, to]) => value.subarray(from, to));
	const [version, flags, binding] = [header[0], header[1], header.subarray(20)];
	version === 1 && (flags & 0xc0) === 0 || fail('value: version or flags');
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
	return (flags & 0x0f) === 4 ? openBundle(keyring, keys, plain) : plain;
}

if (import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
	const [keyring, row, ...place] = process.argv.slice(2);
	const value = bytes(readFileSync(0, 'latin1').trim());
	process.stdout.write(open(readKeyring(keyring), [JSON.parse(readFileSync(row))].flat(), value, place));
}
