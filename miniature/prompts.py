"""``python -m miniature.prompts FOLDER``: the four prompt sets of the small world, in the shapes of the paper's."""

import argparse
from pathlib import Path

import numpy as np
import yaml

from miniature.world import (
    BACKGROUNDS,
    CONCEPTS,
    RELATIONS,
    SCENE_CONCEPTS,
    STYLES,
    Scene,
    article,
    caption,
    has_drawing,
)

SAMPLE = 120


def animals() -> list[str]:
    """Return one thing a prompt, style and background left open, as the paper's ``animals`` names one animal each."""
    return [article(concept) for concept in CONCEPTS]


def templates() -> list[str]:
    """Return a sample of style x thing x background, as the paper's ``prompt_templates``."""
    rng = np.random.default_rng(11)
    every = [Scene((c,), s, b) for c in CONCEPTS for s in STYLES if has_drawing(c, s) for b in BACKGROUNDS]
    return [caption(every[i]) for i in rng.choice(len(every), SAMPLE, replace=False)]


def styles() -> list[str]:
    """Return one thing in every style on every background, as the paper's ``style_variations`` of one scene."""
    return [caption(Scene(("penguin",), style, background)) for style in STYLES for background in BACKGROUNDS]


def scenes() -> list[str]:
    """Return two things and how they lie, as the compositions of the paper's ``genai_bench``."""
    rng = np.random.default_rng(12)
    told = []
    for i in range(SAMPLE):
        first, second = (str(c) for c in rng.choice(SCENE_CONCEPTS, 2, replace=False))
        told.append(
            caption(
                Scene((first, second), str(rng.choice(STYLES)), str(rng.choice(list(BACKGROUNDS))), RELATIONS[i % 4])
            )
        )
    return list(dict.fromkeys(told))


SETS = {"mini_animals": animals, "mini_templates": templates, "mini_styles": styles, "mini_scenes": scenes}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m miniature.prompts", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name, make in SETS.items():
        description = " ".join((make.__doc__ or "").split())
        text = yaml.safe_dump(
            {"description": description, "licence": "MIT", "prompts": make()}, sort_keys=False, width=200
        )
        (folder / f"{name}.yaml").write_text(text)
        print(f"{name}: {len(make())} prompts")


if __name__ == "__main__":
    main()
