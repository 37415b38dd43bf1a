"""Measured outcomes: observations, the store, cell statistics and difficulty classes."""

import os

# Some builds of ONNX Runtime report to their maker unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
