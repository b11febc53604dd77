// A WebSocket client (npm's ws) that follows a script and prints what happens, a line of JSON each.
//
//	TOKEN=… node script.mjs '{"url": …, "headers": {…}, "protocols": […], "steps": [[…], …]}'
//
// Steps: ["text", string], ["file", path, bytes a message, ms between], ["turns", path, bytes]: each
// message waits for its answer, ["wait", ms], ["until", type or key], ["close", code], ["abort"],
// ["print", string]. $TOKEN in headers, protocols and texts is the token. Ends when the socket is closed.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';

const fill = value => JSON.parse(JSON.stringify(value ?? null).replaceAll('$TOKEN', process.env.TOKEN ?? ''));
const how = JSON.parse(process.argv[2]);
const start = performance.now();
const print = message => console.log(JSON.stringify({ at: Math.round(performance.now() - start), ...message }));
const socket = new WebSocket(how.url, fill(how.protocols) ?? [], { headers: fill(how.headers) ?? {} });
const seen = [];
let waiting = [];

const closed = new Promise(resolve => {
	socket.on('close', (code, reason) => { print({ close: code, reason: reason.toString() }); resolve(); });
	socket.on('error', error => print({ error: error.message }));
	socket.on('unexpected-response', (request, response) => {
		let body = '';
		response.on('data', data => body += data);
		response.on('close', () => { print({ status: response.statusCode, body }); resolve(); });
	});
});
const gone = closed.then(() => true);
socket.on('message', data => {
	const message = JSON.parse(data);
	print(message);
	seen.push(message);
	waiting.forEach(wake => wake());
	waiting = [];
});

const arrival = () => Promise.race([gone, new Promise(resolve => waiting.push(resolve))]);
const open = () => socket.readyState === WebSocket.OPEN;

const steps = {
	text: async text => socket.send(fill(text)),
	file: async (path, piece, pause) => {
		const bytes = readFileSync(path);
		for (let at = 0; at < bytes.length && open(); at += piece) {
			socket.send(bytes.subarray(at, at + piece));
			if (pause !== undefined) await sleep(pause);
			while (socket.bufferedAmount > 1 << 20 && open()) await sleep(5);
		}
	},
	turns: async (path, piece) => {
		const bytes = readFileSync(path);
		for (let at = 0; at < bytes.length && open(); at += piece) {
			const before = seen.length;
			socket.send(bytes.subarray(at, at + piece));
			while (seen.length === before && open()) await arrival();
		}
	},
	wait: sleep,
	until: async what => {
		while (open() && !seen.some(message => message.type === what || what in message)) await arrival();
	},
	close: async code => socket.close(code),
	abort: async () => socket.terminate(),
	pause: async () => socket.pause(),
	print: async text => print({ mark: text, count: seen.length }),
};

socket.on('open', async () => {
	print({ open: socket.protocol });
	for (const [step, ...values] of how.steps) {
		if (!open() && !['wait', 'print'].includes(step)) break;
		await steps[step](...values);
	}
});
await closed;
process.exit(0);
