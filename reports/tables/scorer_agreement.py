"""The agreement of scorers on which pictures are good, and on which of a pair is better."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metrics.agreement import WinnerAgreement, rank_correlation, winner_agreement
from metrics.statistics import Estimate
from reports.base import RunView, Table
from reports.frame import WIN_RATE, paired_metrics, result_names
from reports.labels import Label, title
from reports.paired_scores import Read, indifference, metric_scores, outcomes
from reports.sheet import Column, Entry, Sheet
from sweeps.pictures import picture_hashes, same_pictures
from sweeps.record import Record

if TYPE_CHECKING:
    import pandas as pd

SHARE, SCORE = Label("", "fraction"), Label("", "score")
NOTES = (
    "rank correlation: Spearman's, over baseline and shared pictures at every tau and seed, each picture counted once; "
    "95% interval: percentile bootstrap over prompts",
    "same winner: share of the pairs of a shared and a different baseline picture on which both scorers see a win, "
    "both a tie, or both a loss; 95% interval: Wilson, at the effective number of pairs",
    "beyond both floors: the same share of the pairs whose scores differ, by both scorers, by more than their floors",
    "by chance: the same share if the two scorers were independent; kappa: agreement beyond that, 1 where they always "
    "agree",
)


@dataclass(frozen=True)
class Agreement:
    """The agreement of two scorers on a model's pictures of a prompt set.

    Attributes:
        model: whose pictures they are.
        dataset: of which prompts.
        scorers: the two.
        ranks: of all pictures.
        winners: over all pairs of different pictures; None where there is none.
        beyond: over those that both scorers see beyond their floors; None where there is none, or no floor.
    """

    model: str
    dataset: str
    scorers: tuple[str, str]
    ranks: Estimate
    winners: WinnerAgreement | None
    beyond: WinnerAgreement | None


class ScorerAgreement(Table):
    """The agreement of scorers on the same pictures: a row for each pair of scorers, model and prompt set."""

    name = "scorer_agreement"
    rank: ClassVar[int] = 6

    def sheet(self, run: RunView) -> Sheet | None:
        found_agreements = list(agreements(run))
        if not found_agreements:
            return None
        keys = [
            key for key in ("model", "dataset") if len({getattr(agreement, key) for agreement in found_agreements}) > 1
        ]
        columns = [
            *(Column(key, numeric=False, key=True) for key in keys),
            Column("scorers", numeric=False, key=True),
            *(Column(heading) for heading in ("pictures", "rank correlation", "pairs", "same winner, %")),
            *(Column(heading) for heading in ("by chance, %", "kappa")),
            *([Column("beyond both floors, %"), Column("pairs there")] if _any_beyond(found_agreements) else []),
        ]
        rows = [
            [
                *(Entry(getattr(agreement, key)) for key in keys),
                *_entries(agreement),
                *(_beyond(agreement) if _any_beyond(found_agreements) else []),
            ]
            for agreement in found_agreements
        ]
        shared = [f"{key} {getattr(found_agreements[0], key)}" for key in ("model", "dataset") if key not in keys]
        caption = ", ".join(["how far scorers agree on the same pictures", *shared])
        notes = NOTES if _any_beyond(found_agreements) else [note for note in NOTES if not note.startswith("beyond")]
        return Sheet(columns, rows, _data(found_agreements), caption, notes)


def agreements(run: RunView) -> Iterator[Agreement]:
    """Yield the agreement of every two scorers that have a win rate, over all cells of a model and prompt set.

    Raises:
        UserError: a file of scores or a plan is missing or damaged.
    """
    read = cache(metric_scores)
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in run.records:
        groups.setdefault((record.config.model, record.config.dataset), []).append(record)
    for (model, dataset), records in groups.items():
        for scorers in combinations(paired_metrics(result_names(records)), 2):
            cells = [record for record in records if all(f"{name}{WIN_RATE}" in record.results for name in scorers)]
            if cells:
                yield Agreement(model, dataset, scorers, *_compared(run, cells, scorers, read))


def _compared(
    run: RunView, cells: Sequence[Record], scorers: tuple[str, str], read: Read
) -> tuple[Estimate, WinnerAgreement | None, WinnerAgreement | None]:
    """Return the agreement in ranks, winners, and winners beyond both floors; arrays are [2, n], a row a scorer."""
    pictures, of_picture, of_pair = [], [], []
    strict: list[NDArray[np.float64]] = []
    beyond: list[NDArray[np.float64]] = []
    for baseline in {record.baseline_scores(run.path): record for record in cells}.values():
        scores = [_upwards(baseline, name) * read(baseline.baseline_scores(run.path), name) for name in scorers]
        pictures.append(np.array(scores))
        of_picture.append(np.arange(len(scores[0])))
    for record in cells:
        scores = [_upwards(record, name) * read(record.scores(run.path), name) for name in scorers]
        different = ~_same(run, record, len(scores[0]))
        pictures.append(np.array(scores)[:, different])
        for pairs, zone in ((strict, 0.0), (beyond, None)):
            signs = [outcomes(run.path, record, name, read, zone=zone) for name in scorers]
            pairs.append(np.array(signs)[:, different])
        of_picture.append(np.flatnonzero(different))
        of_pair.append(np.flatnonzero(different))
    first, second = np.hstack(pictures)
    ranks = rank_correlation(first, second, np.concatenate(of_picture))
    if not any(map(len, of_pair)):
        return ranks, None, None
    prompts = np.concatenate(of_pair)
    first, second = np.hstack(strict)
    winners = winner_agreement(first, second, prompts)
    first, second = np.hstack(beyond)
    both = (first != 0) & (second != 0)
    if not both.any() or not any(indifference(record, name) for record in cells for name in scorers):
        return ranks, winners, None
    return ranks, winners, winner_agreement(first[both], second[both], prompts[both])


def _any_beyond(found_agreements: Sequence[Agreement]) -> bool:
    return any(agreement.beyond for agreement in found_agreements)


def _beyond(agreement: Agreement) -> list[Entry]:
    if agreement.beyond is None:
        return [Entry(SHARE.number(None)), Entry("0")]
    return [_estimate(SHARE, agreement.beyond.share), Entry(f"{agreement.beyond.share.n:,}")]


def _upwards(record: Record, scorer: str) -> int:
    return 1 if record.scorers.get(scorer, {}).get("higher_is_better", True) else -1


def _same(run: RunView, record: Record, n: int) -> NDArray[np.bool_]:
    """Return which of a cell's pictures are the baseline's own, bool [N]; none where manifests are missing."""
    folders = record.made(run.path), record.baseline_folder(run.path)
    same = same_pictures(*map(picture_hashes, folders))
    return same if len(same) == n else np.zeros(n, dtype=np.bool_)


def _entries(agreement: Agreement) -> list[Entry]:
    ranks, winners = agreement.ranks, agreement.winners
    texts = [
        Entry(" and ".join(title(name) for name in agreement.scorers)),
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


def _estimate(label: Label, estimate: Estimate) -> Entry:
    return Entry(label.number(estimate.value), label.interval(estimate))


def _data(all_agreements: Sequence[Agreement]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame([_row(agreement) for agreement in all_agreements])


def _row(agreement: Agreement) -> dict[str, Any]:
    winners = agreement.winners
    return {
        "model": agreement.model,
        "dataset": agreement.dataset,
        "first": agreement.scorers[0],
        "second": agreement.scorers[1],
        "pictures": agreement.ranks.n,
        "rank_correlation": agreement.ranks.value,
        "rank_correlation_low": agreement.ranks.low,
        "rank_correlation_high": agreement.ranks.high,
        "pairs": winners.share.n if winners else 0,
        "same_winner": winners and winners.share.value,
        "same_winner_low": winners and winners.share.low,
        "same_winner_high": winners and winners.share.high,
        "by_chance": winners and winners.by_chance,
        "kappa": winners and winners.kappa,
        "effective_pairs": winners and winners.effective,
        "same_winner_beyond": agreement.beyond and agreement.beyond.share.value,
        "pairs_beyond": agreement.beyond.share.n if agreement.beyond else 0,
    }
