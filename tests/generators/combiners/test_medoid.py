import torch
from hypothesis import given
from hypothesis import strategies as st

from generators.combiners.base import get_combiner


def rows(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10**6), st.integers(1, 9))
def test_it_is_the_prompt_nearest_the_mean(seed: int, m: int) -> None:
    embeddings = rows(seed, m, 6)
    mean = get_combiner("mean").combine(embeddings)
    chosen = get_combiner("medoid").combine(embeddings)
    assert (embeddings == chosen).all(dim=1).any()
    assert torch.isclose((chosen - mean).norm(), (embeddings - mean).norm(dim=1).min())


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_every_tensor_and_mask_is_the_same_prompts(seed: int, m: int) -> None:
    """Nobody's words beside another's, unlike what combining each position by itself would give."""
    mask = (torch.arange(4) < torch.randint(1, 5, (m, 1), generator=torch.Generator().manual_seed(seed))).float()
    members = {"states": rows(seed, m, 4, 3), "states.mask": mask, "pooled": rows(seed + 1, m, 5)}
    node = get_combiner("medoid").node(members)
    assert any(all(torch.equal(node[name], members[name][prompt]) for name in members) for prompt in range(m))


def test_tensors_weigh_the_same_however_large_their_numbers() -> None:
    """Prompt 1 is at the mean of the small tensor; that the other is a thousand times larger must not drown it."""
    small = torch.tensor([[-3.0], [0.0], [3.0]])
    large = 1000 * torch.tensor([[0.9], [1.1], [-2.0]])
    assert get_combiner("medoid").node({"small": small, "large": large})["small"].item() == 0
