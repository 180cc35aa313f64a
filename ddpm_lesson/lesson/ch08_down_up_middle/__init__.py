"""Notebook 08. Down, up and middle."""
