"""Notebook 09. The U-Net."""
