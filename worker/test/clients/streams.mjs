// Streams a recording in real time, many times at once, and prints how late final results came.
//
//	TOKENS=FILE node streams.mjs URL FILE RATE SECONDS
//
// One stream a token in FILE. Of each result: when the last sample of its speech was sent, by the
// result's own time, and when it arrived. Prints the latencies in milliseconds, sorted, as JSON.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';

const [url, file, rate, seconds] = process.argv.slice(2);
const tokens = readFileSync(process.env.TOKENS, 'utf8').trim().split('\n');
const audio = readFileSync(file);
const PIECE_MS = 100, piece = rate * 2 * PIECE_MS / 1000;
const latencies = [], problems = [];

async function stream(token, number) {
	await sleep(number * 137 % 3000);
	const socket = new WebSocket(`${url}?encoding=linear16&sample_rate=${rate}&keep_session=true`, { headers: { Authorization: `Token ${token}` } });
	let start;
	const closed = new Promise(resolve => socket.on('close', (code, reason) => {
		if (code !== 1000) problems.push(`${code} ${reason}`);
		resolve();
	}));
	socket.on('error', error => problems.push(error.message));
	socket.on('message', data => {
		const message = JSON.parse(data);
		if (message.type === 'Results' && message.is_final && message.speech_final && !message.from_finalize)
			latencies.push(performance.now() - start - 1000 * (message.start + message.duration));
	});
	await new Promise(resolve => { socket.on('open', resolve); closed.then(resolve); });
	// Each stream starts somewhere else, so that they do not all pause at once.
	const offset = Math.floor(number * 7919 % (audio.length / piece)) * piece;
	start = performance.now();
	for (let sent = 0; sent * PIECE_MS < seconds * 1000 && socket.readyState === WebSocket.OPEN; sent++) {
		// A sample is sent when it has been spoken, the last one of a piece.
		await sleep(Math.max(0, start + (sent + 1) * PIECE_MS - performance.now()));
		const at = (offset + sent * piece) % (audio.length - audio.length % piece);
		socket.send(audio.subarray(at, at + piece));
	}
	if (socket.readyState === WebSocket.OPEN) socket.send('{"type":"CloseStream"}');
	await closed;
}

await Promise.all(tokens.map(stream));
console.log(JSON.stringify({ problems, latencies: latencies.map(Math.round).sort((a, b) => a - b) }));
