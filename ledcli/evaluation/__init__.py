"""Evaluation: metrics, made-up shoots with a known truth, agreement of the fast paths."""
