"""Notebook 04. Noise prediction."""
