"""Pacing: the rung of the ladder that the money left carries to the window's end.

`money` chooses the rung of a request, `arrivals` says how many requests are still to come,
`lateness` steps down where answers come too late, `pacer` keeps what one process learns.
"""

from runtime.pacing.arrivals import Shape, requests_left
from runtime.pacing.lateness import Lateness
from runtime.pacing.money import forecast, rung, rung_costs_nano_usd, rung_of_all
from runtime.pacing.pacer import Pacer

__all__ = [
    "Lateness",
    "Pacer",
    "Shape",
    "forecast",
    "requests_left",
    "rung",
    "rung_costs_nano_usd",
    "rung_of_all",
]
