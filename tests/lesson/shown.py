"""What a reader sees of a panel or a picture."""

import base64
import html
import io
import re

from PIL import Image


def shown(panel):
    """The picture and the alternative text that the page shows now."""
    alt, source = re.search(r'alt="([^"]*)".*base64,([^"]*)"', panel.image.value).groups()
    return Image.open(io.BytesIO(base64.b64decode(source))), html.unescape(alt)


def drawn(picture):
    """The pixels of a picture, if it holds more than a blank card."""
    image = picture.image()
    assert len(image.getcolors(maxcolors=1 << 24)) > 5
    return image
