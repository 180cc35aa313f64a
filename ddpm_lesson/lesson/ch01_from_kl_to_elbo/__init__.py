"""Notebook 01. From the KL divergence to the ELBO."""
