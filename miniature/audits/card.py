"""The model card: its table of sizes, what stands between its marks, and the contact sheet."""

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from safetensors import safe_open

from miniature.audits.figure import Figure
from miniature.audits.painters import Painter
from miniature.world import caption, random_scene


def contact_sheet(painter: Painter) -> Image.Image:
    """Return 64 prompts' pictures, each under its prompt's words."""
    rng = np.random.default_rng(10)
    scenes = [random_scene(rng, two_objects=0.2) for _ in range(64)]
    made = ((painter.pictures([caption(s) for s in scenes], 5) + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy()
    cell, words = 104, 26
    sheet = Image.new("RGB", (8 * cell, 8 * (cell + words)), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (scene, pixels) in enumerate(zip(scenes, made, strict=True)):
        x, y = i % 8 * cell, i // 8 * (cell + words)
        sheet.paste(Image.fromarray(pixels).resize((96, 96), Image.Resampling.LANCZOS), (x + 4, y + words))
        what = (
            scene.concepts[0]
            if not scene.relation
            else f"{scene.concepts[0]} {scene.relation.split()[0]} {scene.concepts[1]}"
        )
        pen.text((x + 4, y + 1), f"{what}\n{scene.style}, {scene.background}", fill="black", font_size=10)
    return sheet


def sizes(folder: Path) -> str:
    """Return the checkpoints' rows of the model card: each weights file and its parameters."""
    rows = ["| folder | class | parameters | on disk |", "| --- | --- | --- | --- |"]
    for weights in sorted(folder.rglob("*.safetensors")):
        config = weights.parent / "config.json"
        known = json.loads(config.read_text()) if config.exists() else {}
        kind = known.get("_class_name") or (known.get("architectures") or [""])[0]
        with safe_open(weights, "pt") as file:
            count = sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118
        where = weights.parent.relative_to(folder).as_posix()
        rows.append(f"| `{where}` | {kind} | {count / 1e6:.2f} M | {weights.stat().st_size / 2**20:.1f} MiB |")
    return "\n".join(rows)


def fill(card: str, mark: str, text: str) -> str:
    """Return the card with `text` between the comments of that name."""
    return re.sub(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", lambda m: f"{m[1]}{text}\n{m[2]}", card, flags=re.S)


def replace_rows(card: str, letter: str, figures: list[Figure]) -> str:
    """Return the card with one audit's rows, such as ``"(a)"``, replaced where the first of them stood."""
    lines, start = card.split("\n"), f"| {letter} "
    first = next(i for i, line in enumerate(lines) if line.startswith(start))
    kept = [line for line in lines if not line.startswith(start)]
    return "\n".join([*kept[:first], *(figure.line for figure in figures), *kept[first:]])
