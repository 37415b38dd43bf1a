"""OpenAI's own Python client understands every reply, stream, call of a tool and error."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai as client_library
import pytest
import uvicorn
from openai_answers import CALL, SCHEMA, TOOL, Scripted, answered

from profiles.errors import InputError
from runtime import openai
from runtime.upstream import ChatCall, Completion

TEXT = "four, that is 2 + 2 😀"
USER: Any = {"role": "user", "content": "two and two"}
EVENTS = [(b"content-type", b"text/event-stream")]
JSON = [(b"content-type", b"application/json")]


def scripted(call: ChatCall) -> Completion:
    """Calls a tool where one is offered, until it was told what the tool gave back."""
    told = any(message.role == "tool" for message in call.messages)
    if call.tools and not told:
        return Completion(("",), 19, 4, ("tool_calls",), 0.0, tool_calls=((CALL,),))
    text = '{"sum": 4}' if call.response_format else TEXT
    if call.on_text:
        for start in range(0, len(text), 5):
            call.on_text(text[start : start + 5])
    return Completion((text,), 19, 4, ("length" if call.max_tokens < 4 else "stop",), 0.0)


class TinyGateway:
    """Readers and writers around one strategy, and no budget."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = b""
        while scope["type"] == "http":
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        status, headers, content = await self.reply(scope["path"], body)
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": content})

    async def reply(self, path: str, body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        if path == "/v1/models":
            return 200, JSON, openai.models_body(("inferbudget",))
        if path.startswith("/v1/models/"):
            return 200, JSON, openai.model_body(path.removeprefix("/v1/models/"))
        if path == "/v1/embeddings":
            return 200, JSON, self.embedded(openai.read_embedding(body))
        api = openai.APIS[path]
        try:
            return await self.answer(api, body)
        except InputError as error:
            return 400, JSON, openai.error_body(400, str(error))

    async def answer(
        self, api: openai.Api[Any], body: bytes
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        request = api.read(body)
        if request.model == "busy":
            return 429, JSON, openai.error_body(429, "no room now", "budget_exhausted")
        pieces: list[str] = []
        found = await answered(api, request, Scripted(scripted), on_text=pieces.append)
        if not request.stream:
            return 200, JSON, api.body(request, found, "inferbudget")
        events = api.events(request, "abc", "inferbudget")
        sent = events.opening() + b"".join(map(events.text, pieces))
        if request.model == "broken":
            return 200, EVENTS, sent + events.failure(openai.error_body(502, "the upstream failed"))
        return 200, EVENTS, sent + events.closing(found)

    def embedded(self, asked: openai.EmbeddingRequest) -> bytes:
        data = [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}]
        usage = {"prompt_tokens": openai.embedding_tokens_bound(asked), "total_tokens": 1}
        return json.dumps(
            {"object": "list", "data": data, "model": asked.model, "usage": usage}
        ).encode()


@asynccontextmanager
async def connected(*, strict: bool = True) -> AsyncIterator[client_library.AsyncOpenAI]:
    """A client; a strict one refuses replies that are not of the types which it documents."""
    config = uvicorn.Config(TinyGateway(), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        # Not serve(): it would take over the signal handlers of the test process.
        task = asyncio.create_task(server._serve([listener]))
        base = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        async with client_library.AsyncOpenAI(
            base_url=base, api_key="k", max_retries=0, _strict_response_validation=strict
        ) as client:
            yield client
        server.should_exit = True
        await task


@pytest.mark.asyncio
async def test_chat_completions() -> None:
    async with connected() as client:
        found = await client.chat.completions.create(model="inferbudget", messages=[USER])
        assert found.choices[0].message.content == TEXT
        assert found.choices[0].finish_reason == "stop"
        assert found.usage is not None
        assert found.usage.total_tokens == 23
        cut = await client.chat.completions.create(model="m", messages=[USER], max_tokens=1)
        assert cut.choices[0].finish_reason == "length"


@pytest.mark.asyncio
async def test_chat_completions_as_streams() -> None:
    async with connected() as client:
        stream = await client.chat.completions.create(
            model="m", messages=[USER], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        said = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
        assert "".join(said) == TEXT
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 4
        async with client.chat.completions.stream(model="m", messages=[USER]) as whole:
            final = await whole.get_final_completion()
        assert final.choices[0].message.content == TEXT


@pytest.mark.asyncio
async def test_a_conversation_with_a_tool() -> None:
    async with connected() as client:
        asked: Any = {"model": "m", "tools": [TOOL], "tool_choice": "auto"}
        found = await client.chat.completions.create(messages=[USER], **asked)
        message = found.choices[0].message
        assert found.choices[0].finish_reason == "tool_calls"
        assert message.tool_calls is not None
        (call,) = message.tool_calls
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"city": "Zürich"}
        told: Any = {"role": "tool", "tool_call_id": call.id, "content": "7 degrees"}
        said: Any = message.model_dump(exclude_unset=True)
        after = await client.chat.completions.create(messages=[USER, said, told], **asked)
        assert after.choices[0].message.content == TEXT


@pytest.mark.asyncio
async def test_calls_of_tools_in_streams() -> None:
    async with connected() as client:
        tools: Any = [TOOL]
        async with client.chat.completions.stream(
            model="m", messages=[USER], tools=tools
        ) as stream:
            final = await stream.get_final_completion()
        calls = final.choices[0].message.tool_calls
        assert calls is not None
        assert [(call.id, call.function.name) for call in calls] == [("call_1", "weather")]
        assert json.loads(calls[0].function.arguments) == {"city": "Zürich"}


@pytest.mark.asyncio
async def test_formats_of_replies() -> None:
    async with connected() as client:
        named: Any = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}}
        found = await client.chat.completions.create(
            model="m", messages=[USER], response_format=named
        )
        assert json.loads(found.choices[0].message.content or "") == {"sum": 4}
        text: Any = {"format": {"type": "json_schema", "name": "sum", "schema": SCHEMA}}
        response = await client.responses.create(model="m", input="two and two", text=text)
        assert json.loads(response.output_text) == {"sum": 4}


