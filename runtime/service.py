"""The life of a request, without HTTP: class, rung, strategy, bound, hold, run, settle."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from typing import Literal

import msgspec
from msgspec.structs import replace

from policies.policy import Policy
from profiles.money import PriceCard
from runtime import pacing
from runtime.caller import Chat, HeldCaller
from runtime.chat import PLAIN, ReplyForm
from runtime.decision import UNIFORM_BITS, Decision, DecisionSession, Vector, text_and_label
from runtime.envelope import Envelope
from runtime.gathering import Gathering, Question
from runtime.ledger import Hold, Ledger
from runtime.logs import REQUEST_ID
from runtime.offers import Offer, Offers, admit_first
from runtime.policy_budgets import forecasts, scopes
from runtime.strategies import Outcome, Request, Tools
from runtime.strategies.attempt import Bill
from runtime.tenants.identity import Identity
from runtime.tenants.request_limits import RequestLimits
from runtime.tenants.users import UserAccounts
from runtime.upstream import Message

LONG_TEXT = 8_192
"""Characters that are decided in about 2 ms, whatever the script; 1 MiB takes 0.1 to 0.3 s.

A longer prompt is decided in a thread: ONNX Runtime lets the event loop go on meanwhile."""


class Ask(msgspec.Struct, frozen=True):
    """A request as it arrived.

    Attributes:
        messages: The chat so far.
        prompt_text: What is sorted into a class and shown to verifiers.
        label: The class or label that the caller sent, for policies that sort by one.
        max_tokens: The client's cap; it only ever lowers the policy's.
        temperature: The client's wish; counts where the strategy sets none.
        top_p: The client's wish; counts where the strategy sets none.
        seed: The client's seed; drawn at random where absent.
        stop: Texts that end an answer.
        on_text: Is given the answer's text piece by piece where the strategy can, and must not
            raise.
        form: What the reply is to be; only strategies that pass a reply through serve one that is
            not plain.
        identity: Whose budgets and limits count beside the policy's.
    """

    messages: tuple[Message, ...]
    prompt_text: str
    label: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    on_text: Callable[[str], None] | None = None
    form: ReplyForm = PLAIN
    identity: Identity | None = None


class Served(msgspec.Struct, frozen=True):
    """An answer with everything that led to it.

    Attributes:
        request_id: Ours, unique.
        class_name: Difficulty class.
        strategy: Canonical text of the strategy that answered.
        rung: Step of the ladder that decided.
        downgraded: True where the strategy drawn did not fit the money, and another one answered.
        outcome: The answer and its bill.
    """

    request_id: str
    class_name: str
    strategy: str
    rung: int
    downgraded: bool
    outcome: Outcome

    @property
    def ending(self) -> Literal["incomplete", "downgraded", "answered"]:
        """In one word, the worst first: ``incomplete``, ``downgraded`` or ``answered``."""
        if not self.outcome.finished:
            return "incomplete"
        return "downgraded" if self.downgraded else "answered"


class _Held(msgspec.Struct, frozen=True):
    """A strategy that fits the money, with its hold and what it is asked."""

    strategy: str
    hold: Hold
    request: Request


class Run:
    """A request that holds its money and is being answered.

    Attributes:
        request_id: Ours, unique.
        class_name: Difficulty class.
        strategy: Canonical text of the strategy that answers.
        rung: Step of the ladder that decided.
        task: Ends with the answer, after the hold is settled.
        left: Nobody waits any more.
        held_nano_usd: What was reserved.
    """

    def __init__(
        self, decision: Decision, held: _Held, caller: HeldCaller, task: asyncio.Task[Served]
    ) -> None:
        self.request_id = held.hold.request_id
        self.class_name = decision.class_name
        self.strategy = held.strategy
        self.rung = decision.rung
        self.task = task
        self.left = False
        self.held_nano_usd = held.hold.left_nano_usd
        self._hold = held.hold
        self._caller = caller

    @property
    def bill(self) -> Bill:
        """What its calls came to so far."""
        return self._caller.bill

    @property
    def charged_nano_usd(self) -> int:
        """What was charged so far."""
        return self._hold.charged.nano_usd

    def abandon(self, drain_s: float) -> None:
        """Nobody waits any more: no further call starts, calls in flight may end by themselves.

        Args:
            drain_s: Seconds until a call in flight is given up, and charged at its bound if it may
                have been sent.
        """
        self.left = True
        self._caller.stop()
        timer = self.task.get_loop().call_later(drain_s, self.task.cancel)
        self.task.add_done_callback(lambda _: timer.cancel())


class Service:
    """Answers requests as the policy says and keeps its budgets.

    The strategy of a request is drawn with a random number that no client can choose: were it
    derived from an id that clients send, they could pick the dearest strategy by trying ids.

    Args:
        policy: The policy; every model in it needs a price and every strategy a cap.
        decider: Its decision graph.
        upstream: Where the calls go.
        tools: Verifiers and extractor that the strategies name.
        clock: Unix time in seconds.
        seed: For reproducible draws in tests; the system's random numbers where absent.
        ledger: Keeps the budgets, of the policy and of everybody who asks; one of its own where
            absent, with the policy's.
        users: Opens users' accounts in that ledger.
        counts_tokens: Whether budgets count tokens.
        gpu_seconds: GPU-seconds per million tokens of every model, where budgets count them; a card
            like that of prices.
        pacer: Of a service with the same policy whose place it takes.

    Raises:
        InputError: A strategy cannot be executed.
        UnknownValueError: A price, a cap on completion tokens or a budget's limit is missing.
    """

    def __init__(
        self,
        policy: Policy,
        decider: DecisionSession,
        upstream: Chat,
        tools: Tools,
        *,
        clock: Callable[[], float] = time.time,
        seed: int | None = None,
        ledger: Ledger | None = None,
        users: UserAccounts | None = None,
        counts_tokens: bool = False,
        gpu_seconds: PriceCard | None = None,
        pacer: pacing.Pacer | None = None,
    ) -> None:
        self.policy = policy
        self.decider = decider
        self.tools = tools
        self.ledger = Ledger(scopes(policy), clock) if ledger is None else ledger
        self._scopes = tuple(scope.name for scope in scopes(policy))
        self._users = UserAccounts(self.ledger) if users is None else users
        self._gpu_seconds = gpu_seconds
        self._upstream = upstream
        self._random = random.SystemRandom() if seed is None else random.Random(seed)
        self._envelope = envelope_of(policy)
        self._envelope_within = lru_cache(partial(RequestLimits.within, envelope=self._envelope))
        self._offers = Offers(policy, tools, counts_tokens=counts_tokens, gpu_seconds=gpu_seconds)
        self.pacer = pacing.Pacer.of(policy) if pacer is None else pacer
        self._forecasts = forecasts(policy)
        self._running: set[asyncio.Task[Served]] = set()
        self._starting: set[str] = set()  # decided or held at this moment, and not running yet
        self._given_up: set[str] = set()  # of these
        self._none_starts = asyncio.Event()
        self._none_starts.set()
        self._gathering = Gathering(decider)
        self._long_texts = ThreadPoolExecutor(1, "long-texts")  # starts its thread when needed

    async def start(self, ask: Ask, vector: Vector | None = None) -> Run:
        """Decide, hold the money and begin to answer.

        It waits only where a prompt is long, which is decided beside the event loop, one at a time,
        and where the ledger has to ask for room.

        Args:
            ask: The request.
            vector: Of the prompt, by the policy's encoder; None where there is none, or where it
                was not read: then the class is the last one.

        Raises:
            InputError: The class label is missing or unknown.
            BudgetRefusedError: No strategy fits the money left, or the cap on one request.
            StoreError: The ledger could not ask for room.
        """
        request_id = secrets.token_hex(16)
        REQUEST_ID.set(request_id)
        self._starting.add(request_id)
        self._none_starts.clear()
        try:
            decision = await self.decide(ask, vector)
            held = await self._hold(request_id, decision, ask)
        finally:
            given_up = request_id in self._given_up
            self._given_up.discard(request_id)
            self._starting.discard(request_id)
            if not self._starting:
                self._none_starts.set()
        caller = HeldCaller(
            self._upstream,
            self.policy.prices,
            held.hold,
            self._envelope_of(ask),
            self._gpu_seconds,
        )
        answer = self._answer(decision, held, caller)
        task = asyncio.get_running_loop().create_task(answer)
        self._running.add(task)
        task.add_done_callback(partial(self._ended, held.hold))
        if given_up:  # nothing of it is sent
            task.cancel()
        return Run(decision, held, caller, task)

    async def decide(self, ask: Ask, vector: Vector | None = None) -> Decision:
        """Class, rung and strategy of a request; a long prompt's beside the event loop.

        Raises:
            InputError: The class label is missing or unknown.
        """
        text, label = text_and_label(self.policy, ask.prompt_text, ask.label)
        drawn = self.rung(), self._uniform()
        if vector is None and not self.is_long(ask):
            return await self._gathering.decide(Question(text, *drawn, label))
        deciding = partial(self.decider.decide, text, *drawn, label, vector)
        if not self.is_long(ask):
            return deciding()
        return await asyncio.get_running_loop().run_in_executor(self._long_texts, deciding)

    def is_long(self, ask: Ask) -> bool:
        """Whether deciding would keep the event loop waiting."""
        return "text" in self.policy.classes.inputs and len(ask.prompt_text) > LONG_TEXT

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return bool(self._running) or bool(self._starting)

    async def drain(self, timeout_s: float) -> None:
        """Wait for all that have come, then give up the rest; what may be sent is charged."""
        end = time.monotonic() + timeout_s
        with suppress(TimeoutError):
            await asyncio.wait_for(self._none_starts.wait(), timeout_s)
        self._given_up |= self._starting
        running = set(self._running)
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=max(end - time.monotonic(), 0.0))
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    def rung(self) -> int:
        """The step of the ladder that the money left can carry: of all budgets, the cheapest."""
        return self.pacer.rung(
            self._forecasts,
            self.ledger.state,
            now_s=self.ledger.now_s,
            uniform=self._uniform(),
        )

    def _uniform(self) -> float:
        return float(self._random.getrandbits(UNIFORM_BITS) / 2**UNIFORM_BITS)

    def prepared(self, ask: Ask, class_name: str) -> tuple[Request, tuple[str, ...]]:
        """What a strategy is asked, but for its cap, and the scopes that a request holds on.

        Raises:
            RequestLimitError: The prompt is longer than the key may send.
        """
        drawn = self._random.getrandbits(31)
        request = Request(
            messages=ask.messages,
            prompt_text=ask.prompt_text,
            seed=drawn if ask.seed is None else ask.seed,
            temperature=ask.temperature,
            top_p=ask.top_p,
            stop=ask.stop,
            wall_s=self._envelope_of(ask).wall_s,
            on_text=ask.on_text,
            draw_seed=drawn,
            form=ask.form,
        )
        identity = ask.identity
        if identity is None:
            return request, self._scopes
        if identity.limits.prompt_tokens is not None:
            identity.limits.refuse_prompt(request.prompt_tokens_bound)
        return request, self._scopes + identity.scopes(class_name)

    def offers(
        self, ask: Ask, class_name: str, strategy: str, prompt_tokens: int
    ) -> Iterator[Offer]:
        """What may answer where a strategy was drawn, in order; see `Offers.of`."""
        passing = not ask.form.plain
        return self._offers.of(class_name, strategy, prompt_tokens, ask.max_tokens, passing=passing)

    def _envelope_of(self, ask: Ask) -> Envelope:
        return self._envelope_within(ask.identity.limits) if ask.identity else self._envelope

    async def _hold(self, request_id: str, decision: Decision, ask: Ask) -> _Held:
        """The drawn strategy, or the first substitute that the money still holds."""
        request, scopes = self.prepared(ask, decision.class_name)
        offers = self.offers(
            ask, decision.class_name, decision.strategy, request.prompt_tokens_bound
        )
        with self._users.opened(ask.identity):
            offer, hold = await admit_first(self.ledger, request_id, offers, scopes)
        return _Held(offer.strategy, hold, replace(request, max_tokens=offer.max_tokens))

    async def _answer(self, decision: Decision, held: _Held, caller: HeldCaller) -> Served:
        executor = self._offers.executors[held.strategy]
        began_s = time.perf_counter()
        outcome = await executor.answer(held.request, caller)
        self.pacer.answered(time.perf_counter() - began_s)
        return Served(
            request_id=held.hold.request_id,
            class_name=decision.class_name,
            strategy=held.strategy,
            rung=decision.rung,
            downgraded=held.strategy != decision.strategy,
            outcome=outcome,
        )

    def _ended(self, hold: Hold, task: asyncio.Task[Served]) -> None:
        """Runs before anybody who waits for the task; even for one cancelled before it began."""
        hold.close()
        self._running.discard(task)
        # An abandoned run has nobody else to look at its exception.
        if task.cancelled() or task.exception() is not None:
            return
        served = task.result()
        if not served.downgraded:
            self.pacer.charged(served.rung, hold.charged.nano_usd)


def on_behalf(ask: Ask, identity: Identity | None, user: str | None) -> Ask:
    """A request with whoever's key sent it, within the key's limits.

    Args:
        ask: What is asked.
        identity: Of the key; None where clients are not told apart.
        user: Whom the request names.

    Raises:
        RequestLimitError: More messages or tools than the key may send.
        InputError: A label that the key may not ask for, or a user's name that is too long.
    """
    if identity is None:
        return ask
    limits = identity.limits
    limits.refuse_parts(messages=len(ask.messages), tools=len(ask.form.tools or ()))
    identity.refuse_label(ask.label)
    return replace(
        ask, max_tokens=limits.allowed_tokens(ask.max_tokens), identity=identity.of_user(user)
    )


def envelope_of(policy: Policy) -> Envelope:
    """A policy's caps on every request; that on the tokens of an answer is none on their sum."""
    caps = policy.caps
    return Envelope(calls=caps.calls, usd=caps.usd, wall_s=caps.wall_s) if caps else Envelope()
