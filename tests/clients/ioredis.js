// ioredis against a cluster of three: node ioredis.js PORT PORT PORT
'use strict';
const Redis = require('ioredis');
const { assert, ports, runAll } = require('./common.js');

const options = { maxRetriesPerRequest: 2, commandTimeout: 15000 };

runAll({
  async 'ioredis sets and gets through different nodes'() {
    const [a, b] = [new Redis(ports[0], '127.0.0.1', options), new Redis(ports[1], '127.0.0.1', options)];
    assert.strictEqual(await a.set('io:k', 'v'), 'OK');
    assert.strictEqual(await b.get('io:k'), 'v');
    const binary = Buffer.from([0, 255, 13, 10, 128]);
    await a.set('io:bin', binary);
    assert.deepStrictEqual(await b.getBuffer('io:bin'), binary);
    assert.strictEqual(await a.get('io:none'), null);
    await assert.rejects(a.incr('io:k'), /not an integer/);
    await assert.rejects(a.hget('io:k', 'f'), /WRONGTYPE/);
    a.disconnect(), b.disconnect();
  },

  async 'ioredis reads hashes as objects'() {
    const r = new Redis(ports[2], '127.0.0.1', options);
    await r.del('io:h');
    assert.strictEqual(await r.hset('io:h', { a: '1', b: 'two', c: '' }), 3);
    assert.deepStrictEqual(await r.hgetall('io:h'), { a: '1', b: 'two', c: '' });
    assert.strictEqual(await r.hincrby('io:h', 'a', 41), 42);
    r.disconnect();
  },

  async 'ioredis pipelines a thousand commands in order'() {
    const r = new Redis(ports[1], '127.0.0.1', options), p = r.pipeline();
    await r.del('io:n');
    for (let i = 0; i < 1000; i++) p.incr('io:n');
    const replies = await p.exec();
    assert.deepStrictEqual(replies, Array.from({ length: 1000 }, (_, i) => [null, i + 1]));
    r.disconnect();
  },

  async 'ioredis does a transaction as a whole'() {
    const [a, b] = [new Redis(ports[0], '127.0.0.1', options), new Redis(ports[1], '127.0.0.1', options)];
    await a.del('{io:t}n', '{io:t}h');
    assert.deepStrictEqual(await a.multi().incr('{io:t}n').hset('{io:t}h', 'f', 'v').hget('{io:t}h', 'f').exec(), [[null, 1], [null, 1], [null, 'v']]);
    await a.watch('{io:t}n');
    await b.incr('{io:t}n');
    assert.strictEqual(await a.multi().incr('{io:t}n').exec(), null);
    const mixed = await a.multi().get('{io:t}h').get('{io:t}n').exec();
    assert(/WRONGTYPE/.test(mixed[0][0].message) && mixed[1][1] === '2');
    a.disconnect(), b.disconnect();
  },

  async 'ioredis does a transaction over any slots as a whole'() {
    const [a, b] = [new Redis(ports[0], '127.0.0.1', options), new Redis(ports[1], '127.0.0.1', options)];
    const keys = Array.from({ length: 30 }, (_, i) => `io:any:${i}`);
    await a.del(keys);
    assert.strictEqual(await a.mset(Object.fromEntries(keys.map(key => [key, '1']))), 'OK');
    assert.deepStrictEqual(await b.mget(keys), keys.map(() => '1'));
    assert.strictEqual(await b.msetnx('io:new', '1', keys[7], '2'), 0);
    assert.strictEqual(await b.exists('io:new', ...keys, keys[0]), 31);
    const all = a.multi({ pipeline: true });
    for (const key of keys) all.incr(key);
    assert.deepStrictEqual(await all.exec(), keys.map(() => [null, 2]));
    const mixed = await b.multi().hset('io:any:h', 'f', 'v').get('io:any:h').decr(keys[0]).rename(keys[1], keys[2]).exec();
    assert(mixed[0][1] === 1 && /WRONGTYPE/.test(mixed[1][0].message) && mixed[2][1] === 1 && mixed[3][1] === 'OK');
    assert.deepStrictEqual(await a.mget(keys.slice(0, 3)), ['1', null, '2']);
    await a.watch(keys[3], keys[4], keys[1]);
    await b.incr(keys[4]);
    assert.strictEqual(await a.multi().incr(keys[3]).incr(keys[4]).exec(), null);
    await a.watch(keys[3], keys[4], keys[1]);
    assert.deepStrictEqual(await a.multi().incr(keys[3]).incr(keys[4]).exec(), [[null, 3], [null, 4]]);
    assert.strictEqual(await a.unlink(keys.concat('io:any:h')), 30);
    a.disconnect(), b.disconnect();
  },

  async 'the cluster client of ioredis has commands with keys of any slots'() {
    const c = new Redis.Cluster(ports.map(port => ({ host: '127.0.0.1', port })), { redisOptions: options });
    const keys = Array.from({ length: 30 }, (_, i) => `io:cany:${i}`);
    await c.mset(Object.fromEntries(keys.map(key => [key, key])));
    assert.deepStrictEqual(await c.mget(keys), keys);
    await c.rename(keys[0], keys[1]);
    assert.strictEqual(await c.exists(...keys), 29);
    assert.strictEqual(await c.copy(keys[1], keys[2], 'REPLACE'), 1);
    assert.strictEqual(await c.get(keys[2]), keys[0]);
    assert.strictEqual(await c.del(...keys), 29);
    c.disconnect();
  },

  async 'ioredis scans the whole cluster through one node'() {
    const r = new Redis(ports[0], '127.0.0.1', options), p = r.pipeline(), found = new Set();
    for (let i = 0; i < 500; i++) p.set(`io:scan:${i}`, i);
    await p.exec();
    for await (const keys of r.scanStream({ match: 'io:scan:*', count: 50 })) keys.forEach(k => found.add(k));
    assert.strictEqual(found.size, 500);
    r.disconnect();
  },

  async 'the cluster client of ioredis finds every slot'() {
    const c = new Redis.Cluster(ports.map(port => ({ host: '127.0.0.1', port })), { redisOptions: options });
    await Promise.all(Array.from({ length: 300 }, (_, i) => c.set(`io:c:${i}`, i)));
    const got = await Promise.all(Array.from({ length: 300 }, (_, i) => c.get(`io:c:${i}`)));
    assert.deepStrictEqual(got, Array.from({ length: 300 }, (_, i) => String(i)));
    const p = c.pipeline();
    for (let i = 0; i < 100; i++) p.incr('io:{tag}:n').get('io:{tag}:n');
    assert((await p.exec()).every(([error]) => error === null));
    assert(c.nodes('all').length === 3);
    c.disconnect();
  },
});
