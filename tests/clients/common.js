// What both libraries of npm are asked to do. A test is a name and a function; each prints "ok name" or "not ok name: why".
'use strict';
const assert = require('node:assert');

const LIMIT_MS = 20000;

async function runAll(tests) {
  let failed = false;
  for (const [name, fn] of Object.entries(tests)) {
    let timer;
    try {
      const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`not over after ${LIMIT_MS} ms`)), LIMIT_MS); });
      await Promise.race([fn(), late]);
      console.log(`ok ${name}`);
    } catch (error) {
      failed = true;
      console.log(`not ok ${name}: ${error && error.stack || error}`);
    } finally {
      clearTimeout(timer);
    }
  }
  process.exit(failed ? 1 : 0); // connections that a failed test left open must not keep us
}

const ports = process.argv.slice(2).map(Number);
assert(ports.length === 3 && ports.every(p => p > 0), 'usage: node FILE PORT PORT PORT');
module.exports = { assert, ports, runAll };
