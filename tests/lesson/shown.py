"""What a reader sees of a panel."""

import base64
import html
import io
import re

from PIL import Image


def shown(panel):
    """The picture and the alternative text that the page shows now."""
    alt, source = re.search(r'alt="([^"]*)".*base64,([^"]*)"', panel.image.value).groups()
    return Image.open(io.BytesIO(base64.b64decode(source))), html.unescape(alt)
