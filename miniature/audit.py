"""``python -m miniature.audit``: how good the miniature is, measured with stock pipelines; fills in the model card.

The judge that names what a picture shows was trained on artwork alone and shares no weights with the scorer.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from common.files import atomic_write, cache_dir
from miniature.audits.card import contact_sheet, fill, replace_rows, sizes
from miniature.audits.drawn import drawn
from miniature.audits.embeddings import autoencoder, prior
from miniature.audits.figure import Figure, table
from miniature.audits.painters import PAINTERS, Kandinsky, Karlo, Painter
from miniature.audits.pictures import generator, super_resolution
from miniature.audits.scorer import Scorer, scoring
from miniature.export import CHECKPOINTS, JUDGE
from miniature.training import judge as judging

CARD = Path(__file__).parent / "README.md"
SHEET = "contact_sheet.png"


def of_pictures(painters: list[Painter], work: Path) -> Iterator[list[Figure]]:
    """Return audit (b) of each model."""
    judge = judging.load(JUDGE)
    for painter in painters:
        yield generator(painter, judge)
        if isinstance(painter, Karlo):
            yield super_resolution(painter, work)


def of_scorer(painters: list[Painter], checkpoints: Path, work: Path) -> list[Figure]:
    """Return audit (a)."""
    return scoring(Scorer(checkpoints), judging.load(JUDGE), drawn(painters, work), work)


def of_everything(painters: list[Painter], checkpoints: Path, work: Path) -> Iterator[list[Figure]]:
    """Return every audit; those of the encoders and the scorer use Kandinsky, which is always there."""
    kandinsky = Kandinsky(checkpoints)
    yield autoencoder(kandinsky, work)
    yield prior(kandinsky, work)
    yield from of_pictures(painters, work)
    yield of_scorer(painters, checkpoints, work)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m miniature.audit", description=__doc__)
    parser.add_argument("--work", type=Path, default=cache_dir() / "miniature", help="where the artwork is, or goes")
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS)
    parser.add_argument("--card", type=Path, default=CARD, help="the model card whose table is filled in")
    parser.add_argument(
        "--family", nargs="+", choices=PAINTERS, help="print these families' audits (b) alone, and leave the card"
    )
    parser.add_argument(
        "--scorer", action="store_true", help="run the scorer's audits (a) alone, and fill in their rows"
    )
    chosen = parser.parse_args()
    painters = [PAINTERS[name](chosen.checkpoints) for name in chosen.family or PAINTERS]
    absent = [painter.name for painter in painters if not painter.present()]
    if chosen.family and absent:
        parser.error(f"{chosen.checkpoints} lacks parts of {', '.join(absent)}: train and export them first")
    painters = [painter for painter in painters if painter.present()]
    if chosen.family:
        audits = of_pictures(painters, chosen.work)
    elif chosen.scorer:
        audits = iter([of_scorer(painters, chosen.checkpoints, chosen.work)])
    else:
        audits = of_everything(painters, chosen.checkpoints, chosen.work)
    figures = []
    for found in audits:
        figures += found
        print("\n".join(figure.line for figure in found), flush=True)
    if chosen.scorer and chosen.card.exists():
        atomic_write(chosen.card, replace_rows(chosen.card.read_text(), "(a)", figures))
    elif not chosen.family and chosen.card.exists():
        card = fill(chosen.card.read_text(), "audit", table(figures))
        atomic_write(chosen.card, fill(card, "sizes", sizes(chosen.checkpoints)))
        contact_sheet(Kandinsky(chosen.checkpoints)).save(chosen.card.parent / SHEET)


if __name__ == "__main__":
    main()
