"""What every check looks for, by the code of its findings: the rules of a SARIF report."""

from __future__ import annotations

from collections.abc import Mapping

RULES: Mapping[str, str] = {
    "accuracy-sum": "The accuracy of a rung or class is the mean of its parts, by their shares.",
    "budget-arithmetic": "A budget's sum, mean and requests belong together and to limits.spend.",
    "budget-limit": "Budgets are given where limits.spend is, and only there.",
    "cap-cuts": "No cap cuts what was measured: the figures hold within it.",
    "cap-tokens": "No strategy may answer longer than the caps on tokens allow.",
    "cell-missing": "A strategy that answers a class has figures for it.",
    "class-missing": "Every rung says what every class gets.",
    "class-twice": "Class names differ.",
    "class-unknown": "Shares and figures are given only of the policy's own classes.",
    "class-weights": "There is one weight for each class.",
    "cost-bound": "The dearest request of a strategy is no cheaper than its mean.",
    "cost-sum": "The dollars of a rung or class are the mean of its parts, by their shares.",
    "digest": "The content has the digest that it was compiled with.",
    "format": "The text is, letter by letter, what inferbudget writes for its content.",
    "format-old": "The file has today's format.",
    "graph": "The decision graph beside the file is the one that it pins.",
    "graph-disagrees": "The decision graph decides as the file says.",
    "invalid": "The file is strict YAML with the keys and values of a policy.",
    "limit-asked": "A promise is about the value that limits ask for.",
    "limit-given-up": "A limit that a rung does not keep is named in a warning.",
    "limit-missing": "Every rung says how it stands to every limit.",
    "limit-unknown": "Promises are only about limits that are asked for.",
    "missing": "The compiled files are there.",
    "price-missing": "Every model that a strategy calls has a price.",
    "prices-none": "Prices are known, so that the policy can be served.",
    "promise-better": "No promise is better than the estimate that it is made from.",
    "promise-kept": "A limit counts as kept where the promise keeps it, and only there.",
    "rung-dollars": "The first rung fits the budgets, and each lower rung its part of the first.",
    "rung-order": "Rungs are ordered from the dearest to the cheapest.",
    "share-sum": "The shares of a class sum to exactly 1.",
    "stale": "The committed files are what the plan compiles to.",
    "stale-plan": "The policy was compiled from this plan.",
    "stale-spec": "The policy was made for this spec.",
    "strategy-text": "Strategies are written in their one spelling.",
    "strategy-twice": "Strategies differ.",
    "strategy-unknown": "Rungs use only strategies that the file lists.",
    "strategy-unused": "Every strategy of the file is used by some rung.",
    "unreadable": "The file can be read.",
    "weight-sum": "The weights of the classes sum to 1.",
}
"""By code, what holds where there is no such finding. Codes are stable."""
