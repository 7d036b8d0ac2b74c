"""Do intervals of one seed hold the mean of all seeds? On real runs: ``python -m benchmarks.coverage RUN...``.

A run of many seeds tells where the rate of each way to share lies, for its prompts under any noise. Counted is, way by
way, how often one seed's interval holds the mean of the other seeds, and how much the seeds' rates spread against what
one seed's interval says: their standard deviation over its standard error, above 1 where intervals are too narrow.
Such runs are made by, for example,

    bench sweep --model mini-sd --dataset mini_styles --tau 1,2 --seed 1..16 --no-seed-control --name one-root
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2, norm

from common.errors import UserError
from common.files import atomic_write
from reports.base import RunView
from reports.frame import WIN_RATE, difference_result, paired_metrics, result_names
from reports.pooling import noise_draws, ways
from sweeps.record import Record

RESULTS = Path(__file__).parent / "results" / "coverage.json"
FEWEST = 8  # seeds, below which their spread is not known


@dataclass(frozen=True)
class Coverage:
    """One result of one way to share, over its seeds.

    Attributes:
        seeds: their number.
        held: share of seeds whose interval holds the mean of the other seeds.
        inflation: standard deviation of the seeds' values over the mean standard error of one seed's interval.
        inflation_low: lower end of its 95% interval, by the chi-squared distribution of a variance.
        inflation_high: upper end.
    """

    seeds: int
    held: float
    inflation: float
    inflation_low: float
    inflation_high: float


def coverage(values: ArrayLike, low: ArrayLike, high: ArrayLike) -> Coverage:
    """Return what seeds' values and 95% intervals say of the intervals, [S] each.

    Examples:
        Intervals twice as narrow as the seeds' spread:

        >>> values = [0.3, 0.4, 0.5, 0.6, 0.7, 0.4, 0.5, 0.6]
        >>> found = coverage(values, [value - 0.125 for value in values], [value + 0.125 for value in values])
        >>> found.held, round(found.inflation, 1)
        (0.75, 2.1)
    """
    values, low, high = (np.asarray(numbers, dtype=np.float64) for numbers in (values, low, high))
    n = len(values)
    others = (values.sum() - values) / (n - 1)
    ratio = float(values.std(ddof=1) / ((high - low).mean() / (2 * norm.ppf(0.975))))
    ends = [ratio * float(np.sqrt((n - 1) / chi2.ppf(share, n - 1))) for share in (0.975, 0.025)]
    return Coverage(n, float(((low <= others) & (others <= high)).mean()), ratio, ends[0], ends[1])


def measured(run: Path) -> list[dict[str, object]]:
    """Return a row for each way to share and each paired result of a run folder.

    Raises:
        UserError: no way to share has enough seeds, or the folder is no run.
    """
    rows: list[dict[str, object]] = []
    view = RunView.of(run)
    for records in ways([record for record in view.records if record.config.tau > 0]):
        if len(records) < FEWEST:
            continue
        for metric in paired_metrics(result_names(records)):
            for name in filter(None, (f"{metric}{WIN_RATE}", difference_result(records[0], metric))):
                if found := _of_result(records, name):
                    config, plan = records[0].config, records[0].plan
                    rows.append(
                        {
                            "model": config.model,
                            "dataset": config.dataset,
                            "prompts": plan.n_prompts if plan else None,
                            "tau": float(config.tau),
                            "roots": noise_draws(run, records),
                            "result": name,
                            **asdict(found),
                        }
                    )
    if not rows:
        raise UserError(f"{run} has no way to share with {FEWEST} seeds", "sweep with --seed 1..16")
    return rows


def _of_result(records: Sequence[Record], name: str) -> Coverage | None:
    results = [record.results[name] for record in records if name in record.results]
    whole = [(one.value, one.low, one.high) for one in results if one.low is not None and one.high is not None]
    if len(whole) < FEWEST or any(low == high for _, low, high in whole):
        return None
    return coverage(*np.array(whole, dtype=np.float64).T)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    rows = [row for run in asked.runs for row in measured(run)]
    for row in rows:
        print(
            f"{row['model']}, {row['dataset']} ({row['prompts']} prompts, {row['roots']} roots), tau {row['tau']:g}, "
            f"{row['result']}: held {row['held']:.0%} of {row['seeds']} seeds, intervals too narrow by "
            f"{row['inflation']:.2f} [{row['inflation_low']:.2f}, {row['inflation_high']:.2f}]"
        )
    atomic_write(asked.out, json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
