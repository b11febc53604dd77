// Clients that connect and then say nothing more, many at once.
//
//	node idle.mjs '{"port": …, "kind": "tcp|tls|header|websocket", "count": …}'
//
// tcp stops before TLS, tls after it, header in the middle of a request, websocket without a token. Prints
// {"settled": count} once each is as far as it goes or was closed, and {"closed": count} each time that one is closed.
import { connect as tcp } from 'node:net';
import { connect as tls } from 'node:tls';

const how = JSON.parse(process.argv[2]);
const AT_ONCE = 100;
const upgrade = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
	'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n';
const says = { header: upgrade.slice(0, 50), websocket: upgrade };
const sockets = [];
let closed = 0;

const idle = () => new Promise(resolve => {
	const where = { host: '127.0.0.1', port: how.port };
	const plain = how.kind === 'tcp';
	const socket = plain ? tcp(where) : tls({ ...where, servername: 'localhost' });
	sockets.push(socket);
	socket.on(plain ? 'connect' : 'secureConnect', () => {
		if (says[how.kind]) socket.write(says[how.kind]);
		if (how.kind !== 'websocket') resolve();
	});
	socket.on('data', resolve);
	socket.on('error', () => {});
	socket.on('close', () => {
		console.log(JSON.stringify({ closed: ++closed }));
		resolve();
	});
});

let started = 0;
const some = async () => { while (started++ < how.count) await idle(); };
await Promise.all(Array.from({ length: AT_ONCE }, some));
console.log(JSON.stringify({ settled: how.count }));
setInterval(() => {}, 1000);
