"""Notebook 05. The time embedding."""
