// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Sends a request by the official OpenAI client: openai.mjs MODULES BASE-URL MODEL RETRIES
// plain|stream.
// Prints one JSON object: the text, or the class of the thrown error with its headers.
import { createRequire } from "node:module";

const [modules, baseURL, model, retries, how] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { OpenAI } = require("openai");
const maxRetries = Number(retries);
const client = new OpenAI({ apiKey: "sk-dummy", baseURL, maxRetries, timeout: 20000 });
const out = { text: null, chunks: 0, error: null };

try {
  const body = { model, messages: [{ role: "user", content: "hello" }], max_tokens: 4 };
  if (how === "stream") {
    out.text = "";
    for await (const chunk of await client.chat.completions.create({ ...body, stream: true })) {
      out.chunks++;
      out.text += chunk.choices[0]?.delta?.content ?? "";
    }
  } else {
    out.text = (await client.chat.completions.create(body)).choices[0].message.content;
  }
} catch (error) {
  out.error = error.constructor.name;
  out.status = error.status ?? null;
  out.code = error.code ?? null;
  out.type = error.type ?? null;
  out.message = error.message;
  out.headers = error.headers ? Object.fromEntries(error.headers.entries()) : null;
}
console.log(JSON.stringify(out));
