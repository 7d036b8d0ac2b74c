from hypothesis import given
from hypothesis import strategies as st

from miniature.world import (
    BACKGROUNDS,
    CONCEPTS,
    RELATIONS,
    SCENE_CONCEPTS,
    STYLES,
    Scene,
    caption,
    drawings,
    held_out,
    random_scene,
)


def test_the_world_is_as_large_as_the_model_card_says() -> None:
    assert len(CONCEPTS) == 68
    assert len(STYLES) == 6
    assert len(BACKGROUNDS) == 10
    assert set(SCENE_CONCEPTS) <= set(CONCEPTS)


def test_held_out_pairs_are_in_no_training_scene() -> None:
    import numpy as np

    assert len(held_out()) == 24
    assert not held_out() & set(drawings("train"))
    assert set(drawings("train")) | held_out() == set(drawings("all"))
    rng = np.random.default_rng(0)
    seen = {(c, s.style) for s in (random_scene(rng) for _ in range(5000)) for c in s.concepts}
    assert not seen & held_out()


@given(st.sampled_from(SCENE_CONCEPTS), st.sampled_from(SCENE_CONCEPTS), st.sampled_from(RELATIONS))
def test_a_scene_told_from_either_side_is_one_scene(first: str, second: str, relation: str) -> None:
    turned = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}[relation]
    here = Scene((first, second), "flat", "red", relation)
    there = Scene((second, first), "flat", "red", turned)
    assert here.canonical() == there.canonical()


def test_captions_read_as_english() -> None:
    assert caption(Scene(("owl",), "emojione", "orange")) == "an emojione drawing of an owl on an orange background"
    assert caption(Scene(("grapes",), "3d", "red"), style=False) == "grapes on a red background"
    assert caption(Scene(("cat", "car"), "3d", "red", "above"), style=False, background=False) == "a cat above a car"
