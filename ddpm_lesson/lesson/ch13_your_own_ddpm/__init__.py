"""Notebook 13. Your own DDPM."""
