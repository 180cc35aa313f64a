"""Notebook 03. Forward noising."""
