"""Pictures as people have them, into the uint8 RGB arrays that networks read."""

import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .data.untrusted import exists
from .records import expanded

#: Formats that are decoded in this very process (for EPS, say, another program would be started).
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000")
#: Larger pictures are refused before they are decoded: a small file may hold a huge one.
LARGEST = 80_000_000
_PLAIN = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LA", "La", "PA", "RGBA", "RGBa")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


def read_photo(path):
    """Read a picture as a viewer shows it: uint8 (H, W, 3), RGB, turned upright as its EXIF orientation says.

    Transparent parts are laid on white; grey, palette and CMYK pictures become RGB; of 16 bits the upper 8 are kept, of an
    animation the first picture. Raises FileNotFoundError when there is no such file, and ValueError, in one line, when it
    is no picture, cut off, of a kind that can't be shown in RGB, or larger than ``LARGEST`` pixels.
    """
    path = expanded(path)
    if not exists(path):
        raise FileNotFoundError(f"{path} is missing")
    if not path.is_file():
        raise ValueError(f"{path} is not a file: give the picture itself")
    Image.init()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what is odd in a file that can be read all the same
            with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as picture:
                trouble = _trouble(picture)
                if not trouble:
                    return _as_rgb(picture)
    except UnidentifiedImageError:
        trouble = _not_a_picture(path)
    except Image.DecompressionBombError:
        trouble = _too_large()
    except PermissionError:
        trouble = "can't be read: its permissions don't allow it"
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        trouble = f"can't be decoded: {reason}"
    raise ValueError(f"{path} {trouble}") from None


def _trouble(picture):
    """Why an opened picture is not decoded, in words; None when nothing speaks against it."""
    if picture.width * picture.height > LARGEST:
        return _too_large()
    if picture.mode not in _PLAIN and not picture.mode.startswith("I"):
        return f"holds values that are no colours to show (mode {picture.mode}): save it as an 8 bit JPEG or PNG"
    return None


def _too_large():
    return f"has more than {LARGEST // 1_000_000} million pixels: make it smaller, or cut out the hand"


def _not_a_picture(path):
    with open(path, "rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC:
        return "is a HEIC picture: save it as JPEG or PNG first"
    return "is empty" if not start else f"is no picture in a known format ({', '.join(FORMATS)})"


def _as_rgb(picture):
    picture.load()
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # grey in 16 bits, or in 32 with no more in them
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("its grey values have more than 16 bits")
        return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, 2)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))


__all__ = ["FORMATS", "LARGEST", "read_photo"]
