"""The `config.yaml` of vLLM Semantic Router, people's edits included: what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from policies.neighbours.expressed import Expressed, Part
from policies.neighbours.reading import Reader
from policies.neighbours.semantic_router_config import CLASS_KEY, VERSION, decision_of, refusal

_LITERAL = re.compile(r"(?:[^$]|\$\$)*\Z")
_SECONDS = re.compile(r"([0-9]+(?:\.[0-9]+)?)s\Z")


def read(text: str, name: str) -> Expressed:
    """What a router's config.yaml says, people's edits included.

    Raises:
        InputError: It is no such file, or a name comes from the environment.
    """
    reader = _Reader(text, name)
    routing = reader.mapping(reader.root.get("routing"), "routing")
    models = dict(reader.models())
    classes: dict[str, tuple[Part, ...]] = {}
    sent = dict(reader.classes(routing))
    decisions = list(reader.items(routing.get("decisions"), "routing.decisions"))
    for item, where in decisions:
        if item != refusal():
            reader.decision(item, where, sent, models, classes)
    if not any(item == refusal() for item, _ in decisions):
        reader.changed.append("routing.decisions: nothing refuses unknown classes")
    if reader.root.get("version") != VERSION:
        reader.changed.append(f"version: {reader.root.get('version')!r}")
    if routing.get("strategy") != "priority":
        reader.changed.append(f"routing.strategy: {routing.get('strategy')!r}")
    for section, keys in (
        (reader.root, ("entrypoints", "recipes", "global")),
        (routing, ("fallback", "projections", "model_bindings", "candidate_requirements")),
    ):
        reader.changed += [key for key in keys if section.get(key)]
    return Expressed(classes, wall_s=reader.wall_s(), changed=tuple(reader.changed))


class _Reader(Reader):
    """A router's file; what no export writes is noted as changed."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text, name)
        self.changed: list[str] = []

    def name_at(self, value: object, where: str) -> str:
        """A text as the router takes it."""
        text = self.text(value, where)
        if not _LITERAL.match(text):
            raise self.refuse(where, "a text that no environment variable changes", text)
        return text.replace("$$", "$")

    def models(self) -> Iterator[tuple[str, Part]]:
        """The routed names of models, each with the provider's and with prices."""
        providers = self.mapping(self.root.get("providers"), "providers")
        for item, where in self.items(providers.get("models"), "providers.models"):
            name = self.name_at(item.get("name"), f"{where}.name")
            pricing = self.mapping(item.get("pricing"), f"{where}.pricing")
            if pricing and pricing.get("currency", "USD") != "USD":
                self.changed.append(f"{where}.pricing.currency: {pricing['currency']!r}")
            prices = [
                self.number(pricing.get(key), f"{where}.pricing.{key}")
                for key in ("prompt_per_1m", "completion_per_1m")
            ]
            model = self.name_at(item.get("provider_model_id", item["name"]), where)
            yield name, Part(model, 1.0, input_usd=prices[0], output_usd=prices[1])

    def classes(self, routing: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Names of rules and the classes that they stand for."""
        signals = self.mapping(routing.get("signals"), "routing.signals")
        self.changed += [f"routing.signals.{key}" for key in signals if key != "metadata"]
        for item, where in self.items(signals.get("metadata"), "routing.signals.metadata"):
            predicate = self.mapping(item.get("predicate"), f"{where}.predicate")
            if item.get("key") != CLASS_KEY or set(predicate) != {"equals"}:
                self.changed.append(f"{where}: not the metadata key {CLASS_KEY!r}")
                continue
            name = self.name_at(item.get("name"), f"{where}.name")
            yield name, self.name_at(predicate["equals"], f"{where}.predicate.equals")

    def decision(
        self,
        item: dict[str, Any],
        where: str,
        sent: dict[str, str],
        models: dict[str, Part],
        classes: dict[str, tuple[Part, ...]],
    ) -> None:
        """A decision as the class that it answers."""
        rules = self.mapping(item.get("rules"), f"{where}.rules")
        conditions = [one for one, _ in self.items(rules.get("conditions"), f"{where}.rules")]
        rule = conditions[0].get("name") if len(conditions) == 1 else None
        name = sent.get(self.name_at(rule, f"{where}.rules")) if rule is not None else None
        refs = [one for one, _ in self.items(item.get("modelRefs"), f"{where}.modelRefs")]
        plain_rule = rules.get("operator") == "AND" and rule is not None
        plain_rule = plain_rule and conditions[0] == {"type": "metadata", "name": rule}
        if name is None or name in classes or not plain_rule or len(refs) != 1:
            self.changed.append(f"{where}: not one model for one class")
            return
        model = models.get(self.name_at(refs[0].get("model"), f"{where}.modelRefs"))
        if model is None:
            raise self.refuse(f"{where}.modelRefs", "a model of providers.models", refs[0])
        written = decision_of(name, (Part(model.model, 1.0),))
        self.changed += [
            f"{where}.{key}"
            for key in sorted({*item, *written} - {"name", "description", "plugins", "modelRefs"})
            if key not in written or (key != "rules" and item.get(key) != written[key])
        ]
        if set(refs[0]) - {"model", "use_reasoning"} or refs[0].get("use_reasoning"):
            self.changed.append(f"{where}.modelRefs: more than a model's name")
        cap = self.cap(item, where)
        classes[name] = (
            Part(
                model.model,
                1.0,
                max_tokens=cap,
                input_usd=model.input_usd,
                output_usd=model.output_usd,
            ),
        )

    def cap(self, item: dict[str, Any], where: str) -> int | None:
        """The cap on completion tokens of a decision."""
        caps: list[int | None] = []
        for plugin, at in self.items(item.get("plugins"), f"{where}.plugins"):
            if plugin.get("type") != "request_params":
                self.changed.append(f"{at}: {plugin.get('type')!r}")
                continue
            found = self.mapping(plugin.get("configuration"), f"{at}.configuration")
            limit = self.whole(found.get("max_tokens_limit"), f"{at}.max_tokens_limit")
            if found.get("default_max_tokens") != limit or found.get("max_n") != 1:
                self.changed.append(f"{at}: default_max_tokens or max_n")
            caps.append(limit)
        if len(caps) != 1:
            self.changed.append(f"{where}.plugins: not one request_params")
        return caps[0] if caps else None

    def wall_s(self) -> float | None:
        """The listeners' timeout."""
        listeners = self.items(self.root.get("listeners"), "listeners")
        timeouts = {str(item["timeout"]) if "timeout" in item else None for item, _ in listeners}
        if len(timeouts) > 1:
            self.changed.append("listeners: timeouts that differ")
        text = next(iter(timeouts)) if len(timeouts) == 1 else None
        if text is None:
            return None
        match = _SECONDS.match(text)
        if match is None:
            self.changed.append(f"listeners: timeout {text!r}")
        return float(match.group(1)) if match else None