@pytest.mark.asyncio
async def test_completions_whole_and_as_streams() -> None:
    async with connected() as client:
        found = await client.completions.create(model="m", prompt="two and two", max_tokens=9)
        assert found.choices[0].text == TEXT
    # OpenAI sends a finish_reason of null before the end, which the client's types do not know
    async with connected(strict=False) as client:
        stream = await client.completions.create(model="m", prompt="two and two", stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].text for chunk in chunks) == TEXT
        assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.asyncio
async def test_responses_whole_and_as_streams() -> None:
    async with connected() as client:
        found = await client.responses.create(model="m", input="two and two", instructions="kind")
        assert (found.output_text, found.status) == (TEXT, "completed")
        assert found.usage is not None
        assert (found.usage.input_tokens, found.usage.output_tokens) == (19, 4)
        async with client.responses.stream(model="m", input="two and two") as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
        assert final.output_text == TEXT
        cut = await client.responses.create(model="m", input="x", max_output_tokens=1)
        assert cut.incomplete_details is not None
        assert cut.incomplete_details.reason == "max_output_tokens"


@pytest.mark.asyncio
async def test_a_response_with_a_tool_goes_on_with_its_own_items() -> None:
    tools: Any = [{"type": "function", "strict": True, **TOOL["function"]}]
    async with connected() as client:
        async with client.responses.stream(model="m", input="weather?", tools=tools) as stream:
            found = await stream.get_final_response()
        (call,) = found.output
        assert call.type == "function_call"
        assert json.loads(call.arguments) == {"city": "Zürich"}
        items: Any = [{"role": "user", "content": "weather?"}, call.model_dump(exclude_unset=True)]
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": "7"})
        after = await client.responses.create(model="m", input=items, tools=tools)
        assert after.output_text == TEXT
        items += [item.model_dump(exclude_unset=True) for item in after.output]
        items.append({"role": "user", "content": "thanks"})
        assert (await client.responses.create(model="m", input=items)).output_text == TEXT


@pytest.mark.asyncio
async def test_embeddings_and_models() -> None:
    async with connected() as client:
        found = await client.embeddings.create(model="small", input=["a"], encoding_format="float")
        assert found.data[0].embedding == [0.5, 1.0]
        assert [model.id async for model in client.models.list()] == ["inferbudget"]
        assert (await client.models.retrieve("inferbudget")).owned_by == "inferbudget"


@pytest.mark.asyncio
async def test_errors_of_every_api() -> None:
    async with connected() as client:
        several: Any = {"n": 2}
        with pytest.raises(client_library.BadRequestError, match="n other than 1") as refused:
            await client.chat.completions.create(model="m", messages=[USER], **several)
        assert refused.value.type == "invalid_request_error"
        with pytest.raises(client_library.BadRequestError, match="suffix is not supported"):
            await client.completions.create(model="m", prompt="x", suffix="y")
        with pytest.raises(client_library.BadRequestError, match="previous_response_id"):
            await client.responses.create(model="m", input="x", previous_response_id="resp_1")
        with pytest.raises(client_library.RateLimitError, match="no room now") as busy:
            await client.responses.create(model="busy", input="x")
        assert busy.value.code == "budget_exhausted"


@pytest.mark.asyncio
async def test_streams_that_fail_on_the_way() -> None:
    async with connected(strict=False) as client:
        chat = await client.chat.completions.create(model="broken", messages=[USER], stream=True)
        with pytest.raises(client_library.APIError, match="the upstream failed"):
            async for _ in chat:
                pass
        texts = await client.completions.create(model="broken", prompt="x", stream=True)
        with pytest.raises(client_library.APIError, match="the upstream failed"):
            async for _ in texts:
                pass
        events = await client.responses.create(model="broken", input="x", stream=True)
        last = [event async for event in events][-1]
        assert last.type == "response.failed"
        assert last.response.error is not None
        assert last.response.error.message == "the upstream failed"
