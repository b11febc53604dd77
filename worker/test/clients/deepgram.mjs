// Streams a file with Deepgram's own SDK, as its README shows, and prints each message as a line.
//
//	TOKEN=… node deepgram.mjs '{"url": …, "file": …, "args": {…}, "piece": bytes, "pause": ms}'
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeepgramClient } from '@deepgram/sdk';

const how = JSON.parse(process.argv[2]);
const client = new DeepgramClient({ apiKey: process.env.TOKEN, baseUrl: how.url });
const connection = await client.listen.v1.connect({ ...how.args, reconnectAttempts: 0 });
const print = message => console.log(JSON.stringify(message));

const closed = new Promise(resolve => connection.on('close', event => {
	print({ type: 'close', code: event.code, reason: event.reason });
	resolve();
}));
connection.on('message', print);
connection.on('error', error => print({ type: 'error', message: error.message }));
connection.connect();
await connection.waitForOpen();

const audio = readFileSync(how.file);
for (let at = 0; at < audio.length; at += how.piece) {
	connection.sendMedia(audio.subarray(at, at + how.piece));
	await sleep(how.pause ?? 0);
	if (how.finalize_at !== undefined && at <= how.finalize_at && at + how.piece > how.finalize_at)
		connection.sendFinalize({ type: 'Finalize' });
}
connection.sendKeepAlive({ type: 'KeepAlive' });
connection.sendCloseStream({ type: 'CloseStream' });
await closed;
process.exit(0);
