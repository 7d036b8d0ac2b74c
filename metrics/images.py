"""Pictures that are scored, read from their files."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image


def read_picture(path: Path) -> "Image":
    """Return the whole picture as RGB.

    Raises:
        UserError: it is missing, damaged, or no picture; the file is named.

    Examples:
        >>> try:
        ...     read_picture(Path("no-such-picture.png"))
        ... except UserError as error:
        ...     print(error.message)
        the picture no-such-picture.png is missing
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"the picture {path} is missing", "generate it again, then score") from None
    except (  # all that PIL raises of damaged files, in one format or another
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise UserError(f"the picture {path} cannot be read: {error}", "delete it and generate it again") from error


def copied(picture: "Image") -> "Image":
    """Return a copy that nobody tells from the picture: saved as JPEG of quality 90 and read again.

    Examples:
        >>> from PIL import Image
        >>> picture = Image.effect_noise((8, 8), 60).convert("RGB")
        >>> copied(picture).size, copied(picture).mode, copied(picture).tobytes() == picture.tobytes()
        ((8, 8), 'RGB', False)
    """
    from PIL import Image

    file = BytesIO()
    picture.save(file, "JPEG", quality=90)
    return Image.open(file).convert("RGB")
