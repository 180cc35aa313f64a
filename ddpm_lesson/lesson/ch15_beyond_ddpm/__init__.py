"""Notebook 15. Beyond DDPM."""
