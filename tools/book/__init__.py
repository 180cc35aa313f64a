"""The book: the notebooks as a static site, with panels that move without a kernel."""

from tools.book.site import build

__all__ = ["build"]
