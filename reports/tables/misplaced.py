"""Pictures that fit another prompt of their set better than their own, beside the baseline's and the A/A's."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from common.errors import UserError
from metrics.base import OF_PROMPTS
from metrics.misplaced import Rivals, misplaced_p, rivals
from reports.base import RunView, Table
from reports.frame import varying_axes
from reports.labels import axis_text, p_value, title
from reports.pooling import ways
from reports.sheet import Column, Entry, Sheet
from reports.splits import embeddings
from sweeps.record import CellConfig, Record

ALARM = 0.02  # a p-value: six pictures of which none fits better than the baseline's are below it, five are not
NAMED = 3  # pictures in a sentence, the most misplaced first
NOTES = (
    "a picture is misplaced where the encoder finds it more alike to another prompt of the set than to its own",
    "p: one-sided permutation test of how far another prompt leads, exchanging a prompt's picture with the baseline's; "
    "not corrected for the number of rows; named where p is below 0.02",
)


@dataclass(frozen=True)
class Misplaced:
    """A way to share, or a reference, by one encoder: which pictures fit another prompt better than their own.

    Attributes:
        records: one a seed.
        encoder: ``<metric>.<column>`` of the embeddings.
        prompts: the set's texts [N].
        baseline: of each seed's baseline pictures.
        ours: of each seed's own.
        p: see `metrics.misplaced.misplaced_p`.
    """

    records: tuple[Record, ...]
    encoder: str
    prompts: tuple[str, ...]
    baseline: tuple[Rivals, ...]
    ours: tuple[Rivals, ...]
    p: float

    @property
    def config(self) -> CellConfig:
        return self.records[0].config

    @property
    def pictures(self) -> int:
        return sum(len(seed.lead) for seed in self.ours)

    @property
    def found(self) -> bool:
        """Whether more are misplaced, or further, than chance makes of the baseline's."""
        return self.p < ALARM

    def count(self, baseline: bool = False) -> int:
        return sum(int((seed.lead > 0).sum()) for seed in (self.baseline if baseline else self.ours))

    def worst(self) -> list[tuple[int, int, int]]:
        """Return seed, row of the prompt, and row of the rival, of pictures more misplaced than the baseline's."""
        further = [
            (float(lead - max(before, 0)), record.config.seed, row, int(mine.prompt[row]))
            for record, mine, theirs in zip(self.records, self.ours, self.baseline, strict=True)
            for row, (lead, before) in enumerate(zip(mine.lead, theirs.lead, strict=True))
            if lead > max(before, 0)
        ]
        return [(seed, row, rival) for _, seed, row, rival in sorted(further, reverse=True)]


class MisplacedTable(Table):
    """Pictures that fit another prompt of the set better than their own, by way to share and encoder, and which."""

    name = "misplaced"
    rank: ClassVar[int] = 11
    printed: ClassVar[bool] = False

    def sheet(self, run: RunView) -> Sheet | None:
        import pandas as pd

        every = run.once(misplaced)
        if not every:
            return None
        axes = [axis for axis in varying_axes([one.records[0] for one in every]) if axis != "seed"]
        columns = [
            *(Column(axis, not isinstance(getattr(every[0].config, axis), str), key=True) for axis in axes),
            Column("tau", key=True),
            Column("by", numeric=False, key=True),
            *map(Column, ("pictures", "misplaced", "baseline's", "p")),
            Column("which, instead of what", numeric=False),
        ]
        rows = [
            [
                *(Entry(axis_text(getattr(one.config, axis))) for axis in axes),
                Entry(f"{one.config.tau:f}"),
                Entry(title(one.encoder.partition(".")[0])),
                Entry(f"{one.pictures:,}"),
                Entry(f"{one.count():,}"),
                Entry(f"{one.count(baseline=True):,}"),
                Entry(p_value(one.p)),
                Entry(_named(one) if one.found else ""),
            ]
            for one in every
        ]
        data = pd.DataFrame([_row(one, *worst) for one in every for worst in one.worst()] or [_row(every[0])])
        return Sheet(columns, rows, data, "pictures that fit another prompt of the set better than their own", NOTES)


