"""Samples of a prompt set: which prompts' pictures are made, where all are planned."""

from common.files import sha256_text
from generators.prompts import PromptSet
from sweeps.record import Sample

PER_STRATUM = 4  # prompts drawn of each: enough to know its spread, few enough that neighbours stay together


def drawn(prompts: PromptSet, n: int, seed: int) -> Sample | None:
    """Return a stratified random sample of n prompts; None where there are not more.

    Strata are prompts that follow each other in alphabetical order, as many in each as in any other: prompts of one
    template, which share most, are neighbours there, and every kind of prompt has its part of the sample. Within a
    stratum prompts are drawn without replacement, each with the same probability, by a hash of `seed` and their keys.
    So a sample depends on the texts alone: it is the same for every model, strategy and tau, and in any order of the
    file.

    Examples:
        >>> from generators.prompts import given_prompts
        >>> prompts = given_prompts(f"a {animal} in {place}" for animal in ("cat", "fox") for place in "abcdef")
        >>> sample = drawn(prompts, 8, seed=1)
        >>> sample.sizes, [len(rows) for _, rows in sample.strata]
        ((6, 6), [4, 4])
        >>> drawn(prompts, 12, seed=1) is None
        True
    """
    if n >= len(prompts):
        return None
    keys = prompts.keys
    order = sorted(range(len(prompts)), key=lambda row: (prompts.prompts[row], keys[row]))
    number = max(1, n // PER_STRATUM)
    strata: list[tuple[int, tuple[int, ...]]] = []
    begin = 0
    for place in range(number):
        size, taken = (whole // number + (place < whole % number) for whole in (len(prompts), n))
        stratum = order[begin : begin + size]
        lots = sorted(stratum, key=lambda row: sha256_text(f"{seed} {keys[row]}"))
        strata.append((size, tuple(lots[:taken])))
        begin += size
    return Sample(of=len(prompts), strata=tuple(strata))
