"""OpenAI's HTTP APIs on the wire: what is accepted, what is answered, how errors look."""

from runtime.openai.apis import APIS, Api, Asked, Events, user_of
from runtime.openai.bill import cost_text, nano_usd_text
from runtime.openai.chat import ChatRequest, ask_of, chat_form, least_body_bytes, read_chat
from runtime.openai.chat_replies import ChatChunks, completion_body
from runtime.openai.embeddings import (
    EmbeddingRequest,
    embedding_body,
    embedding_tokens_bound,
    read_embedding,
)
from runtime.openai.errors import error_body
from runtime.openai.models import model_body, models_body
from runtime.openai.reading import MAX_BODY_BYTES

__all__ = [
    "APIS",
    "MAX_BODY_BYTES",
    "Api",
    "Asked",
    "ChatChunks",
    "ChatRequest",
    "EmbeddingRequest",
    "Events",
    "ask_of",
    "chat_form",
    "completion_body",
    "cost_text",
    "embedding_body",
    "embedding_tokens_bound",
    "error_body",
    "least_body_bytes",
    "model_body",
    "models_body",
    "nano_usd_text",
    "read_chat",
    "read_embedding",
    "user_of",
]
