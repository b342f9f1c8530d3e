# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A minimal inference API on uvicorn: it reads a JSON body and answers at once, in one piece or as
a stream of max_tokens events. It is plain ASGI, so that the benchmark measures uvicorn."""

import json

PLAIN = b'{"choices":[{"message":{"role":"assistant","content":"hello"}}]}'
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":" token"}}]}\n\n'


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    request = json.loads(body or b"{}")
    streamed = request.get("stream")
    kind = b"text/event-stream" if streamed else b"application/json"
    headers = [(b"content-type", kind)]
    if not streamed:
        headers.append((b"content-length", str(len(PLAIN)).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if streamed:
        for _ in range(request.get("max_tokens", 32)):
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
    else:
        await send({"type": "http.response.body", "body": PLAIN})
