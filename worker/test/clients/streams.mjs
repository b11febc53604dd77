// Streams recordings in real time, many times at once, and prints how late final results came.
//
//	TOKENS=FILE node streams.mjs HOW FILE…
//
// One stream a token in TOKENS; each FILE is a recording, raw samples of 16 bits. HOW is JSON: url (without
// a query), rate, seconds, seed, interim, herd. Streams are independent of one another: each begins at
// another moment, somewhere in a recording, and plays them in an order of its own, one directly after the
// other, shuffled anew each time round; the same seed gives the same. With herd they all do the same at
// the same moment. Of each result: when the last sample of its speech was sent, by the result's own time,
// and when it arrived. Prints as JSON the latencies in milliseconds, sorted, the seconds sent and those
// with speech in them.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';

const how = JSON.parse(process.argv[2]);
const tokens = readFileSync(process.env.TOKENS, 'utf8').trim().split('\n');
const recordings = process.argv.slice(3).map(file => readFileSync(file));
const PIECE_MS = 100, piece = how.rate * 2 * PIECE_MS / 1000;
const START_MS = 3000; // within which they begin
const heard = { latencies: [], interims: 0, sent: 0, speech: 0, problems: [] };

// dice gives numbers from 0 up to 1: a linear congruential generator, of whose state the upper bits count.
function dice(seed) {
	let state = BigInt(seed) * 2654435761n + 1n;
	return () => {
		state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
		return Number(state >> 33n) / 2 ** 31;
	};
}

function shuffled(list, random) {
	const left = [...list], order = [];
	while (left.length > 0)
		order.push(...left.splice(Math.floor(random() * left.length), 1));
	return order;
}

// play gives pieces of recordings without end.
function* play(random) {
	let rest = Buffer.alloc(0);
	let skipped = Math.floor(random() * recordings[0].length / 2) * 2;
	for (;;)
		for (const recording of shuffled(recordings, random)) {
			rest = Buffer.concat([rest, recording.subarray(skipped)]);
			skipped = 0;
			for (; rest.length >= piece; rest = rest.subarray(piece))
				yield rest.subarray(0, piece);
		}
}

function hear(message, start) {
	if (message.type !== 'Results' || message.from_finalize)
		return;
	if (!message.is_final) {
		heard.interims++;
		return;
	}
	heard.speech += message.duration;
	if (message.speech_final)
		heard.latencies.push(performance.now() - start - 1000 * (message.start + message.duration));
}

async function stream(token, number) {
	const random = dice(how.seed + (how.herd ? 0 : number));
	await sleep(random() * START_MS);
	const socket = new WebSocket(`${how.url}?encoding=linear16&sample_rate=${how.rate}&keep_session=true&interim_results=${how.interim}`,
		{ headers: { Authorization: `Token ${token}` } });
	let start;
	const closed = new Promise(resolve => socket.on('close', (code, reason) => {
		if (code !== 1000) heard.problems.push(`${code} ${reason}`);
		resolve();
	}));
	socket.on('error', error => heard.problems.push(error.message));
	socket.on('message', data => hear(JSON.parse(data), start));
	await new Promise(resolve => { socket.on('open', resolve); closed.then(resolve); });
	const audio = play(random);
	start = performance.now();
	for (let sent = 0; sent * PIECE_MS < how.seconds * 1000 && socket.readyState === WebSocket.OPEN; sent++) {
		// A sample is sent when it has been spoken, the last one of a piece.
		await sleep(Math.max(0, start + (sent + 1) * PIECE_MS - performance.now()));
		socket.send(audio.next().value);
		heard.sent += PIECE_MS / 1000;
	}
	if (socket.readyState === WebSocket.OPEN) socket.send('{"type":"CloseStream"}');
	await closed;
}

await Promise.all(tokens.map(stream));
console.log(JSON.stringify({ ...heard, latencies: heard.latencies.map(Math.round).sort((a, b) => a - b) }));
