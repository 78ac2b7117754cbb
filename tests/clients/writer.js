// A cluster client that writes until it is told to stop, while the cluster changes: node writer.js ioredis|node-redis PORT...
// Says "count N" now and then; at "stop" on its input it reads all back and says what it saw, as one line of JSON.
'use strict';
const [library, ...ports] = process.argv.slice(2);
const WORKERS = 4, KEYS = 50;

async function open() {
  if (library === 'ioredis') {
    const { Cluster } = require('ioredis');
    const c = new Cluster(ports.map(port => ({ host: '127.0.0.1', port: Number(port) })), { redisOptions: { commandTimeout: 20000 } });
    c.on('error', () => {});
    return c;
  }
  const { createCluster } = require('redis');
  const c = createCluster({ rootNodes: ports.map(port => ({ socket: { host: '127.0.0.1', port: Number(port) } })) });
  c.on('error', () => {}), c.on('node-error', () => {});
  await c.connect();
  return c;
}

let stopping = false, done = 0;
const errors = {}, acked = new Map(), sent = new Map();

function note(error) {
  const word = /^[A-Z]{3,}\b/.test(error.message) ? error.message.split(' ')[0] : `${error.name}: ${error.message}`.slice(0, 100);
  errors[word] = (errors[word] || 0) + 1;
}

async function work(c, w) {
  for (let i = 1; !stopping; i++) {
    const key = `js:${library}:${w}:${i % KEYS}`;
    sent.set(key, i);
    try {
      if (await c.set(key, String(i)) === 'OK') acked.set(key, i), done++;
    } catch (error) {
      note(error);
      await new Promise(resolve => setTimeout(resolve, 20));
    }
    await new Promise(resolve => setTimeout(resolve, 2));
  }
}

async function readBack(c) {
  const lost = [];
  for (const [key, value] of acked) {
    const got = Number(await c.get(key));
    if (!(got >= value && got <= sent.get(key))) lost.push(`${key} reads ${got}, ${value} was acknowledged, ${sent.get(key)} sent`);
  }
  return lost;
}

(async () => {
  const c = await open();
  const stopped = new Promise(resolve => process.stdin.once('data', resolve));
  const ticker = setInterval(() => console.log(`count ${done}`), 100);
  const workers = Array.from({ length: WORKERS }, (_, w) => work(c, w));
  await stopped;
  stopping = true;
  await Promise.all(workers);
  clearInterval(ticker);
  console.log(JSON.stringify({ done, errors, lost: await readBack(c) }));
  process.exit(0);
})().catch(error => {
  console.log(JSON.stringify({ done, errors, lost: [`gave up: ${error && error.stack}`] }));
  process.exit(1);
});
