"""Notebook 14: a museum of bugs, each an edit of the working code, and the probes that tell them apart."""
