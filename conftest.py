"""What holds for ``pytest tests`` and for ``pytest --nbval notebooks``, from any folder."""

from pathlib import Path

SANITIZE = Path(__file__).parent / "tests" / "notebooks" / "sanitize.cfg"


def pytest_configure(config):
    """Compare notebooks but for the numbers of lines, which change when code moves."""
    config.option.nbval_sanitize_with = config.option.nbval_sanitize_with or str(SANITIZE)
