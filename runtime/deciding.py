"""A decision and nothing else: no money is held and nobody called; the base install is enough."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from planner.spec import Caps
from policies.bounds import token_cap
from policies.fallbacks import fallbacks
from policies.file import CompiledPolicy
from policies.policy import Policy
from policies.verify import read_enforceable
from profiles.errors import BudgetRefusedError, InputError, UnknownValueError
from profiles.money import to_usd
from profiles.request_bound import bound_nano_usd
from profiles.strategy import parse
from runtime.chat import Prompt, chat_of, question_of
from runtime.decision import UNIFORM_BITS, Decision, DecisionSession, text_and_label
from runtime.embedding import embed_all, open_encoder
from runtime.ledger import limit_nano_usd
from runtime.prompt_bound import prompt_tokens_bound


class OpenPolicy:
    """A policy that may be obeyed, with its decision graph loaded: open it once, decide often.

    Args:
        policy: The policy's file, whose graph lies beside it, or what the compiler made.
        encoder: Folder of the encoder that the policy names.

    Attributes:
        policy: What it says.
        decider: Its graph.
        encoder: Reads the prompts; None where the policy names none.

    Raises:
        RefusedPolicyError: The policy's file was touched.
        InputError: Policy, graph or encoder cannot be used.
    """

    def __init__(
        self, policy: str | Path | CompiledPolicy, *, encoder: str | Path | None = None
    ) -> None:
        if isinstance(policy, CompiledPolicy):
            self.policy: Policy = policy.policy
            self.decider = DecisionSession(self.policy, policy.graph)
        else:
            path = Path(policy)
            self.policy = read_enforceable(path)
            self.decider = DecisionSession(self.policy, self.policy.graph_path(path))
        self.encoder = open_encoder(self.policy, None if encoder is None else Path(encoder))


@dataclass(frozen=True, slots=True)
class PricedDecision:
    """How a policy would have one request answered, and what that costs at most.

    Attributes:
        class_name: Its difficulty class.
        rung: Step of the ladder that decided, 0 is the plan as asked.
        strategy: Canonical text of the strategy.
        max_tokens: Cap on the completion tokens of every call that the strategy leaves open; None
            where nobody caps them.
        most_usd: The most dollars that it can cost; None where a price or a cap is missing.
        expected_cost_usd: Mean measured dollars of such a request; None where unknown.
        caps: What the policy allows any one request; None where it says nothing.
    """

    class_name: str
    rung: int
    strategy: str
    max_tokens: int | None
    most_usd: float | None
    expected_cost_usd: float | None
    caps: Caps | None


def decide(
    policy: str | Path | CompiledPolicy | OpenPolicy,
    prompt: Prompt,
    *,
    label: str | None = None,
    rung: int = 0,
    max_tokens: int | None = None,
    uniform: float | None = None,
) -> PricedDecision:
    """Decide one request as a gateway with enough money does; no money is held.

    Args:
        policy: As of `OpenPolicy`; a file is read and its graph loaded anew by every call.
        prompt: A question, or a chat.
        label: The class or label, for policies that sort by one.
        rung: Step of the ladder; beyond its end counts as the end.
        max_tokens: Lowers the policy's cap.
        uniform: Draws among the strategies of a class, in [0, 1); at random where absent.

    Raises:
        RefusedPolicyError: The policy's file was touched.
        InputError: The policy cannot be used, the label is missing or unknown, the prompt is no
            chat, or `max_tokens` leaves no strategy room.
        BudgetRefusedError: Every strategy may cost more than one request may.
    """
    opened = policy if isinstance(policy, OpenPolicy) else OpenPolicy(policy)
    question, prompt_tokens = _read(prompt)
    text, by_label = text_and_label(opened.policy, question, label)
    vector = embed_all(opened.encoder, [question])[0] if opened.encoder else None
    drawn = secrets.randbits(UNIFORM_BITS) / 2**UNIFORM_BITS if uniform is None else uniform
    found = opened.decider.decide(text, rung, drawn, by_label, vector)
    return _priced(opened.policy, found, prompt_tokens, max_tokens)


def _read(prompt: Prompt) -> tuple[str, int]:
    """The question, and the most tokens of the whole prompt."""
    messages = chat_of(prompt)
    return question_of(messages), prompt_tokens_bound(messages)


def _priced(
    policy: Policy, drawn: Decision, prompt_tokens: int, max_tokens: int | None
) -> PricedDecision:
    """The strategy drawn, or the first substitute that one request may be answered by."""
    usd = policy.caps.usd if policy.caps else None
    most = None if usd is None else limit_nano_usd(usd)
    entries = {entry.text: entry for entry in policy.strategies}
    unfit: InputError | None = None
    for text in fallbacks(policy.strategies, drawn.class_name, drawn.strategy):
        cap = token_cap(entries[text], policy.caps, prompt_tokens, max_tokens)
        try:
            bound = bound_nano_usd(parse(text), prompt_tokens, cap, policy.prices)
        except UnknownValueError:
            bound = None
        except InputError as error:
            unfit = unfit or error
            continue
        if bound is None or most is None or bound <= most:
            return PricedDecision(
                class_name=drawn.class_name,
                rung=drawn.rung,
                strategy=text,
                max_tokens=cap,
                most_usd=None if bound is None else to_usd(bound),
                expected_cost_usd=entries[text].cost_usd(drawn.class_name),
                caps=policy.caps,
            )
    raise unfit or BudgetRefusedError(f"every strategy may cost more than caps.usd, {usd}")
