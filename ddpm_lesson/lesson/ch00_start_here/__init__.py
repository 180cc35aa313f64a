"""Notebook 00. Start here: digits out of noise."""
