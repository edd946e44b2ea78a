"""Evaluation: metrics, evaluation runs and reports, synthetic shoots with a known truth."""
