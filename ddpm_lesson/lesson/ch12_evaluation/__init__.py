"""Notebook 12. Evaluation."""
