# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A small inference API for uvicorn: streams of fixed tokens, plain answers, errors. GET /seen
returns the number of whole requests that its handlers received. Two handlers answer without reading
the body: one streams as soon as three requests are there, one denies."""

import asyncio
import json

from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

seen = {"requests": 0}


async def chat(request):
    body = await request.json()  # the handler starts after the head; here the body is complete
    seen["requests"] += 1
    await asyncio.sleep(0.1)
    if body.get("fail"):
        return JSONResponse({"error": "no such thing"}, status_code=404)
    if not body.get("stream"):
        return JSONResponse({"choices": [{"message": {"role": "assistant", "content": "hello"}}]})

    async def events():
        yield 'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
        await asyncio.sleep(0.1)
        for i in range(body.get("max_tokens", 10)):
            yield "data: " + json.dumps({"choices": [{"delta": {"content": f"t{i} "}}]}) + "\n\n"
            await asyncio.sleep(0.015)
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


three = asyncio.Barrier(3)


async def early(request):
    await three.wait()

    async def events():
        while True:
            yield 'data: {"choices":[{"delta":{"content":"t "}}]}\n\n'
            await asyncio.sleep(0.02)

    return StreamingResponse(events(), media_type="text/event-stream")


async def denied(request):
    return JSONResponse({"error": "who are you"}, status_code=401)


async def show(request):
    return JSONResponse(seen)


app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"]),
                        Route("/v1/early", early, methods=["POST"]),
                        Route("/v1/denied", denied, methods=["POST"]),
                        Route("/seen", show)])
