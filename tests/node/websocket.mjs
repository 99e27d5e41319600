// WebSockets with a standard library on both sides: `node websocket.mjs MODULES`.
//
// It starts a server that echoes, and writes its port. Then, a line at a time: `go URL TOKEN` opens one
// through the gateway, sends text, binary, fragments and pings, compares what comes back, and writes
// `done`; `close CODE` ends it from the client; `kick CODE` from the server. What ended it is written as
// `client CODE REASON` and `server CODE REASON`, in this order.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { resolve } from 'node:path';
import { once } from 'node:events';
import assert from 'node:assert';

const require = createRequire(resolve(process.argv[2]) + '/');
const { WebSocket, WebSocketServer } = require('ws');

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: true });
let accepted;
server.on('connection', (socket, request) => {
  accepted = socket;
  accepted.subject = request.headers['x-auth-subject'];
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.ended = new Promise((done) => socket.on('close', (code, reason) => done(`server ${code} ${reason}`)));
  socket.on('error', () => {});
});
await once(server, 'listening');
console.log(server.address().port);

let client;
async function echoed(data, options = {}) {
  client.send(data, options);
  const [back, isBinary] = await once(client, 'message');
  assert.deepEqual(Buffer.from(back), Buffer.from(data));
  assert.equal(isBinary, typeof data !== 'string');
}

async function go(url, token) {
  client = new WebSocket(url, { headers: { authorization: `Bearer ${token}` } });
  client.ended = new Promise((done) => client.on('close', (code, reason) => done(`client ${code} ${reason}`)));
  await once(client, 'open');
  assert.equal(accepted.subject, 'alice');
  assert.match(client.extensions, /permessage-deflate/);
  await echoed('text');
  await echoed('');
  await echoed(Buffer.alloc(1_000_000, 7), { compress: false });
  await echoed('x'.repeat(300_000));
  client.send('one ', { fin: false });
  client.send('two', { fin: true });
  const [whole] = await once(client, 'message');
  assert.equal(whole.toString(), 'one two');
  client.ping('ping');
  await once(client, 'pong');
  console.log('done');
  client.on('error', () => {});
  client.ended.then(async (line) => {
    console.log(line);
    console.log(await accepted.ended);
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  const [what, ...rest] = line.split(' ');
  if (what === 'go') await go(...rest);
  if (what === 'close') client.close(Number(rest[0]), 'bye');
  if (what === 'kick') accepted.close(Number(rest[0]), 'bye');
}
