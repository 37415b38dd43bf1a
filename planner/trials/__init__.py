"""Plans put to the test: resplits of what was measured, and drifts of what was assumed."""
