// A client that connects, speaks and vanishes, again and again; while there is no room, it comes again.
//
//	TOKEN=… node abort.mjs '{"url": …, "file": …, "times": …}'
//
// Prints how often it has vanished and was refused, as JSON.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';

const how = JSON.parse(process.argv[2]);
const audio = readFileSync(how.file);
const WAIT_MS = 20;
let aborted = 0, refused = 0;

const once = () => new Promise(resolve => {
	const socket = new WebSocket(how.url, { headers: { Authorization: `Token ${process.env.TOKEN}` } });
	socket.on('open', async () => {
		socket.send(audio);
		await sleep(WAIT_MS);
		aborted++;
		socket.terminate();
	});
	socket.on('unexpected-response', () => { refused++; socket.terminate(); });
	socket.on('error', () => {});
	socket.on('close', resolve);
});

while (aborted < how.times) {
	const before = refused;
	await once();
	if (refused > before) await sleep(WAIT_MS);
}
console.log(JSON.stringify({ aborted, refused }));
