"""The arms of the never-over experiment."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.never_over.faults import REDIS_FAULTS, REPLICA_FAULTS


@dataclass(frozen=True, slots=True)
class Arm:
    """One experiment.

    Attributes:
        name: In the result.
        store: `redis-everysec`, `redis-always`, `sqlite` or `memory`.
        replicas: Gateways.
        phases: Clients at once with their part of the arm's requests.
        share: Of all requests of the run.
        seconds: Most that it takes.
        harm: What happens.
        every_s: Mean time between two of it.
        bad: Share of the model server's calls that something happens to.
        odd: Share of requests whose client leaves, and as many that are sent twice.
        budget: Of the demand that the total budgets are made for.
        windows: Whether there are budgets of windows.
        host_clock: Whether everything lives by a clock that is set.
        wiped: The store is emptied in the middle.
        paced: Clients send no faster than takes all of the time.
        tight: Budgets of windows, as a part of what clients would like.
        bare: Not gateways but processes with their ledger alone.
    """

    name: str
    store: str
    replicas: int
    phases: tuple[tuple[int, float], ...]
    share: float
    seconds: float
    harm: tuple[str, ...] = ()
    every_s: float = 3.0
    bad: float = 0.1
    odd: float = 0.03
    budget: float = 0.3
    windows: bool = True
    host_clock: bool = False
    wiped: bool = False
    paced: bool = False
    tight: float = 0.3
    bare: bool = False


CROWDS = ((1, 0.005), (8, 0.045), (64, 0.25), (512, 0.4), (128, 0.3))
STEADY = ((64, 1.0),)
_HARD = REPLICA_FAULTS + REDIS_FAULTS
# A server that syncs every write loses none in a power cut.
_DURABLE = tuple(kind for kind in _HARD if kind != "redis-cut")
ARMS = (
    Arm("1 replica, redis everysec", "redis-everysec", 1, CROWDS, 0.16, 1800, _HARD, 6.0),
    Arm("4 replicas, redis everysec", "redis-everysec", 4, CROWDS, 0.26, 2400, _HARD),
    Arm("8 replicas, redis everysec", "redis-everysec", 8, CROWDS, 0.2, 2400, _HARD),
    Arm("4 replicas, redis always", "redis-always", 4, CROWDS, 0.1, 1200, _DURABLE),
    Arm("4 replicas, sqlite", "sqlite", 4, CROWDS, 0.1, 1200, REPLICA_FAULTS),
    Arm(
        "4 replicas, clocks of replicas",
        "redis-everysec",
        4,
        ((64, 1.0),),
        0.03,
        50,
        ("replica-clock", "kill"),
        2.0,
        paced=True,
    ),
    Arm(
        "2 replicas, clock of the host",
        "redis-everysec",
        2,
        ((64, 1.0),),
        0.03,
        60,
        ("host-clock",),
        4.0,
        host_clock=True,
        paced=True,
    ),
    Arm("1 process, in memory", "memory", 1, CROWDS, 0.06, 900),
    Arm(
        "4 replicas, stopped in full windows",
        "redis-everysec",
        4,
        STEADY,
        0.04,
        600,
        ("stop",),
        1.5,
        tight=0.1,
    ),
    Arm(
        "2 replicas, emptied store",
        "redis-everysec",
        2,
        ((32, 1.0),),
        0.01,
        20,
        wiped=True,
        paced=True,
    ),
    *(
        Arm(
            f"{replicas} bare ledgers, redis everysec",
            "redis-everysec",
            replicas,
            ((clients, 1.0),),
            share,
            900,
            _HARD,
            tight=0.7,
            budget=0.6,
            bare=True,
        )
        for replicas, clients, share in ((1, 128, 0.1), (4, 32, 0.15), (8, 16, 0.15))
    ),
    *(
        Arm(
            f"{replicas} replicas, 90 % of the budget",
            "redis-everysec",
            replicas,
            ((8, 0.2), (256, 0.4), (64, 0.4)),
            0.02,
            900,
            bad=0.0,
            odd=0.0,
            budget=1 / 0.9,
            windows=False,
        )
        for replicas in (1, 4, 8)
    ),
)
MEAN_NANO_USD = 128_000
"""What a request of an arm without faults costs on average; see `upstream`."""
