"""The `config.yaml` of vLLM Semantic Router, version v0.3 as of vllm-sr 0.4.0: written.

A caller sends the class as the metadata key `class` and asks for the model `auto`; a decision per
class names its model. Texts are escaped: `$` begins the name of an environment variable, `$$`
stands for itself.
"""

from __future__ import annotations

from typing import Any

from policies.decimals import plain
from policies.neighbours.expressed import Expressed, Part
from profiles.errors import InputError

VERSION = "v0.3"
CLASS_KEY = "class"
REFUSAL = "inferbudget-unknown-class"
_MOST_BYTES = 1024  # of a value of metadata that a request may carry


def write(expressed: Expressed, upstream: str) -> dict[str, Any]:
    """The content of a router's config.yaml.

    Raises:
        InputError: A name that the router cannot hold, or two prices of one model.
    """
    _require_names(expressed)
    models = models_of(expressed)
    timeout = {} if expressed.wall_s is None else {"timeout": f"{plain(expressed.wall_s)}s"}
    return {
        "version": VERSION,
        "listeners": [{"name": "http", "address": "0.0.0.0", "port": 8899, **timeout}],  # noqa: S104 - the router's own default, for its container
        "providers": {"models": [_provider(part, upstream) for part in models.values()]},
        "routing": {
            "strategy": "priority",
            "modelCards": [{"name": _escaped(model)} for model in models],
            "signals": {
                "metadata": [
                    {
                        "name": _escaped(name),
                        "key": CLASS_KEY,
                        "predicate": {"equals": _escaped(name)},
                    }
                    for name in expressed.classes
                ]
            },
            "decisions": [
                *(decision_of(name, parts) for name, parts in expressed.classes.items()),
                refusal(),
            ],
        },
    }


def _require_names(expressed: Expressed) -> None:
    taken = {REFUSAL: "the decision that refuses unknown classes"}
    for name, parts in expressed.classes.items():
        other = taken.setdefault(name.lower(), f"class {name!r}")
        got = None
        if len(parts) != 1 or not parts[0].model.strip():
            got = ", ".join(repr(part.model) for part in parts) or "no model"
        elif name.strip() != name or not name or "\0" in name or len(name.encode()) > _MOST_BYTES:
            got = repr(name)
        elif other != f"class {name!r}":
            got = f"the name of {other}"
        if got is not None:
            raise InputError(
                "vLLM Semantic Router cannot hold this class",
                where=f"class {name!r}",
                expected=f"one named model, and a name without space around it, of at most "
                f"{_MOST_BYTES} bytes, that differs from others in more than capitals",
                got=got,
                next_step="give the class another name, plan and compile again",
            )


def models_of(expressed: Expressed) -> dict[str, Part]:
    """The models by name, each with its prices.

    Raises:
        InputError: One has two prices.
    """
    models: dict[str, Part] = {}
    for (part,) in expressed.classes.values():
        known = models.setdefault(part.model, part)
        if (known.input_usd, known.output_usd) != (part.input_usd, part.output_usd):
            raise InputError("one model has two prices", where=f"model {part.model!r}")
    return models


def _provider(part: Part, upstream: str) -> dict[str, Any]:
    pricing = {
        "currency": "USD",
        "prompt_per_1m": part.input_usd,
        "completion_per_1m": part.output_usd,
    }
    known = part.input_usd is not None
    return {
        "name": _escaped(part.model),
        "provider_model_id": _escaped(part.model),
        **({"pricing": pricing} if known else {}),
        "backend_refs": [
            {
                "name": "upstream",
                "provider": "openai",
                "base_url": _escaped(upstream),
                "api_key_env": "OPENAI_API_KEY",
            }
        ],
    }


def decision_of(name: str, parts: tuple[Part, ...]) -> dict[str, Any]:
    """The decision that sends a class to its model."""
    (part,) = parts
    capped = {"default_max_tokens": part.max_tokens, "max_tokens_limit": part.max_tokens}
    limits = {**(capped if part.max_tokens is not None else {}), "max_n": 1}
    return {
        "name": _escaped(name),
        "priority": 100,
        "rules": {
            "operator": "AND",
            "conditions": [{"type": "metadata", "name": _escaped(name)}],
        },
        "modelRefs": [{"model": _escaped(part.model), "use_reasoning": False}],
        "plugins": [{"type": "request_params", "configuration": limits}],
    }


def refusal() -> dict[str, Any]:
    """The decision that answers what no class matched, with a fixed text and no call."""
    message = f"Unknown class: send one that the policy knows as metadata.{CLASS_KEY}."
    return {
        "name": REFUSAL,
        "priority": 1,
        "rules": {"operator": "AND", "conditions": []},
        "plugins": [{"type": "fast_response", "configuration": {"message": message}}],
    }


def _escaped(text: str) -> str:
    return text.replace("$", "$$")
