// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Pipelines POST requests by undici: undici.mjs MODULES ORIGIN MODEL N DEPTH. Prints one JSON
// object: the statuses.
import { createRequire } from "node:module";

const [modules, origin, model, n, depth] = process.argv.slice(2);
const { Client } = createRequire(`${modules}/`)("undici");
const client = new Client(origin, { pipelining: Number(depth) });
const body = JSON.stringify({ model, messages: [], max_tokens: 2 });

async function send() {
  const { statusCode, body: response } = await client.request({
    path: "/v1/chat/completions",
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
    idempotent: true, // undici pipelines no other requests
    blocking: false,
  });
  await response.text();
  return statusCode;
}

const statuses = await Promise.all(Array.from({ length: Number(n) }, send));
await client.close();
console.log(JSON.stringify({ statuses }));
