"""Notebook 07. The attention block."""
