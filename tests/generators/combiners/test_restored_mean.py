import torch
from hypothesis import given
from hypothesis import strategies as st

from generators.combiners.base import get_combiner


def rows(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10**6), st.integers(1, 9))
def test_direction_is_the_means_and_length_the_mean_length(seed: int, m: int) -> None:
    """At every position of a sequence by itself."""
    states = rows(seed, m, 4, 6)
    mean, restored = (get_combiner(name).combine(states) for name in ("mean", "restored-mean"))
    assert torch.allclose(restored.norm(dim=-1), states.norm(dim=-1).mean(0), rtol=1e-5)
    assert torch.allclose(torch.cosine_similarity(restored, mean, dim=-1), torch.ones(4), atol=1e-5)


def test_unit_vectors_stay_unit_vectors() -> None:
    unlike = torch.nn.functional.normalize(rows(0, 50, 16), dim=-1)
    assert get_combiner("mean").combine(unlike).norm() < 0.5
    assert torch.isclose(get_combiner("restored-mean").combine(unlike).norm(), torch.tensor(1.0))


def test_opposites_have_no_direction_to_restore() -> None:
    one = rows(1, 5)
    assert torch.equal(get_combiner("restored-mean").combine(torch.stack([one, -one])), torch.zeros(5))


def test_a_position_restores_the_length_of_who_has_a_word_there() -> None:
    states, mask = rows(2, 3, 2, 4), torch.tensor([[1.0, 1], [1, 0], [1, 1]])
    node = get_combiner("restored-mean").node({"states": states, "states.mask": mask})["states"]
    assert torch.isclose(node[1].norm(), states[[0, 2], 1].norm(dim=-1).mean())
    assert torch.isclose(node[0].norm(), states[:, 0].norm(dim=-1).mean())
