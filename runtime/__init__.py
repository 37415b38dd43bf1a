"""Decide, hold the money, answer, settle: the policy enforced on live traffic."""
