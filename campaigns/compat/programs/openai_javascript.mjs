// OpenAI's library for JavaScript: completions, conversations, vectors, models, errors.

import OpenAI from "openai";

const { COMPAT_REST, COMPAT_KEY, COMPAT_MODEL } = process.env;
const client = new OpenAI({ baseURL: `${COMPAT_REST}/v1`, apiKey: COMPAT_KEY, maxRetries: 0 });
const asked = { model: COMPAT_MODEL, seed: 7, max_tokens: 24 };
const messages = [{ role: "user", content: "Tell me about the wolf." }];
let held = 0;

class Wrong extends Error {}

function equal(what, found, expected) {
  const [one, other] = [JSON.stringify(found), JSON.stringify(expected)];
  if (one !== other) throw new Wrong(`${what}: found ${one}, expected ${other}`);
  held += 1;
}

async function completions() {
  const whole = await client.completions.create({ prompt: "Once upon a time", ...asked });
  let text = "";
  const options = { stream: true, stream_options: { include_usage: true } };
  let usage = null;
  for await (const chunk of await client.completions.create({
    prompt: "Once upon a time",
    ...options,
    ...asked,
  })) {
    text += chunk.choices[0]?.text ?? "";
    usage = chunk.usage ?? usage;
  }
  equal("completion, streamed", text, whole.choices[0].text);
  equal("tokens told by the stream", usage.completion_tokens, 24);
  equal("tokens told", whole.usage.completion_tokens, 24);
}

async function conversations() {
  const whole = await client.chat.completions.create({ messages, ...asked });
  let text = "";
  const roles = [];
  for await (const chunk of await client.chat.completions.create({
    messages,
    stream: true,
    ...asked,
  })) {
    text += chunk.choices[0].delta.content ?? "";
    if (chunk.choices[0].delta.role) roles.push(chunk.choices[0].delta.role);
  }
  equal("answer, streamed", text, whole.choices[0].message.content);
  equal("roles told", roles, ["assistant"]);
  // The library's own way to follow a stream puts the answer together again.
  const final = await client.chat.completions.stream({ messages, ...asked }).finalContent();
  equal("answer, put together by the library", final, whole.choices[0].message.content);
}

async function vectors() {
  const input = ["The wolf", "The fox"];
  const packed = await client.embeddings.create({ model: COMPAT_MODEL, input });
  const numbers = await client.embeddings.create({
    model: COMPAT_MODEL,
    input,
    encoding_format: "float",
  });
  const round = (vector) => vector.map((value) => Math.fround(value));
  packed.data.forEach((each, index) => {
    equal("vector by base64", round(each.embedding), round(numbers.data[index].embedding));
  });
}

async function errors() {
  for (const [kind, ask] of [
    [OpenAI.BadRequestError, () => client.completions.create({ prompt: "x", ...asked, top_p: 7 })],
    [OpenAI.NotFoundError, () => client.models.retrieve("nobody")],
    [
      OpenAI.AuthenticationError,
      () => client.withOptions({ apiKey: "wrong" }).completions.create({ prompt: "x", ...asked }),
    ],
  ]) {
    const error = await ask().then(
      () => null,
      (thrown) => thrown,
    );
    equal(`${kind.name} is thrown`, error instanceof kind, true);
    equal(`${kind.name} has a request id`, Boolean(error.requestID), true);
  }
}

try {
  const listed = [];
  for await (const model of client.models.list()) listed.push(model.id);
  equal("the model is listed", listed.includes(COMPAT_MODEL), true);
  await completions();
  await conversations();
  await vectors();
  await errors();
} catch (error) {
  if (!(error instanceof Wrong)) throw error;
  console.log(`WRONG ${error.message}`);
  process.exit(3);
}
console.log(held);
