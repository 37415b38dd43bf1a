"""The `config.yaml` of LiteLLM's proxy, as of LiteLLM 1.106.2: written, and read back.

A class is a model group, whose deployments are dealt by weight. Weights count with
`simple-shuffle`; retries and cooldowns are off, since both move shares. One budget per provider
counts what was answered: all deployments are written for the provider `openai`, any
OpenAI-compatible server, so that this budget is the budget of all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from planner.spec import Window
from policies.decimals import exact
from policies.neighbours.expressed import Expressed, Part, SpendLimit
from policies.neighbours.reading import Reader
from profiles.errors import InputError

PROVIDER = "openai"
_MILLION = 10**6
_DURATIONS = {
    Window.SECOND.value: "1s",
    Window.MINUTE.value: "1m",
    Window.HOUR.value: "1h",
    Window.DAY.value: "1d",
    Window.WEEK.value: "7d",
    Window.MONTH.value: "1mo",
    Window.TOTAL.value: "36500d",  # a budget without a duration is not enforced
}
_WINDOWS = {duration: window for window, duration in _DURATIONS.items()}
_SETTINGS = {"routing_strategy": "simple-shuffle", "num_retries": 0, "disable_cooldowns": True}
_OTHERS = (
    "fallbacks",
    "default_fallbacks",
    "context_window_fallbacks",
    "content_policy_fallbacks",
    "model_group_alias",
    "enable_tag_filtering",
    "weights",
    "routing_groups",
    "retry_policy",
    "model_group_retry_policy",
)
_OTHER_PARAMS = ("tags", "tag_regex", "order", "n", "max_budget", "mock_response", "silent_model")


def write(expressed: Expressed, upstream: str) -> dict[str, Any]:
    """The content of a proxy's config.yaml.

    Raises:
        InputError: A name means something else to LiteLLM than itself.
    """
    settings: dict[str, Any] = dict(_SETTINGS)
    if expressed.spend:
        settings["provider_budget_config"] = {
            limit.provider or PROVIDER: {
                "budget_limit": limit.limit_usd,
                "time_period": _DURATIONS[limit.window],
            }
            for limit in expressed.spend
        }
    return {
        "model_list": [
            _deployment(name, part, expressed.wall_s, upstream)
            for name, parts in expressed.classes.items()
            for part in parts
        ],
        "router_settings": settings,
    }


def _deployment(name: str, part: Part, wall_s: float | None, upstream: str) -> dict[str, Any]:
    params = {
        "model": f"{PROVIDER}/{_literal(part.model, 'model')}",
        "api_base": upstream,
        "api_key": "os.environ/OPENAI_API_KEY",
        "weight": part.share,
        "max_tokens": part.max_tokens,
        "temperature": part.temperature,
        "top_p": part.top_p,
        "timeout": wall_s,
    }
    prices = {
        "input_cost_per_token": _per_token(part.input_usd),
        "output_cost_per_token": _per_token(part.output_usd),
    }
    prices = {key: value for key, value in prices.items() if value is not None}
    return {
        "model_name": _literal(name, "class"),
        "litellm_params": {key: value for key, value in params.items() if value is not None},
        **({"model_info": prices} if prices else {}),
    }


def _literal(name: str, what: str) -> str:
    if "*" in name or name.startswith("os.environ/") or not name.strip():
        raise InputError(
            f"LiteLLM takes the name of this {what} for something else",
            where=f"{what} {name!r}",
            expected="a name that is not blank, without *, and does not begin with os.environ/",
            got=repr(name),
            next_step=f"give the {what} another name, plan and compile again",
        )
    return name


def _per_token(usd_per_million: float | None) -> float | None:
    return None if usd_per_million is None else float(exact(usd_per_million) / _MILLION)


def _per_million(usd_per_token: float | None) -> float | None:
    return None if usd_per_token is None else float(exact(usd_per_token) * _MILLION)


def read(text: str, name: str) -> Expressed:
    """What a proxy's config.yaml says, people's edits included.

    A provider other than `openai` is no difference by itself; that a budget does not count it is.

    Raises:
        InputError: It is no such file.
    """
    reader = Reader(text, name)
    weighed: dict[str, list[tuple[Part, dict[str, Any]]]] = {}
    timeouts: set[float | None] = set()
    providers: set[str] = set()
    changed: list[str] = []
    for item, where in reader.items(reader.root.get("model_list"), "model_list"):
        params = reader.mapping(item.get("litellm_params"), f"{where}.litellm_params")
        provider, part = _part(reader, params, item, where)
        providers.add(provider)
        group = reader.text(item.get("model_name"), f"{where}.model_name")
        weighed.setdefault(group, []).append((part, params))
        timeouts.add(reader.number(params.get("timeout"), f"{where}.litellm_params.timeout"))
        changed += [f"{where}.litellm_params.{key}" for key in _OTHER_PARAMS if key in params]
    if len(timeouts) > 1:
        changed.append("model_list: timeouts that differ")
    settings = reader.mapping(reader.root.get("router_settings"), "router_settings")
    return Expressed(
        classes={group: tuple(_shared(reader, group, rows)) for group, rows in weighed.items()},
        spend=tuple(_limits(reader, settings, providers)),
        wall_s=next(iter(timeouts)) if len(timeouts) == 1 else None,
        changed=(*changed, *_changed(reader, settings)),
    )


def _part(
    reader: Reader, params: dict[str, Any], item: dict[str, Any], where: str
) -> tuple[str, Part]:
    at = f"{where}.litellm_params"
    provider, slash, model = reader.text(params.get("model"), f"{at}.model").partition("/")
    info = reader.mapping(item.get("model_info"), f"{where}.model_info")
    prices = [
        _per_million(reader.number(params.get(key, info.get(key)), f"{where}: {key}"))
        for key in ("input_cost_per_token", "output_cost_per_token")
    ]
    return provider if slash else "", Part(
        model=model if slash else provider,
        share=1.0,
        max_tokens=reader.whole(params.get("max_tokens"), f"{at}.max_tokens"),
        temperature=reader.number(params.get("temperature"), f"{at}.temperature"),
        top_p=reader.number(params.get("top_p"), f"{at}.top_p"),
        input_usd=prices[0],
        output_usd=prices[1],
    )


def _shared(reader: Reader, group: str, rows: list[tuple[Part, dict[str, Any]]]) -> Iterator[Part]:
    """Shares as `simple-shuffle` deals: by weight, else by rpm, else by tpm, else evenly."""
    weights = [exact(1.0)] * len(rows)
    for key in ("weight", "rpm", "tpm"):
        found = [
            exact(reader.number(params.get(key), f"model {group!r}: {key}") or 0.0)
            for _, params in rows
        ]
        if min(found) < 0:
            raise reader.refuse(f"model {group!r}: {key}", "at least 0", float(min(found)))
        if any(found):
            weights = found
            break
    total = sum(weights)
    for (part, _), weight in zip(rows, weights, strict=True):
        yield Part(**{**_fields(part), "share": float(weight / total)})


def _fields(part: Part) -> dict[str, Any]:
    return {key: getattr(part, key) for key in Part.__slots__}


def _limits(reader: Reader, settings: dict[str, Any], used: set[str]) -> Iterator[SpendLimit]:
    at = "router_settings.provider_budget_config"
    for provider, value in reader.mapping(settings.get("provider_budget_config"), at).items():
        found = reader.mapping(value, f"{at}.{provider}")
        limit = reader.number(
            found.get("budget_limit", found.get("max_budget")), f"{at}.{provider}.budget_limit"
        )
        if limit is None:
            continue
        period = str(found.get("time_period", found.get("budget_duration")))
        everything = used == {provider}
        yield SpendLimit(
            limit, _WINDOWS.get(period, repr(period)), None if everything else provider
        )


def _changed(reader: Reader, settings: dict[str, Any]) -> Iterator[str]:
    for key, value in _SETTINGS.items():
        if (found := settings.get(key)) != value or type(found) is not type(value):
            yield f"router_settings.{key}: {json.dumps(found, default=str)}"
    module = reader.mapping(reader.root.get("litellm_settings"), "litellm_settings")
    for section, values in (("router_settings", settings), ("litellm_settings", module)):
        yield from (f"{section}.{key}" for key in _OTHERS if values.get(key))
    if module.get("num_retries"):
        yield "litellm_settings.num_retries"
