// A server and a client of the npm package @grpc/grpc-js, which speak as grpcio_server.py and grpcio_client.py do:
//
//     grpc_js.cjs server ADDRESS OPTIONS
//     grpc_js.cjs client ADDRESS WHAT CALL
//
// The messages of google.protobuf are written and read here, so that no other package is needed.
'use strict';
const grpc = require('@grpc/grpc-js');

const LIMIT_MS = 20_000;
const show = (result) => process.stdout.write(`${JSON.stringify(result)}\n`);
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function varint(number) {
  const bytes = [];
  for (; number > 127; number = Math.floor(number / 128)) bytes.push((number % 128) + 128);
  return Buffer.from([...bytes, number]);
}

// A field with a length: a text, bytes or a message.
function field(number, value) {
  const bytes = Buffer.from(value);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

// The fields of a message, by number, each with its values.
function fields(bytes) {
  const found = {};
  let at = 0;
  const number = () => {
    let [value, factor] = [0, 1];
    for (; bytes[at] > 127; factor *= 128) value += (bytes[at++] - 128) * factor;
    return value + bytes[at++] * factor;
  };
  while (at < bytes.length) {
    const tag = number();
    const [id, length] = [Math.floor(tag / 8), number()];
    const value = tag % 8 === 2 ? bytes.subarray(at, (at += length)) : length;
    (found[id] ??= []).push(value);
  }
  return found;
}

const encode = (value) => field(1, JSON.stringify(value));
const encodeText = (text) => field(1, text);
const decodeText = (bytes) => (fields(bytes)[1] ?? [Buffer.alloc(0)])[0].toString();
const decode = (bytes) => JSON.parse(decodeText(bytes));

const texts = (metadata) =>
  Object.fromEntries(Object.entries(metadata.getMap()).filter(([, value]) => typeof value === 'string'));

// ---- server

const attempts = {}; // the time and the grpc-previous-rpc-attempts of each attempt, by key
const executed = [];
let [begun, cancelled] = [0, 0];

function fail(request, call) {
  const noted = (attempts[request.key] ??= []);
  noted.push([performance.now(), texts(call.metadata)['grpc-previous-rpc-attempts'] ?? null]);
  if (noted.length <= request.times) {
    const metadata = new grpc.Metadata();
    if ('pushback' in request) metadata.set('grpc-retry-pushback-ms', request.pushback);
    throw { code: grpc.status[request.code], details: 'fails on request', metadata };
  }
  const gaps = noted.slice(1).map(([time], n) => Math.round(time - noted[n][0]));
  return { attempts: noted.length, gaps_ms: gaps, previous: noted.map(([, previous]) => previous) };
}

function details() {
  const retry = Buffer.concat([field(1, 'type.googleapis.com/google.rpc.RetryInfo'), field(2, field(1, [8, 1]))]);
  const message = 'no quota: щедро';
  const metadata = new grpc.Metadata();
  const status = Buffer.concat([Buffer.from([8, 8]), field(2, message), field(3, retry)]);
  metadata.set('grpc-status-details-bin', status);
  throw { code: 8, details: message, metadata };
}

const actions = {
  fail,
  details,
  async sleep(request) {
    await wait(request.ms);
    executed.push(request.key ?? null);
    return {};
  },
  echo(request, call) {
    const deadline = Number(call.getDeadline());
    return {
      remaining_ms: Number.isFinite(deadline) ? Math.round(deadline - Date.now()) : null,
      metadata: texts(call.metadata),
      peer: call.getPeer(),
      text: 'x'.repeat(request.size ?? 0),
    };
  },
  seen: () => ({ begun, cancelled, executed }),
};

async function unary(call, respond) {
  const request = call.request;
  if (request.action !== 'seen') begun++;
  // A call that has ended is reported as cancelled as well.
  let ended = false;
  call.on('cancelled', () => ended || cancelled++);
  try {
    const response = await actions[request.action](request, call);
    ended = true;
    respond(null, response);
  } catch (error) {
    ended = true;
    respond(error);
  }
}

async function stream(call) {
  const { count, size, ms } = call.request;
  for (let n = 0; n < count && !call.cancelled; n++) {
    await wait(ms);
    if (!call.write('x'.repeat(size))) await new Promise((resolve) => call.once('drain', resolve));
  }
  call.end();
}

function serve(address, options) {
  const method = (path, responseStream, responseSerialize) => ({
    path: `/peers.Peer/${path}`,
    requestStream: false,
    responseStream,
    requestSerialize: encode,
    requestDeserialize: decode,
    responseSerialize,
    responseDeserialize: decode,
  });
  const server = new grpc.Server(JSON.parse(options));
  server.addService(
    { unary: method('Unary', false, encode), stream: method('Stream', true, encodeText) },
    { unary, stream },
  );
  server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    show({ port });
  });
}

// ---- client

// The details of a status: google.rpc.ErrorInfo alone is read.
function detailsOf(metadata) {
  const [status] = metadata.get('grpc-status-details-bin');
  return (status ? fields(status)[3] ?? [] : []).map((any) => {
    const [type, value] = [fields(any)[1][0].toString(), fields(fields(any)[2][0])];
    if (!type.endsWith('/google.rpc.ErrorInfo')) return { '@type': type };
    return { '@type': type, reason: value[1][0].toString(), domain: value[2][0].toString() };
  });
}

const failure = (error) => ({
  code: grpc.status[error.code],
  message: error.details,
  details: detailsOf(error.metadata),
  trailers: texts(error.metadata),
});

function makeUnary(client, call, timeout) {
  let byClient = false;
  const running = client.makeUnaryRequest('/peers.Peer/Unary', encode, decode, call.request, timeout, (error, reply) => {
    if (byClient && error.code === grpc.status.CANCELLED) show({ code: 'CANCELLED', by: 'client' });
    else show(error ? failure(error) : { code: 'OK', ...reply });
    client.close();
  });
  if (call.cancel) {
    process.stdin.once('data', () => {
      byClient = true;
      running.cancel();
      process.stdin.destroy();
    });
  }
}

function makeStream(client, call, timeout) {
  let [count, size] = [0, 0];
  const responses = client.makeServerStreamRequest('/peers.Peer/Stream', encode, decodeText, call.request, timeout);
  responses.on('data', (text) => {
    count++;
    size += text.length;
  });
  responses.on('error', (error) => show({ count, size, ...failure(error) }));
  responses.on('end', () => show({ code: 'OK', count, size }));
  responses.on('status', () => client.close());
}

function makeCall(address, what, json) {
  const call = JSON.parse(json);
  const options = { ...call.options, 'grpc.enable_http_proxy': 0 };
  if (call.service_config) options['grpc.service_config'] = JSON.stringify(call.service_config);
  const client = new grpc.Client(address, grpc.credentials.createInsecure(), options);
  const timeout = { deadline: Date.now() + (call.timeout_ms ?? LIMIT_MS) };
  ({ unary: makeUnary, stream: makeStream })[what](client, call, timeout);
}

const [, , mode, ...parameters] = process.argv;
({ server: serve, client: makeCall })[mode](...parameters);
