// node-redis against a cluster of three, RESP2 and RESP3: node node-redis.js PORT PORT PORT
'use strict';
const { createClient, createCluster, RESP_TYPES, WatchError } = require('redis');
const { assert, ports, runAll } = require('./common.js');

async function open(port, RESP) {
  const client = createClient({ RESP, socket: { host: '127.0.0.1', port, connectTimeout: 5000 } });
  client.on('error', error => console.log(`# ${error}`));
  return client.connect();
}

const tests = {};
for (const RESP of [2, 3]) {
  tests[`node-redis sets and gets through different nodes (RESP${RESP})`] = async () => {
    const [a, b] = [await open(ports[0], RESP), await open(ports[1], RESP)];
    assert.strictEqual(await a.set('nr:k', 'v'), 'OK');
    assert.strictEqual(await b.get('nr:k'), 'v');
    assert.strictEqual(await a.get('nr:none'), null);
    await assert.rejects(a.incr('nr:k'), /not an integer/);
    await assert.rejects(a.hGet('nr:k', 'f'), /WRONGTYPE/);
    const binary = Buffer.from([0, 255, 13, 10, 128]);
    await a.set('nr:bin', binary);
    assert.deepStrictEqual(await b.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).get('nr:bin'), binary);
    a.destroy(), b.destroy();
  };

  tests[`node-redis reads hashes and typed replies (RESP${RESP})`] = async () => {
    const c = await open(ports[2], RESP);
    await c.del('nr:h');
    assert.strictEqual(await c.hSet('nr:h', { a: '1', b: 'two', c: '' }), 3);
    assert.deepStrictEqual({ ...await c.hGetAll('nr:h') }, { a: '1', b: 'two', c: '' });
    assert.strictEqual(Number(await c.hIncrByFloat('nr:h', 'a', 0.5)), 1.5);
    assert.deepStrictEqual([...await c.hmGet('nr:h', ['b', 'none'])], ['two', null]);
    assert.strictEqual(await c.expire('nr:h', 100), 1);
    assert(await c.ttl('nr:h') > 90);
    const hello = await c.sendCommand(['HELLO']);
    if (RESP === 3) assert.strictEqual(hello.proto, 3); // a map in RESP3
    else assert.strictEqual(hello[hello.indexOf('proto') + 1], 2);
    c.destroy();
  };

  tests[`node-redis pipelines what is asked in one tick (RESP${RESP})`] = async () => {
    const c = await open(ports[1], RESP);
    await c.del('nr:n');
    const got = await Promise.all(Array.from({ length: 1000 }, () => c.incr('nr:n')));
    assert.deepStrictEqual(got, Array.from({ length: 1000 }, (_, i) => i + 1));
    c.destroy();
  };

  tests[`node-redis does a transaction as a whole (RESP${RESP})`] = async () => {
    const [a, b] = [await open(ports[0], RESP), await open(ports[1], RESP)];
    await a.del(['{nr:t}n', '{nr:t}h']);
    const done = await a.multi().incr('{nr:t}n').hSet('{nr:t}h', 'f', 'v').hGet('{nr:t}h', 'f').exec();
    assert.deepStrictEqual(done, [1, 1, 'v']);
    await a.watch('{nr:t}n');
    await b.incr('{nr:t}n');
    await assert.rejects(a.multi().incr('{nr:t}n').exec(), WatchError);
    assert.strictEqual(await b.get('{nr:t}n'), '2');
    a.destroy(), b.destroy();
  };

  tests[`node-redis does a transaction over any slots as a whole (RESP${RESP})`] = async () => {
    const [a, b] = [await open(ports[0], RESP), await open(ports[1], RESP)];
    const keys = Array.from({ length: 30 }, (_, i) => `nr:any:${i}`);
    await a.del([...keys, 'nr:any:h']);
    assert.strictEqual(await a.mSet(keys.map(key => [key, '1'])), 'OK');
    assert.deepStrictEqual(await b.mGet(keys), keys.map(() => '1'));
    assert.strictEqual(await b.mSetNX([['nr:new', '1'], [keys[7], '2']]), 0);
    assert.strictEqual(await b.exists(['nr:new', ...keys, keys[0]]), 31);
    assert.deepStrictEqual(await keys.reduce((all, key) => all.incr(key), a.multi()).exec(), keys.map(() => 2));
    const mixed = await b.multi().hSet('nr:any:h', 'f', 'v').hGetAll('nr:any:h').decr(keys[0]).rename(keys[1], keys[2]).exec();
    assert.deepStrictEqual([mixed[0], { ...mixed[1] }, mixed[2], mixed[3]], [1, { f: 'v' }, 1, 'OK']);
    await assert.rejects(b.multi().get('nr:any:h').incr(keys[0]).exec(),
      error => /WRONGTYPE/.test(error.replies[0].message) && error.replies[1] === 2);
    assert.deepStrictEqual(await a.mGet(keys.slice(0, 3)), ['2', null, '2']);
    await a.watch([keys[3], keys[4], keys[1]]);
    await b.incr(keys[4]);
    await assert.rejects(a.multi().incr(keys[3]).incr(keys[4]).exec(), WatchError);
    await a.watch([keys[3], keys[4], keys[1]]);
    assert.deepStrictEqual(await a.multi().incr(keys[3]).incr(keys[4]).exec(), [3, 4]);
    assert.strictEqual(await a.unlink([...keys, 'nr:any:h']), 30);
    a.destroy(), b.destroy();
  };

  tests[`the cluster client of node-redis has commands with keys of any slots (RESP${RESP})`] = async () => {
    const c = createCluster({ RESP, rootNodes: ports.map(port => ({ socket: { host: '127.0.0.1', port } })) });
    c.on('error', error => console.log(`# ${error}`));
    await c.connect();
    const keys = Array.from({ length: 30 }, (_, i) => `nr:cany:${i}`);
    await c.mSet(keys.map(key => [key, key]));
    assert.deepStrictEqual(await c.mGet(keys), keys);
    await c.rename(keys[0], keys[1]);
    assert.strictEqual(await c.exists(keys), 29);
    assert.strictEqual(await c.copy(keys[1], keys[2], { REPLACE: true }), 1);
    assert.strictEqual(await c.get(keys[2]), keys[0]);
    assert.deepStrictEqual(await c.multi().set(keys[3], 'x').get(keys[4]).mGet([keys[5], keys[6]]).exec(), ['OK', keys[4], [keys[5], keys[6]]]);
    assert.strictEqual(await c.del(keys), 29);
    c.destroy();
  };

  tests[`node-redis scans the whole cluster through one node (RESP${RESP})`] = async () => {
    const c = await open(ports[0], RESP), found = new Set();
    await Promise.all(Array.from({ length: 500 }, (_, i) => c.set(`nr:scan:${i}`, String(i))));
    for await (const keys of c.scanIterator({ MATCH: 'nr:scan:*', COUNT: 50 })) for (const k of keys) found.add(k);
    assert.strictEqual(found.size, 500);
    c.destroy();
  };

  tests[`the cluster client of node-redis finds every slot (RESP${RESP})`] = async () => {
    const c = createCluster({ RESP, rootNodes: ports.map(port => ({ socket: { host: '127.0.0.1', port } })) });
    c.on('error', error => console.log(`# ${error}`));
    await c.connect();
    await Promise.all(Array.from({ length: 300 }, (_, i) => c.set(`nr:c:${i}`, String(i))));
    const got = await Promise.all(Array.from({ length: 300 }, (_, i) => c.get(`nr:c:${i}`)));
    assert.deepStrictEqual(got, Array.from({ length: 300 }, (_, i) => String(i)));
    assert(c.slots.length === 16384 && c.slots.every(s => s.master));
    c.destroy();
  };
}
runAll(tests);
