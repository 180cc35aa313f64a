"""The lesson: what the notebooks need and nobody else does, a folder for each of them and the kit that they share."""
