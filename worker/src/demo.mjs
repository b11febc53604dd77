// Prints demo.c: demo.html, and the policy by which a browser runs nothing but what is in it.
//
//	node demo.mjs demo.html >demo.c
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const page = readFileSync(process.argv[2], 'ascii');
const inside = tag => page.match(new RegExp(`<${tag}>(.*)</${tag}>`, 's'))[1];
const hash = tag => `'sha256-${createHash('sha256').update(inside(tag)).digest('base64')}'`;
const policy = `default-src 'none'; script-src ${hash('script')}; style-src ${hash('style')}; ` +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// A string of JSON is one of C, as long as it is ASCII.
console.log(`#include "demo.h"

const char demoPage[] = ${JSON.stringify(page)};

const char demoPolicy[] = ${JSON.stringify(policy)};`);
