// The npm clients `openai` and `ollama` against a running server. Usage: suite.mjs URL
import assert from "node:assert/strict";
import OpenAI from "openai";
import { Ollama } from "ollama";

const url = process.argv[2].replace(/\/$/, "");
const client = new OpenAI({ baseURL: url + "/v1", apiKey: "any", maxRetries: 0 });
const local = new Ollama({ host: url });
const model = "smollm2";
const messages = [{ role: "user", content: "Say hello." }];
const chat = (more) => client.chat.completions.create({ model, messages, max_tokens: 12, temperature: 0, ...more });
const parameters = {
  type: "object",
  properties: { city: { type: "string", enum: ["Oslo", "Rome"] } },
  required: ["city"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "weather", description: "x", parameters } }];

const tests = {
  async chat() {
    const whole = await chat();
    assert.ok(whole.choices[0].message.content && whole.usage.total_tokens > 0);
    let text = "", usage;
    for await (const chunk of await chat({ stream: true, stream_options: { include_usage: true } })) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, whole.choices[0].message.content);
    assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
  },
  async tools() {
    const stream = client.chat.completions.stream({ model, messages, tools, tool_choice: "required", max_tokens: 100 });
    const [call] = (await stream.finalChatCompletion()).choices[0].message.tool_calls;
    assert.ok(["Oslo", "Rome"].includes(JSON.parse(call.function.arguments).city));
  },
  async schema() {
    const format = { type: "json_schema", json_schema: { name: "place", strict: true, schema: parameters } };
    const answer = await chat({ response_format: format, max_tokens: 60 });
    assert.ok(["Oslo", "Rome"].includes(JSON.parse(answer.choices[0].message.content).city));
  },
  async refusals() {
    await assert.rejects(chat({ model: "nobody" }), (e) => e instanceof OpenAI.NotFoundError && e.code === "model_not_found");
    await assert.rejects(chat({ messages: [] }), (e) => e instanceof OpenAI.BadRequestError && e.param === "messages");
  },
  async completions() {
    const whole = await client.completions.create({ model, prompt: "Once upon a", max_tokens: 5, temperature: 0 });
    assert.ok(whole.choices[0].text);
  },
  async embeddings() {
    const answer = await client.embeddings.create({ model: "minilm", input: ["a", "b"] });
    assert.deepEqual(answer.data.map((one) => one.embedding.length), [384, 384]);
  },
  async models() {
    const ids = [];
    for await (const one of client.models.list()) ids.push(one.id);
    assert.equal((await client.models.retrieve(ids[0])).id, ids[0]);
  },
  async responses() {
    const whole = await client.responses.create({ model, input: "Say hello.", max_output_tokens: 12, temperature: 0 });
    assert.ok(whole.output_text);
    let text = "";
    const stream = await client.responses.create({ model, input: "Say hello.", max_output_tokens: 12, temperature: 0, stream: true });
    for await (const event of stream) if (event.type === "response.output_text.delta") text += event.delta;
    assert.equal(text, whole.output_text);
  },
  async ollama() {
    const options = { temperature: 0, num_predict: 8 };
    const whole = await local.chat({ model, messages, options });
    let text = "";
    for await (const part of await local.chat({ model, messages, options, stream: true })) text += part.message.content;
    assert.equal(text, whole.message.content);
    assert.ok((await local.generate({ model, prompt: "Say hello.", options })).response);
    assert.equal((await local.embed({ model: "minilm", input: "a cat" })).embeddings[0].length, 384);
    await assert.rejects(local.chat({ model: "nobody", messages }));
  },
  async abort() {
    const stream = await chat({ stream: true, max_tokens: 500 });
    for await (const _ of stream) break;
    assert.ok((await chat()).choices[0].message.content);
  },
};

const failed = [];
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
  } catch (error) {
    failed.push(name);
    console.log(`--- ${name}\n${error.stack}`);
  }
}
const count = Object.keys(tests).length;
console.log(`ci/clients: node: ${count - failed.length} of ${count} pass`);
if (failed.length) process.exit(1);
