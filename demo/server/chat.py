"""The chat completion request: its fields, their limits, and the template of the models."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from demo.server.errors import ApiError
from demo.server.job import Job, Sampling, Usage
from demo.server.model import LanguageModel

#: Fields of OpenAI's that would change the answer and that these models cannot honour, with the
#: values that ask for nothing.
UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "audio": (),
    "modalities": (["text"],),
}


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class TextPart(_Body):
    """A part of a message's content; only text is understood."""

    type: Literal["text"]
    text: str


class Message(_Body):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None

    def text(self) -> str:
        """The content as one string."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(_Body):
    """What a stream carries beside the text."""

    include_usage: bool = False


Stop = Annotated[str, Field(min_length=1)]


class ChatRequest(_Body):
    """The fields that are honoured."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    n: Annotated[int, Field(ge=1, le=64)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage


def parse(body: bytes) -> ChatRequest:
    """Read a request.

    Raises:
        ApiError: 400, with the first field at fault as `param`.
    """
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None
    for name, value in (request.model_extra or {}).items():
        if name in UNSUPPORTED and value is not None and value not in UNSUPPORTED[name]:
            raise ApiError(
                400, f"{name} is not supported by this server", name, "unsupported_parameter"
            )
    if request.stream_options is not None and not request.stream:
        raise ApiError(400, "stream_options needs stream: true", "stream_options")
    return request


def job_of(request: ChatRequest, model: LanguageModel, settle: Callable[[Usage], None]) -> Job:
    """Apply the chat template and fill in the defaults.

    The template feeds the text of the last user message, and nothing else, to the model; what
    it drops is neither read nor counted. `max_tokens` beyond the model's room means that room.

    Raises:
        ApiError: 400 when no user message has text, or when it is longer than the model's prompt.
    """
    texts = [message.text() for message in request.messages if message.role == "user"]
    if not texts or not texts[-1].strip():
        raise ApiError(400, "expected text in the last message with role user", "messages")
    prompt = model.encode(texts[-1].strip())
    if len(prompt) > model.max_prompt_tokens:
        raise ApiError(
            400,
            f"{model.name} reads at most {model.max_prompt_tokens} tokens, one per character; the "
            f"last user message has {len(prompt)}. Shorten it.",
            "messages",
            "context_length_exceeded",
        )
    return Job(prompt, _sampling(request, model.max_new_tokens), bool(request.stream), settle)


def _sampling(request: ChatRequest, room: int) -> Sampling:
    asked = request.max_completion_tokens or request.max_tokens or room
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    return Sampling(
        n=request.n or 1,
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        seed=secrets.randbits(63) if request.seed is None else request.seed,
        max_tokens=min(asked, room),
        stop=tuple(stop),
    )


def _refusal(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is not valid JSON: {first['msg']}")
    if not first["loc"]:
        return ApiError(400, "the body must be a JSON object")
    where = ".".join(str(part) for part in first["loc"])
    param = str(first["loc"][0])
    return ApiError(400, f"{where}: {first['msg']}", param, "invalid_value")
