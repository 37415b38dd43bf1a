"""What a shared store should answer, by plain sums over everything that was ever said."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from runtime.ledger.store import Exchange, Given, LogKind, Truth

DAY_S = 86_400
Key = tuple[str, int]


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
        self.spans: dict[Key, Span] = {}
        self.ends: dict[Key, int | None] = {}
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
        return sum(amount for bucket, amount in span.charges if bucket >= first)

    def expire(self, span: Span, now_s: float) -> None:
        """What has left before a change stays away, whatever the clock does then."""
        if span.window_s is not None:
            first = now_s * 64 // span.window_s - 64
            span.charges[:] = [charge for charge in span.charges if charge[0] >= first]

    def held(self, span: Span) -> int:
        return sum(said.held for said in span.said.values())

    def used(self, span: Span, now_s: float) -> int:
        return self.spent(span, now_s) + self.held(span)

    def overlapping(self, key: Key) -> dict[Key, float]:
        """Windows of the same budget and about its length, with the part of time that is shared."""
        start, end = key[1], self.ends[key]
        found = {}
        for other, its_end in self.ends.items():
            if other[0] != key[0] or other == key or end is None or its_end is None:
                continue
            lengths = sorted((end - start, its_end - other[1]))
            shared = min(end, its_end) - max(start, other[1])
            if shared > 0 and lengths[1] < 2 * lengths[0] and other in self.spans:
                found[other] = shared / lengths[1]
        return found

    def elsewhere(self, key: Key, now_s: float) -> int:
        lying_in = (
            other
            for other, part in self.overlapping(key).items()
            if part > 0.5
            or (self.is_later(other, key) and (self.ends[other] or 0) <= (self.ends[key] or 0))
        )
        return sum(self.used(self.spans[other], now_s) for other in lying_in)

    def is_later(self, one: Key, other: Key) -> bool:
        """Which was opened last; what never was came before all."""
        opened = self.opened[one[0]]
        if one[1] not in opened:
            return False
        return other[1] not in opened or opened.index(one[1]) > opened.index(other[1])

    def left(self, key: Key, limit: int | None, now_s: float) -> int:
        """Less what others use that counts in it."""
        span = self.spans[key]
        later = (
            other
            for other, part in self.overlapping(key).items()
            if part > 0.5 or self.is_later(other, key)
        )
        counted = sum(self.used(self.spans[other], now_s) for other in later)
        return (limit or 0) + span.carried - self.used(span, now_s) - counted

    def room(self, key: Key, now_s: float) -> int:
        windows = [key, *self.overlapping(key)]
        limit = self.spans[key].limit
        return min(
            self.left(each, limit, now_s)
            for each in windows
            if each == key or each[1] <= now_s < (self.spans[each].ends_s or 0)
        )

    def is_current(self, key: Key) -> bool:
        newest = max(self.opened[key[0]], default=None)
        return newest is None or key[1] >= newest or (key[0], newest) in self.overlapping(key)

    def is_replaced(self, key: Key, now_s: float) -> bool:
        return any(
            part <= 0.5 and self.is_later(other, key) and now_s < (self.ends[other] or 0)
            for other, part in self.overlapping(key).items()
        )

    def begin(self, key: Key, carry_over: int, now_s: float) -> None:
        span, opened = self.spans[key], self.opened[key[0]]
        moved = [self.spans[each] for each, part in self.overlapping(key).items() if part > 0.5]
        if moved:
            span.carried = min(carry_over, max(each.carried for each in moved))
        elif opened:
            newest = (key[0], max(opened))
            same = [each for each, part in self.overlapping(newest).items() if part > 0.5]
            for before in (newest, *sorted(same)):
                ended = self.spans[before]
                if ended.ends_s == key[1] and ended.limit is not None:
                    span.carried = min(carry_over, max(self.room(before, now_s), 0))
                    break
        opened.append(key[1])
        for each in [each for each in self.spans if each[0] == key[0] and each[1] < key[1]]:
            end = self.spans[each].ends_s
            if end is None or self.held(self.spans[each]):
                continue
            if end + 60 * (end - each[1]) <= now_s:
                del self.spans[each]
                if each[1] in opened:
                    opened.remove(each[1])

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
            self.expire(span, now_s)
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
        bucket = int(now_s * 64 // span.window_s)
        charge = [max([bucket] + [there for there, _ in span.charges]), amount]
        span.charges.append(charge)
        return charge

    def correct(self, key: Key, amount: int, now_s: float) -> bool:
        span = self.spans.get(key)
        if span is None or (span.window_s and amount < -self.spent(span, now_s)):
            return False
        self.expire(span, now_s)
        if span.window_s is None:
            span.past += amount
        elif amount > 0:
            self.charge(span, amount, now_s)
        else:
            self.refund_from(sorted(span.charges, key=lambda charge: charge[0]), -amount)
        self.log.append((LogKind.ADJUSTED, *key, amount, None))
        return True

    def hear(self, asked: Exchange, truth: Truth, now_s: float) -> Given:
        key = truth.account, truth.epoch
        self.ends[key] = truth.ends_s
        now_is_in = truth.epoch <= now_s and (truth.ends_s is None or now_s < truth.ends_s)
        opened = self.opened[truth.account]
        is_new = key not in self.spans
        opens = now_is_in and truth.epoch not in opened and self.is_current(key)
        if is_new and not opens and not truth.leased and not truth.spent:
            none = None if truth.limit is None else 0
            return Given(*key, 0, none, 0, 0, 0, 0, pressed=False)
        span = self.spans.setdefault(key, Span(truth.ends_s, truth.window_s))
        span.limit, span.lapses = truth.limit, truth.lapses
        self.expire(span, now_s)
        if opens:
            self.begin(key, truth.carry_over, now_s)
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
        grants = now_is_in and truth.epoch in opened and self.is_current(key)
        grants = grants and not self.is_replaced(key, now_s)
        if grants and truth.limit is not None and lacks > 0 and not asked.closing:
            left = self.room(key, now_s)
            share = min(truth.wish, left // (4 * len(self.live)))
            granted = max(lacks, share) if lacks <= left else 0
            said.leased += granted
            if granted < lacks:
                span.refused_s = now_s
        left = max(self.room(key, now_s), 0) if grants else 0
        return Given(
            *key,
            leased=said.leased,
            remaining=None if truth.limit is None else left,
            spent=self.spent(span, now_s),
            held=self.held(span),
            requests=span.asked + sum(each.requests for each in span.said.values()),
            carried=span.carried - self.elsewhere(key, now_s),
            pressed=abs(now_s - span.refused_s) < 2,
        )

    def refund_from(self, charges: list[list[int]], amount: int) -> None:
        for charge in charges:
            taken = min(charge[1], amount)
            charge[1] -= taken
            amount -= taken
