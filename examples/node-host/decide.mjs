// Takes the decisions of a compiled policy: ONNX Runtime and policy.onnx, nothing of inferbudget.
//
//   node decide.mjs policy.onnx < requests.jsonl > decisions.jsonl
//
// A request is a line {"text": ..., "label": ..., "embedding": [...], "rung": ..., "uniform": ...}
// with those of the first three that the policy sorts by. A line that cannot be decided is answered
// with {"error": ...}.

import ort from "onnxruntime-node";

// How each of the graph's inputs is made of one request. JSON has no nan: null stands for it.
const INPUTS = {
  text: (request) => string(request.text, "text"),
  label: (request) => string(request.label, "label"),
  embedding: (request, [, width]) => {
    const vector = request.embedding ?? Array(width).fill(null); // this prompt was not read
    return new ort.Tensor("float32", vector.map(number), [1, width]);
  },
  rung: ({ rung = 0 }) => new ort.Tensor("int64", [whole(rung)], [1]),
  uniform: ({ uniform = Math.random() }) => new ort.Tensor("float32", [number(uniform)], [1]),
};

async function openPolicy(path) {
  const session = await ort.InferenceSession.create(path, { intraOpNumThreads: 1 });
  return async function decide(request) {
    const feeds = {};
    for (const { name, shape } of session.inputMetadata) feeds[name] = INPUTS[name](request, shape);
    const found = await session.run(feeds);
    return Object.fromEntries(session.outputNames.map((name) => [name, plain(found[name].data[0])]));
  };
}

function string(value, name) {
  if (typeof value !== "string") throw new Error(`this policy sorts by a ${name}: send a string`);
  // onnxruntime-node ends a string at U+0000: what it would decide is about another text.
  if (value.includes("\0")) throw new Error(`${name} has a U+0000: this host cannot pass it on`);
  // Half of a surrogate pair, which no UTF-8 can carry, counts as a question mark everywhere.
  return new ort.Tensor("string", [value.replace(/\p{Surrogate}/gu, "?")], [1]);
}

function whole(value) {
  if (!Number.isSafeInteger(value)) throw new Error("rung is a whole number");
  return BigInt(value);
}

function number(value) {
  if (value === null) return NaN;
  if (typeof value !== "number") throw new Error("uniform and embedding are numbers");
  return value;
}

function plain(value) {
  return typeof value === "bigint" ? Number(value) : value; // nan becomes null in JSON
}

// Not node:readline: it also ends a line at U+2028, which JSON allows inside a string.
async function* lines(stream) {
  let rest = "";
  for await (const chunk of stream.setEncoding("utf8")) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop();
    yield* parts;
  }
  if (rest) yield rest;
}

const decide = await openPolicy(process.argv[2]);
for await (const line of lines(process.stdin)) {
  const answer = await Promise.resolve(line)
    .then((text) => decide(JSON.parse(text)))
    .catch((error) => ({ error: error.message }));
  console.log(JSON.stringify(answer));
}
