"""What a shape says, in words: where doublings stop paying, and where more compute does harm."""

from __future__ import annotations

from profiles.scaling.shape import Shape


def knee_words(shape: Shape, points: float) -> str:
    """Where doublings stop paying, or why nobody can say.

    Args:
        shape: Of one family in one class.
        points: Points of accuracy that a doubling must gain to pay, as the shape was asked for.
    """
    knee = shape.knee
    if knee is None:
        return f"no curve: {shape.without_curve}"
    last = f"beyond {shape.levels[-1].compute / 2:.4g}"
    low, high = (last if end is None else f"{end:.4g}" for end in (knee.low, knee.high))
    if knee.compute is None:
        said = f"not reached: the last doubling measured still gains {points:g} points"
    else:
        said = f"{shape.unit} {knee.compute:.4g}: no doubling after it gains {points:g} points"
    return f"knee {said} (95 % interval {low} .. {high})"


def downturn_words(shape: Shape) -> list[str]:
    """Every loss beyond noise, or that there is none and how sure that is."""
    how = "paired over the same queries" if shape.paired else "not all levels share their queries"
    if not shape.tested:
        return ["more compute was not compared: fewer than two levels could be"]
    if not shape.downturns:
        least = f"smallest adjusted p {shape.smallest_p_value:.3g}"
        return [f"no loss beyond noise in {shape.tested} comparisons ({least}; {how})"]
    return [
        f"more compute loses {-100 * one.change:.1f} points: {one.before} -> {one.after} "
        f"(adjusted p {one.p_value:.3g}, {shape.tested} comparisons, {one.queries} queries; {how})"
        for one in shape.downturns
    ]
