"""Similarity of pairs of pictures whose paths parted; `parted` makes such a run."""

import numpy as np
import pandas as pd
import pytest

from common.errors import UserError
from reports.base import RunView
from reports.splits import band_name, splits


def test_every_cell_in_which_prompts_share_has_its_bands(parted) -> None:
    view = RunView.of(parted())
    found = view.once(splits)
    assert [float(split.record.config.tau) for split in found] == [0.5, 1], "at tau 0 nobody shares"
    for split in found:
        assert split.column == "clip_diversity.clip"
        assert sum(band.pairs for band in split.bands) == 60 * 59 / 2
        assert split.bands[-1].excess.value > 0.1, "these pictures were made to be alike"
        names = [band_name(band) for band in split.bands]
        assert set(names) <= {"none", "0-20", "20-40", "40-60", "60-80", "80-100"}


def test_a_metric_that_embeds_nothing_is_no_split(parted) -> None:
    run = parted()
    for path in run.rglob("scores.parquet"):
        pd.read_parquet(path)[["prompt", "vqa.vqa"]].to_parquet(path)
    assert RunView.of(run).once(splits) == []


def test_two_encoders_are_two_splits(parted) -> None:
    run = parted(taus=("1",))
    for path in run.rglob("scores.parquet"):
        scores = pd.read_parquet(path)
        scores["structure_diversity.structure"] = list(-np.stack(scores["clip_diversity.clip"]))
        scores.to_parquet(path)
    clip, structure = RunView.of(run).once(splits)
    assert [clip.column, structure.column] == ["clip_diversity.clip", "structure_diversity.structure"]
    assert structure.bands == clip.bands, "turning every picture around changes no cosine"


@pytest.mark.parametrize("name", ["plan.npz", "scores.parquet"])
def test_a_missing_or_damaged_file_is_named(parted, name: str) -> None:
    run = parted(taus=("1",))
    (path,) = run.glob(f"cells/*/{name}")
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=name):
        splits(RunView.of(run))
    path.unlink()
    with pytest.raises(UserError, match=name):
        splits(RunView.of(run))
