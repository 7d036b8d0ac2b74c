"""The drawings: fetched as packages when training, rendered once, never committed (see NOTICE)."""

import io
import json
import subprocess
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common.pictures import opened
from miniature.world import CONCEPTS, STYLES, drawings

# style: (npm package, version, licence)
SOURCES = {
    "noto": ("@iconify-json/noto", "1.2.9", "Apache-2.0"),
    "twemoji": ("@iconify-json/twemoji", "1.2.5", "CC-BY-4.0"),
    "emojione": ("@iconify-json/emojione", "1.2.3", "CC-BY-4.0"),
    "firefox": ("@iconify-json/fxemoji", "1.2.2", "Apache-2.0"),
    "flat": ("@iconify-json/fluent-emoji-flat", "1.2.6", "MIT"),
    "3d": ("@lobehub/fluent-emoji-3d", "1.1.0", "MIT"),
}
SIDE = 96


def fetch(style: str, folder: Path) -> Path:
    """Return the package archive of one style in `folder`, downloaded with ``npm pack`` unless it is there."""
    package, version, _ = SOURCES[style]
    archive = folder / f"{package.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not archive.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=folder, check=True, capture_output=True)
    return archive


def rasterise(body: str, box: tuple[float, float, float, float]) -> Image.Image:
    import resvg_py

    left, top, width, height = box
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}">{body}</svg>'
    )
    png = resvg_py.svg_to_bytes(svg_string=svg, width=2 * SIDE, height=round(2 * SIDE * height / width))
    with opened(io.BytesIO(bytes(png))) as picture:
        return picture.convert("RGBA")


def squared(drawing: Image.Image) -> Image.Image:
    """Return the drawing cut to what is not transparent, centred in a square of `SIDE` pixels."""
    drawing = drawing.crop(drawing.getchannel("A").point(lambda alpha: 255 if alpha > 8 else 0).getbbox())
    side = max(drawing.size)
    square = Image.new("RGBA", (side, side))
    square.paste(drawing, ((side - drawing.width) // 2, (side - drawing.height) // 2))
    return square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def _vector_drawings(archive: Path, style: str, names: dict[str, str]) -> dict[str, Image.Image]:
    with tarfile.open(archive) as package:
        icons = json.loads(package.extractfile("package/icons.json").read())  # type: ignore[union-attr]
    found = {}
    for concept, name in names.items():
        icon = icons["icons"].get(name) or icons["icons"][icons["aliases"][name]["parent"]]
        size = (icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16)))
        found[concept] = rasterise(icon["body"], (icon.get("left", 0), icon.get("top", 0), *size))
    return found


def _names_by_code_point(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as package:
        return dict(json.loads(package.extractfile("package/chars.json").read()))  # type: ignore[union-attr]


def _three_d_drawings(archive: Path) -> dict[str, Image.Image]:
    found = {}
    with tarfile.open(archive) as package:
        members = {Path(m.name).stem: m for m in package.getmembers() if m.name.endswith(".webp")}
        for concept, (code, _) in CONCEPTS.items():
            member = members.get(code) or members[f"{code}-fe0f"]
            with opened(io.BytesIO(package.extractfile(member).read())) as picture:  # type: ignore[union-attr]
                found[concept] = picture.convert("RGBA")
    return found


@cache
def sprites(work: Path) -> dict[tuple[str, str], Image.Image]:
    """Return every drawing as an RGBA square, by (concept, style); rendered once into ``work/sprites.npz``."""
    store = work / "sprites.npz"
    if store.exists():
        pixels: NDArray[np.uint8] = np.load(store, allow_pickle=False)["pixels"]
        return {pair: Image.fromarray(p, "RGBA") for pair, p in zip(drawings("all"), pixels, strict=True)}
    archives = {style: fetch(style, work / "artwork") for style in STYLES}
    by_code = _names_by_code_point(archives["noto"])
    common = {concept: by_code.get(code) or by_code[f"{code}-fe0f"] for concept, (code, _) in CONCEPTS.items()}
    rendered: dict[tuple[str, str], Image.Image] = {}
    for style in STYLES:
        if style == "3d":
            found = _three_d_drawings(archives[style])
        elif style == "firefox":
            found = _vector_drawings(archives[style], style, {c: fx for c, (_, fx) in CONCEPTS.items() if fx})
        else:
            found = _vector_drawings(archives[style], style, common)
        rendered |= {(concept, style): squared(drawing) for concept, drawing in found.items()}
    np.savez_compressed(store, pixels=np.stack([np.asarray(rendered[pair]) for pair in drawings("all")]))
    return rendered
