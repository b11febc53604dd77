// Uses the page of --demo-page as a person would, in headless Chromium whose microphone is a file, and
// prints what happens, a line of JSON each.
//
//	TOKEN='… …' node demo.mjs '{"url": …, "spki": certificate's key, "microphone": WAV, "steps": [[…], …]}'
//
// Steps: ["token", n] types the nth of $TOKEN, ["click", id], ["file", path], ["until", id, regular expression], ["print"].
import { chromium } from 'playwright-core';

const how = JSON.parse(process.argv[2]);
const print = message => console.log(JSON.stringify(message));
const browser = await chromium.launch({
	executablePath: '/usr/bin/chromium',
	args: [
		'--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
		'--disable-component-update', '--disable-sync', '--use-fake-ui-for-media-stream',
		'--use-fake-device-for-media-stream', `--use-file-for-fake-audio-capture=${how.microphone}%noloop`,
		`--ignore-certificate-errors-spki-list=${how.spki}`,
	],
});
const page = await browser.newPage();
page.setDefaultTimeout(30000);
page.on('request', request => print({ request: request.url() }));
page.on('websocket', socket => print({ websocket: socket.url() }));
page.on('console', message => print({ console: message.text() }));
page.on('pageerror', error => print({ error: error.message }));

// Whether the microphone is on, and all that the page shows as interim text, is seen from outside it.
await page.addInitScript(() => {
	const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
	window.tracks = [];
	navigator.mediaDevices.getUserMedia = async wish => {
		const media = await ask(wish);
		window.tracks.push(...media.getTracks());
		return media;
	};
	window.interims = [];
	addEventListener('DOMContentLoaded', () => {
		const interim = document.getElementById('interim');
		new MutationObserver(() => { if (interim.textContent) window.interims.push(interim.textContent); })
			.observe(interim, { childList: true });
	});
});
await page.goto(how.url);

const steps = {
	token: n => page.fill('#token', process.env.TOKEN.split(' ')[n]),
	click: id => page.click(`#${id}`),
	file: path => page.setInputFiles('#file', path),
	until: (id, pattern) => page.waitForFunction(([id, pattern]) =>
		new RegExp(pattern, 'i').test(document.getElementById(id).textContent), [id, pattern]),
	print: async () => print(await page.evaluate(() => ({
		final: document.getElementById('final').textContent.trim(),
		interim: document.getElementById('interim').textContent,
		state: document.getElementById('state').textContent,
		interims: window.interims.splice(0),
		tracks: window.tracks.splice(0).map(track => track.readyState),
		enabled: ['microphone', 'file', 'stop'].filter(id => !document.getElementById(id).disabled),
	}))),
};
for (const [step, ...values] of how.steps) {
	try {
		await steps[step](...values);
	} catch (error) {
		print({ failed: [step, ...values], because: error.message });
		await steps.print();
		break;
	}
}
await browser.close();
