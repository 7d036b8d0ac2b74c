from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from common.files import atomic_write
from generators.sharing.arrays import write_npz
from reports.base import RunView
from reports.figures.coarse_to_fine import CoarseToFineFigure
from reports.render import write_view
from reports.style import entitle, theme
from studies.manifest import CURVES, KIND, MANIFEST, STUDIES, CoarseToFine, Pictured, Settled

STEPS = 10
Part = Callable[..., CoarseToFine]


@pytest.fixture
def part(tmp_path: Path) -> Part:
    """Write one model's trajectories: `late` is the share of the steps after which the finest of `bands` settles."""

    def made(model: str, late: float, bands: int = 3, **more) -> CoarseToFine:
        folder = tmp_path / STUDIES / "coarse-to-fine" / f"{model.replace('/', '-')}-{len(more)}-{late}"
        names = ["a.png", "b.png", "final.png"]
        for shade, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (80 * shade, 0, 0)).save(folder / name)
        settled = np.linspace(0.2, late, bands)
        error = np.ones((2, STEPS, bands)) * (np.arange(STEPS)[:, None] / STEPS < settled)
        power = np.ones((2, STEPS, 2**bands)) * np.linspace(0.1, 1, STEPS)[:, None]
        write_npz(folder / CURVES, KIND, {"error": error, "power": power, "final": np.ones((2, 2**bands))})
        manifest = CoarseToFine(
            **{
                "version": 1,
                "identity": {},
                "model": model,
                "dataset": "mini_animals",
                "seed": 42,
                "scheduler": "DDPMScheduler",
                "conditioned_on": "image",
                "K": STEPS,
                "standard": "shared/0",
                "bands": [(2**i, 2 ** (i + 1)) for i in range(bands)],
                "tolerance": 0.1,
                "settled": [settled.tolist()] * 2,
                "mean": [Settled(value=value, low=value - 0.05, high=value + 0.02) for value in settled],
                "steps": [0, 9],
                "pictured": [Pictured(prompt="costs $x^$ <b>", steps=names[:2], final=names[2])],
                **more,
            }
        )
        atomic_write(folder / MANIFEST, manifest.model_dump_json())
        return manifest

    return made


def draw(run: Path, title: str = ""):
    with theme():
        figure = CoarseToFineFigure().draw(RunView(run, ()))
        if figure:
            entitle(figure, title)
            figure.canvas.draw()
    return figure


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in [*axes.texts, axes.title, axes._left_title]]


def test_nothing_where_the_study_was_not_made(tmp_path):
    assert draw(tmp_path) is None


def test_models_stand_by_how_late_their_fine_frequencies_settle(part, tmp_path):
    for model, late in (("early", 0.5), ("late", 0.9), ("middling", 0.7)):
        part(model, late)
    figure = draw(tmp_path)
    rows = [text for text in texts(figure) if text in ("early", "late", "middling")][:3]
    assert rows == ["late", "middling", "early"]
    (words,) = [text for text in texts(figure) if "are settled after" in text]
    assert words.splitlines()[0] == "4 to 8 cycles a picture are settled after"
    assert words.splitlines()[1].strip() == "90% [85, 92] of the steps by late"


def test_the_finest_band_that_all_have_is_compared(part, tmp_path):
    part("large", 0.9, bands=5)
    part("small", 0.6, bands=3)
    (words,) = [text for text in texts(draw(tmp_path)) if "are settled after" in text]
    assert words.startswith("4 to 8 cycles")
    assert "55% [50, 57] of the steps by large" in words


def test_pictures_are_in_the_order_of_the_steps_and_the_prompt_is_data(part, tmp_path):
    part("one", 0.5)
    figure = draw(tmp_path)
    page = figure.axes[0].images[0].get_array()
    across = page[page.shape[0] // 2]
    seen = [shade for shade in (0, 80, 160) if (across == (shade, 0, 0)).all(axis=1).any()]
    assert seen == [0, 80, 160]
    firsts = [int(np.argmax((across == (shade, 0, 0)).all(axis=1))) for shade in seen]
    assert firsts == sorted(firsts)
    assert {"1/10", "10/10", "final"} <= set(texts(figure))
    assert any("“costs $x^$ <b>”" in text for text in texts(figure))


def test_what_tells_two_of_one_model_apart_is_said(part, tmp_path):
    part("same", 0.9)
    part("same", 0.6, scheduler="DDIMScheduler")
    named = " ".join(" ".join(texts(draw(tmp_path))).split())
    assert "same, DDPMScheduler" in named
    assert "same, DDIMScheduler" in named
    assert "Schedulers differ" in named


def test_a_damaged_picture_is_named(part, tmp_path):
    manifest = part("one", 0.5)
    for path in tmp_path.rglob("final.png"):
        path.write_bytes(b"\x89PNG cut short")
    with pytest.raises(UserError, match=r"final\.png"):
        draw(tmp_path)
    assert manifest.model == "one"


def test_a_report_of_a_run_without_cells_shows_it_under_the_runs_title(part, tmp_path):
    part("one", 0.5)
    report = write_view(RunView(tmp_path, (), title="in miniature"))
    assert [path.name for path in report.figures] == ["coarse_to_fine.png", "coarse_to_fine.svg", "coarse_to_fine.pdf"]
    assert "in miniature" in report.figures[1].read_text()
