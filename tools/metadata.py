"""What the package says about itself once it has a home: its address, and a README that works anywhere.

``make colab REPO=owner/name TAG=v1.0`` writes the home into the notebooks. From then on a wheel carries the address,
and the links and pictures of its README, relative in the project, lead to that tag.
"""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

FIRST = "notebooks/00_start_here.ipynb"
HOME = re.compile(rf"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob/([\w./-]+)/{FIRST}")
LINK = re.compile(r'(\]\(|src=")(?![a-z]+:|#)')  # what comes before an address that is relative


def home(notebook: str) -> tuple[str, str] | None:
    """Repository (owner/name) and tag that the badge of the first notebook names; None before ``make colab``."""
    found = HOME.search(notebook)
    return found and found.groups()


def absolute(readme: str, repo: str, tag: str) -> str:
    """A README whose relative links lead to a tag of a repository on GitHub, and whose pictures come from there."""
    places = {
        "](": f"https://github.com/{repo}/blob/{tag}/",
        'src="': f"https://raw.githubusercontent.com/{repo}/{tag}/",
    }
    return LINK.sub(lambda found: found[0] + places[found[0]], readme)


class Home(MetadataHookInterface):
    """Fills in ``readme`` and ``urls``."""

    def update(self, metadata: dict) -> None:
        """Called by hatchling with the table ``project`` of pyproject.toml."""
        root = Path(self.root)
        text = (root / "README.md").read_text(encoding="utf-8")
        known = home((root / FIRST).read_text(encoding="utf-8"))
        if known:
            text = absolute(text, *known)
            metadata["urls"] = {"Source": f"https://github.com/{known[0]}"}
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
