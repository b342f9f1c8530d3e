// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Sends a request by an official client:
// clients.mjs MODULES anthropic|ollama URL MODEL plain|stream.
// Prints one JSON object: the text, or the class of the thrown error with its fields.
import { createRequire } from "node:module";

const [modules, api, url, model, how] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const messages = [{ role: "user", content: "hello" }];
const stream = how === "stream";
const out = { text: null, error: null };

async function anthropic() {
  const { Anthropic } = require("@anthropic-ai/sdk");
  const client = new Anthropic({ apiKey: "sk-dummy", baseURL: url, maxRetries: 0, timeout: 20000 });
  const answer = await client.messages.create({ model, messages, max_tokens: 4, stream });
  return JSON.stringify(answer);
}

async function ollama() {
  const { Ollama } = require("ollama");
  const answer = await new Ollama({ host: url }).chat({ model, messages, stream });
  return JSON.stringify(answer);
}

try {
  out.text = await { anthropic, ollama }[api]();
} catch (error) {
  out.error = error.constructor.name;
  out.status = error.status ?? error.status_code ?? null;
  out.body = error.error ?? null;
  out.message = error.message;
  out.headers = error.headers ? Object.fromEntries(error.headers.entries()) : null;
}
console.log(JSON.stringify(out));
