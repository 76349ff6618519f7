"""Searchable PDFs: the image of each page, with its words as invisible text on top.

Needs reportlab (extra `pdf`). Host code: no jax.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ocrcore.files import replacing
from ocrcore.image_headers import kind_of
from ocrcore.images import ImageLike, is_turned, load_image, read_bytes
from ocrcore.pages import Page, Word
from ocrcore.synth.fonts import bundled_fonts

_FONT = "OpenSans_400Regular.ttf"
_OTHERS = "STSong-Light"  # font of words with other characters: its codes are Unicode's
_DPI = 150.0  # of images without a resolution, or with an impossible one
_INVISIBLE = 3  # text render mode


def write_pdf(
    path: str | Path, pages: Iterable[tuple[ImageLike, Page]], *, title: str = ""
) -> None:
    """Write pages as a PDF whose text can be searched, selected and copied; atomic.

    JPEG files are embedded unchanged; other images are stored without loss.

    Args:
        path: path of the PDF.
        pages: images with the pages read from them.
        title: title of the document.

    Raises:
        ImportError: reportlab is missing.
        ImageError: an image can no longer be read.
    """
    check_reportlab()
    from reportlab import rl_config
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen.canvas import Canvas

    if _FONT not in pdfmetrics.getRegisteredFontNames():
        (font,) = (font for font in bundled_fonts() if str(font) == _FONT)
        pdfmetrics.registerFont(TTFont(_FONT, font.path))
        pdfmetrics.registerFont(UnicodeCIDFont(_OTHERS))
    as_text, rl_config.useA85 = rl_config.useA85, 0  # ASCII85 makes files a quarter larger
    try:
        with replacing(path) as part:
            canvas = Canvas(str(part), invariant=1, pageCompression=1)
            canvas.setTitle(title)
            canvas.setCreator("ocrjax")
            for image, page in pages:
                _draw(canvas, image, page)
            canvas.save()
    finally:
        rl_config.useA85 = as_text


def check_reportlab() -> None:
    """Raise an `ImportError` that names the extra if reportlab is missing."""
    try:
        import reportlab  # noqa: F401
    except ImportError as error:
        raise ImportError("searchable PDFs need reportlab: pip install 'ocrjax[pdf]'") from error


def _draw(canvas: Any, image: ImageLike, page: Page) -> None:
    from reportlab.lib.utils import ImageReader

    picture, dots_per_inch = _picture(image)
    scale = 72 / dots_per_inch
    width, height = page.width * scale, page.height * scale
    canvas.setPageSize((width, height))
    canvas.drawImage(ImageReader(picture), 0, 0, width, height)
    text = canvas.beginText()
    text.setTextRenderMode(_INVISIBLE)
    for line in page.lines:
        for word in line:
            _write(text, word, scale, height, last=word is line[-1])
    canvas.drawText(text)
    canvas.showPage()


def _write(text: Any, word: Word, scale: float, height: float, *, last: bool) -> None:
    """Place a word's text over its quad; a space after it separates it from the next word."""
    from reportlab.pdfbase import pdfmetrics

    if not word.text:
        return
    quad = word.quad.astype(np.float64) * scale
    along = (quad[1] - quad[0] + quad[2] - quad[3]) / 2
    down = (quad[3] - quad[0] + quad[2] - quad[1]) / 2
    long, high = float(np.hypot(*along)), float(np.hypot(*down))
    known = pdfmetrics.getFont(_FONT).face.charToGlyph
    font = _FONT if all(ord(character) in known for character in word.text) else _OTHERS
    ascent, descent = pdfmetrics.getAscentDescent(font, 1)
    size = high / (ascent - descent)
    natural = pdfmetrics.stringWidth(word.text, font, size)
    if min(long, high, natural) <= 0:
        return
    cos, sin = along / long
    x, y = quad[3] + down / high * descent * size
    text.setFont(font, size)
    text.setHorizScale(100 * long / natural)
    # In a PDF the y axis points up.
    text.setTextTransform(cos, -sin, sin, cos, x, height - y)
    text.textOut(word.text if last else word.text + " ")


def _picture(image: ImageLike) -> tuple[io.BytesIO | Image.Image, float]:
    """The page's JPEG file if it can be embedded unchanged, else a Pillow image; and its DPI."""
    dots_per_inch = _DPI
    if isinstance(image, str | os.PathLike):
        data = read_bytes(image)
        try:
            with Image.open(io.BytesIO(data)) as picture:
                stated = float(picture.info.get("dpi", (0, 0))[0])
                mode = picture.mode
        except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError):
            return Image.fromarray(load_image(image)), dots_per_inch
        dots_per_inch = stated if 72 <= stated <= 2400 else _DPI
        if kind_of(data[:32]) == "jpeg" and mode in ("L", "RGB") and not is_turned(image):
            return io.BytesIO(data), dots_per_inch
    return Image.fromarray(load_image(image)), dots_per_inch
