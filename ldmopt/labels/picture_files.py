"""Picture files from outside, opened with care: PNG, JPEG and WebP.

The size is read from the header and refused before any pixel is decoded, so that a decompression
bomb stays closed. What is taken is what a person saw: a JPEG turned as its EXIF says, a
transparent picture on white, the first frame of an animation. Colour profiles are not applied.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np

from ldmopt.contracts import Block, Picture, Pixels
from ldmopt.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP")
MOST_BYTES = 64 * 2**20
MOST_PIXELS = 64 * 2**20


def read_pixels(path: Path) -> Pixels:
    """Decode a picture file.

    Returns:
        Height x width x 3, uint8, RGB.

    Raises:
        UserError: the file is missing, no picture, damaged or too large; the words lack the
            file's name, so that the caller can say where it was named.
    """
    from PIL import Image, UnidentifiedImageError
    from PIL.Image import DecompressionBombError

    try:
        if not path.is_file():
            raise UserError("there is no such file" if not path.exists() else "it is no file")
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"it has more than {MOST_BYTES >> 20} MiB")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's: this module sets its own limit
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MOST_PIXELS:
                    raise UserError(f"it has {width} x {height} pixels, more than 64 million")
                return _rgb(image)
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError("it is no PNG, JPEG or WebP picture") from None
    except DecompressionBombError:
        raise UserError("it has more than 64 million pixels") from None
    except Exception as error:  # a decoder may meet anything in a damaged file
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"it cannot be read: {' '.join(reason.split())}") from error


def read_picture(path: Path, block: Block) -> Picture:
    """Decode a picture file; raises as `read_pixels` does."""
    return Picture(read_pixels(path), block)


def plain_png(pixels: Pixels) -> bytes:
    """Return a PNG file's bytes without any text, date or profile."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _rgb(image: object) -> Pixels:
    from PIL import Image, ImageOps

    assert isinstance(image, Image.Image)
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith("I"):  # 16-bit grey, which Pillow would cut off at white
        grey = (np.asarray(turned).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if turned.has_transparency_data:
        over = turned.convert("RGBA")
        white = Image.new("RGBA", over.size, (255, 255, 255, 255))
        turned = Image.alpha_composite(white, over)
    return np.asarray(turned.convert("RGB"))
