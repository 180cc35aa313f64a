"""Notebook 06. The residual block."""
