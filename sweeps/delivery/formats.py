"""Formats of picture files: PNG, WebP and JPEG, with what they say of themselves where any program looks for it."""

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, get_args

from common.errors import UserError
from common.files import sha256_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sweeps.delivery.about import About

Name = Literal["png", "webp", "jpeg"]
NAMES: tuple[str, ...] = get_args(Name)
LOSSLESS = 100  # the quality at which a WebP file is
MOST_JPEG = 65_000  # bytes of one piece of metadata in a JPEG file, whose segments end at 65,535
DESCRIPTION, SOFTWARE, EXIF, COMMENT = 0x010E, 0x0131, 0x8769, 0x9286  # EXIF's numbers of them


@dataclass(frozen=True)
class Encoded:
    """A picture's file, and what is known of it without reading it again.

    Attributes:
        pixels: a hash of what was encoded, which equal pictures alone have in common.
        blank: whether all of it is of one colour.
    """

    content: bytes
    sha256: str
    pixels: str
    width: int
    height: int
    blank: bool


@dataclass(frozen=True)
class PictureFormat:
    """A format of picture files.

    Attributes:
        quality: of JPEG and WebP, 1 to 100; None: Pillow's own, 75 and 80. A WebP file of quality 100 is lossless.

    Raises:
        UserError: a PNG file is to have a quality, or one is out of range.

    Examples:
        >>> PictureFormat("jpeg").suffix, PictureFormat("webp", 100).lossless
        ('.jpg', True)
        >>> PictureFormat("png", 90)
        Traceback (most recent call last):
        common.errors.UserError: --quality 90 is for webp and jpeg: a PNG file holds every pixel as it is (leave it out)
    """

    name: Name = "png"
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UserError(f"--format {self.name} is no format of pictures", f"choose {', '.join(NAMES)}")
        if self.quality is not None and self.name == "png":
            what = f"--quality {self.quality} is for webp and jpeg: a PNG file holds every pixel as it is"
            raise UserError(what, "leave it out")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UserError(f"--quality {self.quality} is out of range", "give 1 to 100")

    @property
    def suffix(self) -> str:
        """Return how its files' names end."""
        return ".jpg" if self.name == "jpeg" else f".{self.name}"

    @property
    def lossless(self) -> bool:
        """Return whether its files hold every pixel as it is."""
        return self.name == "png" or (self.name == "webp" and self.quality == LOSSLESS)

    def encode(self, pixels: "NDArray[np.uint8]", about: "About | None" = None) -> Encoded:
        """Return one picture [H, W, 3] as a file, which is the same bytes for the same picture.

        Args:
            pixels: of the picture.
            about: what the file is to say of it; None: nothing.
        """
        from PIL import Image

        height, width, _ = pixels.shape
        file = BytesIO()
        Image.fromarray(pixels).save(file, self.name, **self._coding(), **(self._saying(about, width, height)))
        return described(pixels, file.getvalue())

    def check(self, about: "About", where: str) -> None:
        """Raise a UserError where a file of this format has no room for what it is to say; `where` is the prompt."""
        if self.name != "jpeg":
            return
        sizes = {name: len(content) for name, content in self._saying(about, 99_999, 99_999).items()}
        if max(sizes.values()) > MOST_JPEG:
            raise UserError(
                f"{where} and its negative prompt take {max(sizes.values()):,} bytes as metadata, and a JPEG file has "
                f"room for {MOST_JPEG:,}",
                "use --format png or webp, or shorter prompts",
            )

    def _coding(self) -> dict[str, Any]:
        if self.name == "webp" and self.lossless:
            return {"lossless": True}
        return {} if self.quality is None else {"quality": self.quality}

    def _saying(self, about: "About | None", width: int, height: int) -> dict[str, Any]:
        """Return what Pillow's ``save`` takes to write it: text in PNG, EXIF in the others, XMP in all."""
        if about is None:
            return {}
        from PIL import Image, PngImagePlugin

        parameters = about.parameters(width, height)
        if self.name == "png":
            info = PngImagePlugin.PngInfo()
            for key, text in (
                ("parameters", parameters),
                ("Description", about.prompt),
                ("Software", about.software),
                ("reusebench", about.json()),
                ("XML:com.adobe.xmp", about.xmp().decode()),
            ):
                info.add_itxt(key, text)
            return {"pnginfo": info}
        exif = Image.Exif()
        exif[DESCRIPTION] = about.prompt.encode()  # as UTF-8, which EXIF's ASCII has become
        exif[SOFTWARE] = about.software
        exif.get_ifd(EXIF)[COMMENT] = b"UNICODE\0" + parameters.encode("utf-16-be")
        return {"exif": exif.tobytes(), "xmp": about.xmp()}


PNG = PictureFormat()


def described(pixels: "NDArray[np.uint8]", content: bytes) -> Encoded:
    """Return a file's content with what is known of its picture [H, W, 3]."""
    import numpy as np

    height, width, _ = pixels.shape
    digest = sha256_bytes(f"{height} x {width} ".encode() + np.ascontiguousarray(pixels).tobytes())
    return Encoded(content, sha256_bytes(content), digest, width, height, bool((pixels == pixels[:1, :1]).all()))
