from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import UserError
from common.files import atomic_write
from reports.base import RunView
from reports.figures.mean_embedding import BIG, FRAME, GOLD, WIDTH, MeanEmbeddingFigure
from reports.style import theme
from studies.manifest import MANIFEST, STUDIES, MeanEmbedding, MeanNode

N = 40


@pytest.fixture
def part(tmp_path: Path) -> Callable[..., MeanEmbedding]:
    """Write the means of clusters: by height, the sizes of its clusters. Means are red, prompt i has shade i."""

    def made(sizes: dict[float, list[int]], **more) -> MeanEmbedding:
        folder = tmp_path / STUDIES / "mean-embedding" / f"part-{len(more)}"
        folder.mkdir(parents=True)
        pictures = tmp_path / "shared" / "0" / "images"
        pictures.mkdir(parents=True, exist_ok=True)
        for i in range(N):
            Image.new("RGB", (8, 8), (0, 0, 4 * i + 4)).save(pictures / f"{i:05d}.png")
        nodes = []
        for height, clusters in sizes.items():
            for size in clusters:
                number = N + len(nodes)
                Image.new("RGB", (8, 8), (255, 0, 0)).save(folder / f"node-{number}.png")
                members, image = list(range(size)), f"node-{number}.png"
                nodes.append(MeanNode(node=number, score=height / 2, height=height, members=members, image=image))
        manifest = MeanEmbedding(
            **{
                "version": 1,
                "identity": {},
                "model": "mini-kandinsky",
                "dataset": "mini_animals",
                "seed": 42,
                "scheduler": "DDPMScheduler",
                "K": 20,
                "standard": "shared/0",
                "strategy": "ward-cosine",
                "features": "image_embeds",
                "combiner": "mean",
                "prompts": [f"prompt {i} of <b>$x$" for i in range(N)],
                "nodes": nodes,
                **more,
            }
        )
        atomic_write(folder / MANIFEST, manifest.model_dump_json())
        return manifest

    return made


def draw(run: Path):
    with theme():
        figure = MeanEmbeddingFigure().draw(RunView(run, ()))
        if figure:
            figure.canvas.draw()
    return figure


def page(figure) -> np.ndarray:
    return np.asarray(figure.axes[0].images[0].get_array())


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_nothing_where_the_study_was_not_made_or_found_no_cluster(part, tmp_path):
    assert draw(tmp_path) is None
    part({})
    assert draw(tmp_path) is None


def test_a_mean_is_framed_and_its_prompts_stand_beside_it(part, tmp_path):
    part({0.5: [3]})
    figure = draw(tmp_path)
    pixels = page(figure)
    red, gold = (int((pixels == colour).all(axis=2).sum()) for colour in ((255, 0, 0), GOLD))
    assert red == (BIG - 2 * FRAME) ** 2
    assert gold == BIG**2 - red
    left = np.flatnonzero((pixels == (255, 0, 0)).all(axis=2).any(axis=0)).max()
    for i in range(3):
        across = np.flatnonzero((pixels == (0, 0, 4 * i + 4)).all(axis=2).any(axis=0))
        assert len(across) > 0
        assert across.min() > left
    assert not (pixels == (0, 0, 16)).all(axis=2).any(), "the fourth prompt is no member"
    assert "mean of 3, merged at 0.25" in texts(figure)
    assert any(text.startswith("prompt 0 of <b>$x$, prompt 1") for text in texts(figure))


def test_a_row_a_height_and_what_does_not_fit_is_left_out_evenly(part, tmp_path):
    part({0.5: [2] * 12, 1.0: [N, 5]})
    figure = draw(tmp_path)
    assert [text for text in texts(figure) if "height" in text] == ["clusters at height 0.5", "clusters at height 1"]
    assert page(figure).shape[1] == WIDTH
    assert 3 <= texts(figure).count("mean of 2, merged at 0.25") < 12
    assert any(text.endswith("and 32 more") or "…" in text for text in texts(figure))


def test_two_trees_are_told_apart(part, tmp_path):
    part({0.5: [2]})
    part({0.5: [2]}, features="text_embeds")
    headings = [text for text in texts(draw(tmp_path)) if text.startswith("mini-kandinsky")]
    assert headings == [
        "mini-kandinsky on mini_animals, image_embeds",
        "mini-kandinsky on mini_animals, text_embeds",
    ]


def test_a_missing_picture_is_named(part, tmp_path):
    part({0.5: [2]})
    (tmp_path / "shared" / "0" / "images" / "00001.png").unlink()
    with pytest.raises(UserError, match=r"00001\.png"):
        draw(tmp_path)
