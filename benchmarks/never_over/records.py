"""Records of the never-over experiment: the model server's bill, and what its clients asked."""

from __future__ import annotations

import numpy as np

LINE = np.dtype(
    [
        ("request", "<u8"),
        ("sent_us", "<u8"),
        ("received_us", "<u8"),
        ("ends_us", "<u8"),
        ("nano_usd", "<u8"),
        ("nano_gpu_s", "<u8"),
        ("tokens", "<u4"),
        ("key", "u1"),
        ("user", "u1"),
        ("class_index", "u1"),
        ("fault", "u1"),
    ]
)
"""One billed request, or one that was turned down and cost nothing."""
FAULTS = (
    "none",
    "cut before usage",
    "cut after usage",
    "no usage",
    "429",
    "503 before work",
    "503 after work",
    "500 after work",
    "hang",
    "reset without a reply",
)
FREE = frozenset({FAULTS.index("429"), FAULTS.index("503 before work")})
HANG = FAULTS.index("hang")
ASKED = np.dtype(
    [
        ("request", "<u8"),
        ("sent_us", "<u8"),
        ("done_us", "<u8"),
        ("status", "<u2"),
        ("phase", "u1"),
        ("slot", "u1"),
        ("key", "u1"),
        ("user", "u1"),
        ("class_index", "u1"),
        ("kind", "u1"),
        ("budget", "u1"),
        ("id", "S32"),
    ]
)
"""One sending of a request. Status 0: no whole reply. Budget 1: refused by a budget."""
PLAIN, STREAM, LEAVES, TWICE = range(4)
