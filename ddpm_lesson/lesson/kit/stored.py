"""What was measured beforehand, because it takes minutes; ``assets/README.md`` says how to measure it anew."""

import json
from functools import cache
from typing import Any

from ddpm_lesson.runtime import assets_folder


@cache
def stored(name: str) -> dict[str, Any]:
    """A file of measurements, such as ``"evaluation.json"``; its contents are shared, so leave them as they are."""
    return json.loads((assets_folder() / name).read_text(encoding="utf-8"))
