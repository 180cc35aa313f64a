"""Notebook 11. Sampling."""
