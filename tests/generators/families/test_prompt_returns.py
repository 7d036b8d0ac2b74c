"""What pipelines return for prompts, of every form, taken apart and put together again."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils._pytree import tree_leaves

from common.errors import UserError
from generators.combiners.mean import Mean
from generators.conditioning import Conditioning
from generators.families.prompt_returns import PROBES, batches_of, features, learned, packed, unpacked

CPU = torch.device("cpu")
PROMPTS = ["a fox", "a red fox asleep", "dogs"]


def states(prompt: str) -> Tensor:
    """A vector a letter, of the letter and its place."""
    return torch.tensor([[ord(letter), place + 1.0] for place, letter in enumerate(prompt)])


def masked(prompts: list[str]) -> tuple[Any, ...]:
    """Qwen-Image's kind: padded to the longest, with a mask, or None where it would hold everywhere."""
    rows = [states(prompt) for prompt in prompts]
    mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], batch_first=True)
    return pad_sequence(rows, batch_first=True), None if mask.all() else mask


def listed(prompts: list[str]) -> tuple[Any, ...]:
    """Z-Image's: a list of rows of their own lengths, and nothing where there is no guidance."""
    return [states(prompt) for prompt in prompts], []


def lengths(prompts: list[str]) -> tuple[Any, ...]:
    """Kandinsky 5's: where each prompt ends, were they in one row."""
    ends = torch.tensor([0, *(len(prompt) for prompt in prompts)]).cumsum(0).int()
    return masked(prompts)[0], torch.stack([states(prompt).mean(0) for prompt in prompts]), ends


def layered(prompts: list[str]) -> tuple[Any, ...]:
    """HiDream's: layers before prompts, all of one length; and FLUX's ids, which belong to no prompt."""
    rows = torch.stack([states(prompt.ljust(120))[:120] for prompt in prompts])
    return torch.stack([rows, 2 * rows]), torch.zeros(120, 3), None


def unmarked(prompts: list[str]) -> tuple[Any, ...]:
    """CogView4's: padded in front to the longest, which nothing tells."""
    longest = max(map(len, prompts))
    return (torch.stack([states(prompt.rjust(longest)) for prompt in prompts]),)


FORMS = [masked, listed, lengths, layered, unmarked]


def rows_of(form: Callable[[list[str]], Any], prompts: list[str]) -> Conditioning:
    """As a family packs them, in batches of two."""
    leaves = learned([[form(list(probe))] for probe in PROBES], left=form is unmarked)
    parts = [prompts[start : start + 2] for start in range(0, len(prompts), 2)]
    return Conditioning.joined([Conditioning(packed(leaves, [form(part)], len(part))) for part in parts])


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_one_batch_are_what_was_returned_for_it(form: Callable[[list[str]], Any]):
    tensors = rows_of(form, PROMPTS).tensors
    for places in ([0, 1], [2]):
        (returned,) = unpacked({name: tensor[places] for name, tensor in tensors.items()}, CPU)
        expected = form([PROMPTS[place] for place in places])
        pairs = list(zip(tree_leaves(returned), tree_leaves(expected), strict=True))
        assert type(returned) is type(expected)
        assert all(torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, Tensor) else a == b for a, b in pairs)


@pytest.mark.parametrize("form", [masked, listed, lengths])
def test_a_clusters_position_is_the_mean_of_the_prompts_that_reach_it(form: Callable[[list[str]], Any]):
    tensors = rows_of(form, PROMPTS[:2]).tensors
    node = {name: row[None] for name, row in Mean().node(tensors).items()}
    (returned,) = unpacked(node, CPU)
    combined = returned[0][0]
    short, long = states(PROMPTS[0]), states(PROMPTS[1])
    assert torch.equal(combined[: len(short)], (short + long[: len(short)]) / 2)
    assert torch.equal(combined[len(short) :], long[len(short) :])


def test_prompts_of_other_lengths_are_apart_where_nothing_tells_where_they_end():
    tensors = rows_of(unmarked, PROMPTS).tensors
    assert [places.tolist() for places in batches_of(tensors, 3)] == [[2], [0, 1]]
    assert [places.tolist() for places in batches_of(rows_of(masked, PROMPTS).tensors, 3)] == [[0, 1, 2]]
    assert [places.tolist() for places in batches_of(rows_of(masked, PROMPTS).tensors, 3, most=2)] == [[0, 1], [2]]


def test_features_are_the_pooled_vector_or_the_mean_where_the_mask_holds():
    means = torch.stack([states(prompt).mean(0) for prompt in PROMPTS]).double().numpy()
    for form, pooled in ((lengths, True), (masked, True), (listed, False)):
        rows = rows_of(form, PROMPTS)
        assert features(rows.tensors, rows.shapes, pooled=pooled) == pytest.approx(means)
    rows = rows_of(masked, PROMPTS)
    assert features(rows.tensors, rows.shapes, pooled=False, flattened=True).shape == (3, 2 * len(PROMPTS[1]))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda prompts: {"states": states(prompts[0])}, "returns a dict whose prompts cannot be told apart"),
        (lambda prompts: (states(prompts[-1]),), "returns a Tensor whose prompts cannot be told apart"),
        (lambda prompts: tuple(states(prompt) for prompt in prompts), "returns more for some prompts than for others"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(returned: Callable[[list[str]], Any], message: str):
    with pytest.raises(UserError, match=message):
        learned([[returned(list(probe))] for probe in PROBES], left=False)
