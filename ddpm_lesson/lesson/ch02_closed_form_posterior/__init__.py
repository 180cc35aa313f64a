"""Notebook 02. The closed-form posterior."""
