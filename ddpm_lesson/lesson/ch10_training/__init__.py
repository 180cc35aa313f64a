"""Notebook 10. Training."""
