"""Do scorers agree on which pictures are good, and on whose are better?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from generators.sharing.plan import SharingPlan
from metrics.agreement import WinnerAgreement, rank_correlation, winner_agreement
from metrics.statistics import Estimate
from reports.base import RunView, Table
from reports.frame import WIN_RATE, figure_names, paired_metrics
from reports.labels import Label, title
from reports.outcomes import Read, metric_scores, outcomes
from reports.sheet import Column, Entry, Sheet
from sweeps.record import Figure, Record

if TYPE_CHECKING:
    import pandas as pd

SHARE, SCORE = Label("", "fraction"), Label("", "score")
NOTES = (
    "rank correlation: Spearman's, over standard's pictures and ours at every tau and seed, one that is both counted "
    "once; 95% interval: percentile bootstrap over prompts",
    "same winner: share of the pairs of different pictures, ours and standard's, on which both scorers say win, both "
    "tie, or both loss; 95% interval: Wilson, a prompt's pairs counting as fewer the more they are alike",
    "by chance: of two scorers who name winners as often, but independently; kappa: what is above that, 1 where they "
    "always agree",
)


@dataclass(frozen=True)
class Agreement:
    """What two scorers say of one model's pictures of one prompt set; `winners` is None without a pair that differs."""

    model: str
    dataset: str
    scorers: tuple[str, str]
    ranks: Estimate
    winners: WinnerAgreement | None


class ScorerAgreement(Table):
    """How far scorers agree on the same pictures: a row a pair of scorers, model and prompt set."""

    name = "scorer_agreement"
    rank: ClassVar[int] = 6

    def sheet(self, run: RunView) -> Sheet | None:
        found = list(agreements(run))
        if not found:
            return None
        keys = [key for key in ("model", "dataset") if len({getattr(each, key) for each in found}) > 1]
        columns = [
            *(Column(key, numeric=False, key=True) for key in keys),
            Column("scorers", numeric=False, key=True),
            *(Column(heading) for heading in ("pictures", "rank correlation", "pairs", "same winner, %")),
            *(Column(heading) for heading in ("by chance, %", "kappa")),
        ]
        rows = [[*(Entry(getattr(each, key)) for key in keys), *_entries(each)] for each in found]
        shared = [f"{key} {getattr(found[0], key)}" for key in ("model", "dataset") if key not in keys]
        caption = ", ".join(["how far scorers agree on the same pictures", *shared])
        return Sheet(columns, rows, _data(found), caption, NOTES)


def agreements(run: RunView) -> Iterator[Agreement]:
    """Of every two scorers that have a win rate, the cells of a model and prompt set together.

    Raises:
        UserError: a file of scores or a plan is missing or damaged.
    """
    read = cache(metric_scores)
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in run.records:
        groups.setdefault((record.asked.model, record.asked.dataset), []).append(record)
    for (model, dataset), records in groups.items():
        for both in combinations(paired_metrics(figure_names(records)), 2):
            cells = [record for record in records if all(f"{name}{WIN_RATE}" in record.figures for name in both)]
            if cells:
                yield Agreement(model, dataset, both, *_compared(run, cells, both, read))


def _compared(
    run: RunView, cells: Sequence[Record], scorers: tuple[str, str], read: Read
) -> tuple[Estimate, WinnerAgreement | None]:
    """Arrays are [2, n], a row a scorer; beside them, the prompt of each picture or pair."""
    pictures, of_picture, pairs, of_pair = [], [], [], []
    for standard in {record.standard_scores(run.path): record for record in cells}.values():
        scores = [_upwards(standard, name) * read(standard.standard_scores(run.path), name) for name in scorers]
        pictures.append(np.array(scores))
        of_picture.append(np.arange(len(scores[0])))
    for record in cells:
        scores = [_upwards(record, name) * read(record.scores(run.path), name) for name in scorers]
        own = ~_standards(run, record, len(scores[0]))
        pictures.append(np.array(scores)[:, own])
        pairs.append(np.array([outcomes(run.path, record, name, read) for name in scorers])[:, own])
        of_picture.append(np.flatnonzero(own))
        of_pair.append(np.flatnonzero(own))
    first, second = np.hstack(pictures)
    ranks = rank_correlation(first, second, np.concatenate(of_picture))
    if not any(map(len, of_pair)):
        return ranks, None
    first, second = np.hstack(pairs)
    return ranks, winner_agreement(first, second, np.concatenate(of_pair))


def _upwards(record: Record, scorer: str) -> int:
    return 1 if record.scorers.get(scorer, {}).get("higher_is_better", True) else -1


def _standards(run: RunView, record: Record, n: int) -> NDArray[np.bool_]:
    """Which of a cell's pictures are standard's own: where all noise is one stream, all or none."""
    path = record.folder(run.path) / "plan.npz"
    solo = SharingPlan.load(path).solo if path.exists() else np.zeros(n, dtype=np.bool_)
    return solo & solo.all() if record.asked.noise == "official" else solo


def _entries(found: Agreement) -> list[Entry]:
    ranks, winners = found.ranks, found.winners
    texts = [
        Entry(" and ".join(title(name) for name in found.scorers)),
        Entry(f"{ranks.n:,}"),
        _estimate(SCORE, ranks),
    ]
    if winners is None:
        return [*texts, Entry("0"), *(Entry(SHARE.number(None)) for _ in range(3))]
    return [
        *texts,
        Entry(f"{winners.share.n:,}"),
        _estimate(SHARE, winners.share),
        Entry(SHARE.number(winners.by_chance)),
        Entry(SCORE.number(winners.kappa)),
    ]


def _estimate(about: Label, found: Estimate) -> Entry:
    return Entry(about.number(found.value), about.interval(Figure(value=found.value, low=found.low, high=found.high)))


def _data(found: Sequence[Agreement]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame([_row(each) for each in found])


def _row(found: Agreement) -> dict[str, Any]:
    winners = found.winners
    return {
        "model": found.model,
        "dataset": found.dataset,
        "first": found.scorers[0],
        "second": found.scorers[1],
        "pictures": found.ranks.n,
        "rank_correlation": found.ranks.value,
        "rank_correlation_low": found.ranks.low,
        "rank_correlation_high": found.ranks.high,
        "pairs": winners.share.n if winners else 0,
        "same_winner": winners and winners.share.value,
        "same_winner_low": winners and winners.share.low,
        "same_winner_high": winners and winners.share.high,
        "by_chance": winners and winners.by_chance,
        "kappa": winners and winners.kappa,
        "effective_pairs": winners and winners.effective,
    }
