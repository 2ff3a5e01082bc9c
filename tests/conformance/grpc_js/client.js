// node client.js ADDRESS PROTO-FOLDER: unary calls, errors, streams. Exit 0 if all is as it should be.
'use strict';
const assert = require('node:assert');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [address, protos] = process.argv.slice(2);
const definition = loader.loadSync(path.join(protos, 'open_inference.proto'), {
  includeDirs: [protos], keepCase: true, longs: Number, defaults: true,
});
const { inference } = grpc.loadPackageDefinition(definition);
const client = new inference.GRPCInferenceService(address, grpc.credentials.createInsecure());

function request(id, values, model = 'echo_fp32') {
  return {
    model_name: model, id,
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, values.length] }],
    raw_input_contents: [Buffer.from(Float32Array.from(values).buffer)],
  };
}
function floats(response) {
  const bytes = response.raw_output_contents[0];
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
}
function call(method, message, options = {}) {
  return new Promise((resolve, reject) => {
    client[method](message, options, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

async function answers() {
  const answer = await call('ModelInfer', request('one', [1, 2, 3]));
  assert.strictEqual(answer.id, 'one');
  assert.deepStrictEqual(floats(answer), [1, 2, 3]);

  const many = await Promise.all(
    Array.from({ length: 500 }, (_, i) => call('ModelInfer', request(String(i), [i, i + 1]))));
  many.forEach((each, i) => {
    assert.strictEqual(each.id, String(i));
    assert.deepStrictEqual(floats(each), [i, i + 1]);
  });

  const typed = await call('ModelInfer', {
    model_name: 'echo_bytes',
    inputs: [{
      name: 'x', datatype: 'BYTES', shape: [1, 2],
      contents: { bytes_contents: [Buffer.from('one'), Buffer.alloc(0)] },
    }],
  });
  assert.deepStrictEqual(
    typed.raw_output_contents[0], Buffer.from([3, 0, 0, 0, ...Buffer.from('one'), 0, 0, 0, 0]));
}

async function errors() {
  await assert.rejects(call('ModelInfer', request('x', [1], 'nobody')), (error) => {
    assert.strictEqual(error.code, grpc.status.NOT_FOUND);
    assert.match(error.details, /nobody/);
    return true;
  });
  await assert.rejects(
    call('ModelInfer', { ...request('x', [1]), raw_input_contents: [Buffer.alloc(3)] }),
    { code: grpc.status.INVALID_ARGUMENT });
  await assert.rejects(
    call('ModelInfer', request('x', [1000], 'slow'), { deadline: Date.now() + 100 }),
    { code: grpc.status.DEADLINE_EXCEEDED });
}

async function sizes() {
  const compressed = await call('ModelInfer', request('zip', Array(5000).fill(7)), {
    'grpc.default_compression_algorithm': 2,
  });
  assert.strictEqual(floats(compressed).length, 5000);
  const large = await call('ModelInfer', request('large', Array(500000).fill(3)));
  assert.strictEqual(floats(large).length, 500000);
}

function streamed(count) {
  return new Promise((resolve, reject) => {
    const stream = client.ModelStreamInfer();
    const seen = new Set();
    stream.on('data', (response) => {
      if (response.infer_response.id === '7') assert.match(response.error_message, /nobody/);
      else assert.strictEqual(response.error_message, '');
      seen.add(response.infer_response.id);
    });
    stream.on('error', reject);
    stream.on('end', () => {
      assert.strictEqual(seen.size, count);
      resolve();
    });
    for (let i = 0; i < count; i++) {
      stream.write(request(String(i), [i], i === 7 ? 'nobody' : 'echo_fp32'));
    }
    stream.end();
  });
}

async function cancelled() {
  const gone = await new Promise((resolve) => {
    const going = client.ModelInfer(request('c', [300], 'slow'), (error) => resolve(error));
    setTimeout(() => going.cancel(), 50);
  });
  assert.strictEqual(gone.code, grpc.status.CANCELLED);
  const stream = client.ModelStreamInfer();
  const ended = new Promise((resolve) => stream.on('error', resolve));
  stream.on('data', () => stream.cancel());
  stream.write(request('first', [1]));
  assert.strictEqual((await ended).code, grpc.status.CANCELLED);
  assert.deepStrictEqual(floats(await call('ModelInfer', request('after', [9]))), [9]);
}

async function others() {
  const metadata = await call('ServerMetadata', {});
  assert.ok(metadata.name);
  assert.strictEqual((await call('ModelReady', { name: 'pair' })).ready, true);
  const model = await call('ModelMetadata', { name: 'pair' });
  assert.deepStrictEqual(model.inputs.map((tensor) => tensor.name), ['a', 'b']);
}

async function main() {
  await answers();
  await errors();
  await sizes();
  await Promise.all([streamed(300), streamed(300)]);
  await cancelled();
  await others();
  client.close();
}

main().then(() => console.log('ok'), (error) => {
  console.error(error);
  process.exit(1);
});
