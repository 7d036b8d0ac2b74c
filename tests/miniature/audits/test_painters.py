"""The stock pipelines that the audits run, on what is exported; few steps."""

from pathlib import Path

import pytest
import torch

from miniature.audits.painters import PAINTERS, Painter, batches

PROMPTS = ["a 3d drawing of a penguin on a blue background", "a cat above a car", "an owl"]


def hasty(painter: Painter) -> Painter:
    fewer = {"steps": 2, "prior_steps": 2, "super_res_steps": 2}
    painter.settings |= {name: count for name, count in fewer.items() if name in painter.settings}
    return painter


@pytest.mark.parametrize("name", PAINTERS)
def test_pictures_depend_on_prompt_and_seed_and_not_on_the_others(exported: Path, name: str) -> None:
    painter = hasty(PAINTERS[name](exported))
    assert painter.present()
    made = painter.pictures(PROMPTS, 1)
    assert made.shape == (3, 3, 64, 64)
    assert made.abs().max() <= 1
    assert made.std() > 0.01
    torch.testing.assert_close(painter.pictures(PROMPTS[:2], 1), made[:2], atol=0.02, rtol=0)
    assert (painter.pictures(PROMPTS, 2) - made).abs().mean() > 0.01


def test_absent_checkpoints_are_absent(tmp_path: Path) -> None:
    assert not any(kind(tmp_path).present() for kind in PAINTERS.values())


def test_batches_cover_every_prompt_once() -> None:
    assert [i for rows in batches(130) for i in range(130)[rows]] == list(range(130))
    assert max(rows.stop - rows.start for rows in batches(130)) == 64