def misplaced(run: RunView) -> list[Misplaced]:
    """Return every way to share with tau above 0, and the seed controls, by every encoder that reads prompts too.

    Call it as `run.once(misplaced)`. A way whose scores cannot be read is left out: another table says so.
    """
    read = cache(embeddings)
    shared = [record for record in run.records if record.config.tau > 0]
    groups = [*ways(shared), *ways(run.held_against("another-seed"))]
    return [one for records in groups for one in _of_way(run, records, read)]


def in_words(run: RunView) -> list[str]:
    """Return a sentence for each encoder by which pictures are misplaced, naming the worst of them; mostly nothing."""
    every = run.once(misplaced)
    sentences = []
    for encoder in dict.fromkeys(one.encoder for one in every):
        found = [one for one in every if one.encoder == encoder and one.records[0].role == "sharing" and one.found]
        if not found:
            continue
        worst = max(found, key=lambda one: one.count() / one.pictures)
        controls = [one for one in every if one.encoder == encoder and one.records[0].role != "sharing"]
        control = "".join(f"; the seed control has {one.count()} of {one.pictures}" for one in controls[:1])
        more = f", and some in {len(found) - 1} other cells" if len(found) > 1 else ""
        sentences.append(
            f"misplaced: {worst.count()} of {worst.pictures} pictures at {_place(run, worst)} fit another prompt of "
            f"the set better than their own ({title(encoder.partition('.')[0])}; the baseline has "
            f"{worst.count(baseline=True)}{control}; p {_p(worst.p)}){more}: {_named(worst)}"
        )
    return sentences


def _of_way(run: RunView, records: Sequence[Record], read: Any) -> list[Misplaced]:
    try:
        scores = [(read(record.baseline_scores(run.path)), read(record.scores(run.path))) for record in records]
        prompts = tuple(records[0].prompts(run.path))
    except (UserError, OSError):
        return []
    before, after = scores[0]
    encoders = [name for name in after if f"{name}{OF_PROMPTS}" in before and name in before]
    ways_found = []
    for encoder in encoders:
        asked = before[f"{encoder}{OF_PROMPTS}"]
        if len(prompts) < 2 or any(
            encoder not in one or len(one[encoder]) != len(asked) for pair in scores for one in pair
        ):
            continue
        baseline, ours = (tuple(rivals(pair[side][encoder], asked) for pair in scores) for side in (0, 1))
        p = misplaced_p(np.array([seed.lead for seed in baseline]), np.array([seed.lead for seed in ours]))
        ways_found.append(Misplaced(tuple(records), encoder, prompts, baseline, ours, p))
    return ways_found


def _named(one: Misplaced) -> str:
    """Return the worst pictures, each by its prompt's number and text, and what it shows rather; then how many more."""
    worst = one.worst()
    several = len(one.records) > 1
    named = [
        f'{row}{f" of seed {seed}" if several else ""}, "{one.prompts[row]}", fits "{one.prompts[rival]}"'
        for seed, row, rival in worst[:NAMED]
    ]
    return "; ".join([*named, *([f"and {len(worst) - NAMED} more"] if len(worst) > NAMED else [])])


def _row(one: Misplaced, seed: int | None = None, row: int | None = None, rival: int | None = None) -> dict[str, Any]:
    return {
        **{axis: value for axis, value in one.config.model_dump().items() if axis not in ("seed", "tau")},
        "role": one.records[0].role,
        "tau": float(one.config.tau),
        "by": one.encoder,
        "pictures": one.pictures,
        "misplaced": one.count(),
        "misplaced_standard": one.count(baseline=True),
        "p": one.p,
        "seed": seed,
        "row": row,
        "prompt": None if row is None else one.prompts[row],
        "fits": None if rival is None else one.prompts[rival],
    }


def _place(run: RunView, one: Misplaced) -> str:
    where = [axis_text(getattr(one.config, axis)) for axis in run.naming_axes() if axis != "seed"]
    return f"tau {one.config.tau:f}" + (f" ({', '.join(where)})" if where else "")


def _p(p: float) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"
