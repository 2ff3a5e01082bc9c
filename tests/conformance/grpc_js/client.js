// node client.js ADDRESS PROTO-FOLDER: unary calls, errors, a stream. Exit 0 if all is as it should be.
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

async function main() {
  const answer = await call('ModelInfer', request('one', [1, 2, 3]));
  assert.strictEqual(answer.id, 'one');
  assert.deepStrictEqual(floats(answer), [1, 2, 3]);

  const many = await Promise.all(
    Array.from({ length: 500 }, (_, i) => call('ModelInfer', request(String(i), [i, i + 1]))));
  many.forEach((each, i) => {
    assert.strictEqual(each.id, String(i));
    assert.deepStrictEqual(floats(each), [i, i + 1]);
  });

  await assert.rejects(call('ModelInfer', request('x', [1], 'nobody')), (error) => {
    assert.strictEqual(error.code, grpc.status.NOT_FOUND);
    assert.match(error.details, /nobody/);
    return true;
  });
  await assert.rejects(
    call('ModelInfer', { ...request('x', [1]), raw_input_contents: [Buffer.alloc(3)] }),
    { code: grpc.status.INVALID_ARGUMENT });

  const compressed = await call('ModelInfer', request('zip', Array(5000).fill(7)), {
    'grpc.default_compression_algorithm': 2,
  });
  assert.strictEqual(floats(compressed).length, 5000);

  const large = await call('ModelInfer', request('large', Array(500000).fill(3)));
  assert.strictEqual(floats(large).length, 500000);

  await new Promise((resolve, reject) => {
    const stream = client.ModelStreamInfer();
    const seen = new Set();
    stream.on('data', (response) => {
      assert.strictEqual(response.error_message, '');
      seen.add(response.infer_response.id);
    });
    stream.on('error', reject);
    stream.on('end', () => {
      assert.strictEqual(seen.size, 300);
      resolve();
    });
    for (let i = 0; i < 300; i++) stream.write(request(String(i), [i]));
    stream.end();
  });

  const metadata = await call('ServerMetadata', {});
  assert.ok(metadata.name);
  const cancelled = client.ModelInfer(request('c', [1]), () => {});
  cancelled.cancel();
  assert.deepStrictEqual(floats(await call('ModelInfer', request('after', [9]))), [9]);
  client.close();
}

main().then(() => console.log('ok'), (error) => {
  console.error(error);
  process.exit(1);
});
