// gRPC with the standard library on both sides: `node grpc.mjs MODULES`.
//
// It starts a server, and writes its port. Then, a line at a time: `go ADDRESS TOKEN` makes calls of all
// four shapes through the gateway, with trailers and an error of the server's own, and writes `done`;
// `call ADDRESS TOKEN` makes one and writes its status; `open ADDRESS TOKEN` opens a call both ways,
// writes `done` when it has carried something, and later the status that ended it.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { resolve } from 'node:path';
import assert from 'node:assert';

const require = createRequire(resolve(process.argv[2]) + '/');
const grpc = require('@grpc/grpc-js');

const plain = { requestSerialize: (x) => x, requestDeserialize: (x) => x, responseSerialize: (x) => x, responseDeserialize: (x) => x };
const method = (name, requestStream, responseStream) => ({ path: `/orders.Orders/${name}`, requestStream, responseStream, ...plain });
const service = {
  Unary: method('Unary', false, false),
  Download: method('Download', false, true),
  Upload: method('Upload', true, false),
  Chat: method('Chat', true, true),
};

const server = new grpc.Server({ 'grpc.max_receive_message_length': -1 });
server.addService(service, {
  Unary(call, done) {
    const subject = call.metadata.get('x-auth-subject')[0];
    const trailers = new grpc.Metadata();
    trailers.set('x-trailer', 'came');
    if (call.request.toString() === 'fail') {
      return done({ code: grpc.status.NOT_FOUND, details: 'no such order: 7 %', metadata: trailers });
    }
    done(null, Buffer.from(`${subject}: ${call.request}`), trailers);
  },
  Download(call) {
    for (let n = 0; n < 100; n += 1) call.write(Buffer.alloc(10_000, n));
    call.end();
  },
  Upload(call, done) {
    let bytes = 0;
    call.on('data', (data) => { bytes += data.length; });
    call.on('end', () => done(null, Buffer.from(String(bytes))));
  },
  Chat(call) {
    call.on('data', (data) => call.write(data));
    call.on('end', () => call.end());
    call.on('error', () => {});
  },
});
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(port);
});

const Client = grpc.makeGenericClientConstructor(service, 'Orders');
const clients = new Map();
function at(address) {
  if (!clients.has(address)) clients.set(address, new Client(address, grpc.credentials.createInsecure(), { 'grpc.enable_retries': 0 }));
  return clients.get(address);
}
function metadata(token) {
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${token}`);
  return metadata;
}
function unary(address, token, text) {
  return new Promise((done) => {
    let trailers;
    const call = at(address).Unary(Buffer.from(text), metadata(token), (error, answer) => done({ error, answer, trailers }));
    call.on('status', (status) => { trailers = status.metadata; });
  });
}

async function go(address, token) {
  const one = await unary(address, token, 'hello');
  assert.ifError(one.error);
  assert.equal(one.answer.toString(), 'alice: hello');
  const failed = await unary(address, token, 'fail');
  assert.equal(failed.error.code, grpc.status.NOT_FOUND);
  assert.equal(failed.error.details, 'no such order: 7 %');
  assert.deepEqual(failed.error.metadata.get('x-trailer'), ['came']);

  let count = 0;
  for await (const data of at(address).Download(Buffer.from('x'), metadata(token))) {
    assert.deepEqual(data, Buffer.alloc(10_000, count));
    count += 1;
  }
  assert.equal(count, 100);

  const sum = await new Promise((done, fail) => {
    const call = at(address).Upload(metadata(token), (error, answer) => (error ? fail(error) : done(answer.toString())));
    for (let n = 0; n < 100; n += 1) call.write(Buffer.alloc(10_000));
    call.end();
  });
  assert.equal(sum, '1000000');

  const chat = at(address).Chat(metadata(token));
  const said = [];
  for (const word of ['one', 'two', 'three']) {
    chat.write(Buffer.from(word));
    said.push(await new Promise((done) => chat.once('data', (data) => done(data.toString()))));
  }
  chat.end();
  const status = await new Promise((done) => chat.on('status', done));
  assert.deepEqual(said, ['one', 'two', 'three']);
  assert.equal(status.code, grpc.status.OK);
  // A burst goes by few connections.
  const burst = await Promise.all(Array.from({ length: 200 }, () => unary(address, token, 'x')));
  assert(burst.every((it) => !it.error));
  console.log('done');
}

async function open(address, token) {
  const chat = at(address).Chat(metadata(token));
  chat.on('error', () => {});
  chat.on('status', (status) => console.log(`${status.code} ${status.details}`));
  chat.write(Buffer.from('hello'));
  await new Promise((done) => chat.once('data', done));
  console.log('done');
}

for await (const line of createInterface({ input: process.stdin })) {
  const [what, ...rest] = line.split(' ');
  if (what === 'go') await go(...rest);
  if (what === 'open') await open(...rest);
  if (what === 'call') {
    const { error } = await unary(...rest, 'hello');
    console.log(error ? `${error.code} ${error.details}` : '0 OK');
  }
}
