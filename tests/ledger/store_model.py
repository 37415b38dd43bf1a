"""What a shared store should answer, by plain sums over everything that was ever said."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from runtime.ledger.store import Exchange, Given, LogKind, Truth

DAY_S = 86_400


@dataclass
class Said:
    """What one replica said last of one epoch, and what the store charged for it."""

    leased: int = 0
    spent: int = 0
    requests: int = 0
    fined: int = 0
    fine: list[int] | None = None  # the charge of a rolling window

    @property
    def held(self) -> int:
        return self.leased - self.spent - self.fined


@dataclass
class Span:
    """One epoch."""

    ends_s: int | None
    window_s: int | None
    limit: int | None = None
    lapses: bool = False
    carried: int = 0
    past: int = 0  # charges of replicas that were forgotten, and corrections
    asked: int = 0  # holds of replicas that were forgotten
    refused_s: float = -1e9
    charges: list[list[int]] = field(default_factory=list)  # bucket and amount, if it rolls
    said: dict[str, Said] = field(default_factory=dict)


class Model:
    def __init__(self) -> None:
        self.spans: dict[tuple[str, int], Span] = {}
        self.opened: dict[str, list[int]] = defaultdict(list)
        self.numbers: dict[str, int] = {}
        self.live: dict[str, tuple[float, float]] = {}  # heard, ttl
        self.gone: dict[str, float] = {}
        self.last_s: float | None = None
        self.awake_s = 0.0
        self.log: list[tuple[LogKind, str, int, int, str | None]] = []

    def spent(self, span: Span, now_s: float) -> int:
        if span.window_s is None:
            return span.past + sum(said.spent + said.fined for said in span.said.values())
        first = now_s * 64 // span.window_s - 64
        # What has left stays away, whatever the clock does then.
        span.charges[:] = [charge for charge in span.charges if charge[0] >= first]
        return sum(amount for _, amount in span.charges)

    def held(self, span: Span) -> int:
        return sum(said.held for said in span.said.values())

    def left(self, span: Span, now_s: float) -> int:
        return (span.limit or 0) + span.carried - self.spent(span, now_s) - self.held(span)

    def exchange(self, asked: Exchange, now_s: float) -> tuple[Given, ...] | None:
        if asked.number <= self.numbers.get(asked.replica, 0):
            return None
        if self.last_s is None or abs(now_s - self.last_s) > asked.ttl_s:
            self.awake_s = now_s
        self.last_s = now_s
        self.sweep(asked.replica, now_s)
        self.numbers[asked.replica] = asked.number
        self.live.pop(asked.replica, None)
        self.gone.pop(asked.replica, None)
        if asked.closing:
            self.gone[asked.replica] = now_s
        else:
            self.live[asked.replica] = (now_s, asked.ttl_s)
        given = tuple(self.hear(asked, truth, now_s) for truth in asked.truths)
        if asked.closing:
            self.fine(asked.replica, now_s)
        return given

    def sweep(self, speaker: str, now_s: float) -> None:
        overdue = sorted(
            (heard_s + ttl_s, name)
            for name, (heard_s, ttl_s) in self.live.items()
            if heard_s + ttl_s < now_s and now_s - self.awake_s > ttl_s and name != speaker
        )
        for _, name in overdue:
            del self.live[name]
            self.gone[name] = now_s
            self.fine(name, now_s)
        for name, ended_s in tuple(self.gone.items()):
            if ended_s + DAY_S < now_s and name != speaker:
                del self.gone[name], self.numbers[name]
                for span in self.spans.values():
                    if said := span.said.pop(name, None):
                        span.past += said.spent + said.fined
                        span.asked += said.requests

    def fine(self, name: str, now_s: float) -> None:
        for (account, epoch), span in sorted(self.spans.items()):
            said = span.said.get(name)
            if said is None or said.held == 0:
                continue
            amount = said.held
            if span.lapses:
                said.leased -= amount
            else:
                said.fined = amount
                said.fine = self.charge(span, amount, now_s)
            kind = LogKind.LAPSED if span.lapses else LogKind.SWEPT
            self.log.append((kind, account, epoch, amount, name))

    def charge(self, span: Span, amount: int, now_s: float) -> list[int] | None:
        if span.window_s is None or amount <= 0:
            return None
        self.spent(span, now_s)
        bucket = int(now_s * 64 // span.window_s)
        charge = [max([bucket] + [there for there, _ in span.charges]), amount]
        span.charges.append(charge)
        return charge

    def correct(self, key: tuple[str, int], amount: int, now_s: float) -> bool:
        span = self.spans.get(key)
        if span is None:
            return False
        if span.window_s is None:
            span.past += amount
        elif amount > 0:
            self.charge(span, amount, now_s)
        elif not self.refund(span, -amount, now_s):
            return False
        self.log.append((LogKind.ADJUSTED, *key, amount, None))
        return True

    def refund(self, span: Span, amount: int, now_s: float) -> bool:
        if amount > self.spent(span, now_s):
            return False
        for charge in sorted(span.charges, key=lambda charge: charge[0]):
            taken = min(charge[1], amount)
            charge[1] -= taken
            amount -= taken
        return True

    def hear(self, asked: Exchange, truth: Truth, now_s: float) -> Given:
        key = truth.account, truth.epoch
        now_is_in = truth.epoch <= now_s and (truth.ends_s is None or now_s < truth.ends_s)
        opened = self.opened[truth.account]
        opens = now_is_in and (not opened or truth.epoch > opened[-1])
        if key not in self.spans and not opens and not truth.leased and not truth.spent:
            none = None if truth.limit is None else 0
            return Given(*key, 0, none, 0, 0, 0, 0, pressed=False)
        span = self.spans.setdefault(key, Span(truth.ends_s, truth.window_s))
        span.limit, span.lapses = truth.limit, truth.lapses
        if opens:
            before = self.spans[truth.account, opened[-1]] if opened else None
            if before and before.ends_s == truth.epoch and before.limit is not None:
                span.carried = min(truth.carry_over, max(self.left(before, now_s), 0))
            opened.append(truth.epoch)
        said = span.said.setdefault(asked.replica, Said())
        if said.fined:
            self.log.append((LogKind.RETURNED, *key, -said.fined, asked.replica))
            if said.fine is not None:
                # A refund may have taken part of that bucket's charges already.
                there = [charge for charge in span.charges if charge[0] == said.fine[0]]
                self.refund_from(there, said.fined)
            said.fined, said.fine = 0, None
        self.charge(span, truth.spent - said.spent, now_s)
        lease = max(truth.leased, truth.spent)
        lacks = truth.short - (lease - truth.leased)
        said.leased, said.spent, said.requests = lease, truth.spent, truth.requests
        if asked.closing:
            said.leased = said.spent
        grants = now_is_in and self.opened[truth.account][-1:] == [truth.epoch]
        if grants and truth.limit is not None and lacks > 0 and not asked.closing:
            left = self.left(span, now_s)
            share = min(truth.wish, left // (4 * len(self.live)))
            granted = max(lacks, share) if lacks <= left else 0
            said.leased += granted
            if granted < lacks:
                span.refused_s = now_s
        left = max(self.left(span, now_s), 0) if grants else 0
        return Given(
            *key,
            leased=said.leased,
            remaining=None if truth.limit is None else left,
            spent=self.spent(span, now_s),
            held=self.held(span),
            requests=span.asked + sum(each.requests for each in span.said.values()),
            carried=span.carried,
            pressed=abs(now_s - span.refused_s) < 2,
        )

    def refund_from(self, charges: list[list[int]], amount: int) -> None:
        for charge in charges:
            taken = min(charge[1], amount)
            charge[1] -= taken
            amount -= taken
