// Drives the demo page in headless Chromium with a microphone that is a WAV file, then with a file, and
// prints what it shows.
//
//	TOKEN=… node demo.mjs '{"url": …, "microphone": wav, "file": wav}'
import { chromium } from 'playwright-core';

const how = JSON.parse(process.argv[2]);
const browser = await chromium.launch({
	executablePath: '/usr/bin/chromium',
	args: ['--no-sandbox', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
		`--use-file-for-fake-audio-capture=${how.microphone}%noloop`],
});
const page = await (await browser.newContext({ ignoreHTTPSErrors: true, permissions: ['microphone'] })).newPage();
const foreign = [];
page.on('request', request => { if (!request.url().startsWith(how.url)) foreign.push(request.url()); });
const print = message => console.log(JSON.stringify(message));

async function use(name, start) {
	await page.goto(`${how.url}/demo`);
	await page.fill('#token', process.env.TOKEN);
	await start();
	const interim = await page.waitForFunction(() => document.querySelector('#interim').textContent, null, { timeout: 40000 })
		.then(handle => handle.jsonValue(), () => '');
	await page.waitForFunction(() => document.querySelector('#final').textContent.length > 10, null, { timeout: 40000 });
	if (name === 'microphone') await page.click('#stop');
	await page.waitForFunction(() => document.querySelector('#state').textContent.startsWith('All is stored'), null, { timeout: 40000 });
	print({ name, interim, final: (await page.textContent('#final')).trim() });
}

try {
	await use('microphone', () => page.click('#microphone'));
	await use('file', () => page.setInputFiles('#file', how.file));
	print({ name: 'foreign', foreign });
} catch (error) {
	print({ name: 'failed', error: error.message, state: await page.textContent('#state').catch(() => '') });
}
await browser.close();
