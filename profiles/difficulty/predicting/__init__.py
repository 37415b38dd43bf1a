"""Scores and costs of every strategy, predicted from what is read."""
