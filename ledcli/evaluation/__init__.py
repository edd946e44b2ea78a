"""Evaluation: metrics, synthetic shoots with a known truth, agreement of the fast paths."""
