"""Does the interval of savings at parity hold the truth? Simulated runs: ``python -m benchmarks.parity_coverage``.

Three methods whose true win rate over savings is known: lossless, one that falls early, one that falls late; measured
at the demo's nine taus by 60 to 1,600 pairs, of one seed and of three. Pairs of one prompt resemble one another, over
taus and over seeds. Beside the interval of `metrics.parity` stands the one that was not chosen: the percentiles of the
bootstrapped estimate.
"""

import argparse
import json
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.files import atomic_write
from metrics import parity
from metrics.parity import SavingsAtParity, savings_at_parity

RESULTS = Path(__file__).parent / "results" / "parity_coverage.json"
SAVINGS = np.array([0.0, 0.069, 0.205, 0.335, 0.436, 0.515, 0.575, 0.625, 0.665])  # the demo's
TIES = np.array([1.0, 0.7, 0.12, 0, 0, 0, 0, 0, 0])  # likewise: prompts that share nothing
RATES = {
    "lossless": np.full(9, 0.5),
    "early": np.array([0.5, 0.48, 0.41, 0.33, 0.28, 0.24, 0.21, 0.19, 0.17]),
    "late": np.array([0.5, 0.5, 0.498, 0.49, 0.475, 0.46, 0.44, 0.42, 0.4]),
}
PAIRS, SEEDS = (60, 120, 360, 1600), (1, 3)
OVER_TAUS, OVER_SEEDS = 0.4, 0.3  # how much a prompt's pairs have in common, as correlations


def simulated(rng: np.random.Generator, rates: NDArray[np.float64], seeds: int, prompts: int) -> NDArray[np.float64]:
    """Return outcomes [S, T, N] of a method with these true win rates [T], at `SAVINGS`."""
    normal, taus = NormalDist(), len(rates)
    untied = 1 - TIES
    won = 0.5 + np.divide(rates - 0.5, untied, out=np.zeros(taus), where=untied > 0)
    shift = np.array([normal.inv_cdf(share) for share in won])
    latent = sum(
        np.sqrt(of_seeds * of_taus) * rng.normal(size=shape)
        for of_seeds, of_taus, shape in (
            (OVER_SEEDS, OVER_TAUS, (1, 1, prompts)),
            (OVER_SEEDS, 1 - OVER_TAUS, (1, taus, prompts)),
            (1 - OVER_SEEDS, OVER_TAUS, (seeds, 1, prompts)),
            (1 - OVER_SEEDS, 1 - OVER_TAUS, (seeds, taus, prompts)),
        )
    )
    # a prompt that shares nothing at some tau shares nothing at a lower one
    tied = rng.random(prompts) < TIES[:, None]
    return np.where(tied, 0.0, np.where(latent + shift[:, None] > 0, 1.0, -1.0))


def truth(rates: NDArray[np.float64]) -> parity.Reach:
    """Return where the true curve falls below 45%."""
    return parity._fall(SAVINGS, rates, 0.5 - parity.DELTA)


def holds(estimate: SavingsAtParity, true: parity.Reach) -> bool:
    """Return whether the interval holds the truth; what was not reached is beyond the most that was measured."""
    below = true.at_least or not estimate.low.at_least
    return below and estimate.low.savings <= true.savings + 1e-12 and _above(estimate.high, true)


def _above(high: parity.Reach, true: parity.Reach) -> bool:
    return high.at_least or (not true.at_least and true.savings <= high.savings + 1e-12)


def percentiles_hold(estimate: SavingsAtParity, true: parity.Reach) -> bool:
    """Return whether the percentile interval of the bootstrap, which was not chosen, holds the truth."""
    low, high = (
        parity.Reach(float(end), at_least=bool(end >= estimate.most))
        for end in (
            np.quantile(estimate.resamples, 0.025, method="lower"),
            np.quantile(estimate.resamples, 0.975, method="higher"),
        )
    )
    return low.savings <= true.savings + 1e-12 and _above(high, true)


def row(truth_name: str, seeds: int, pairs: int, runs: int) -> dict[str, Any]:
    """Return one design's estimates, coverage and width over many simulated runs."""
    rates = RATES[truth_name]
    true, rng = truth(rates), np.random.default_rng([seeds, pairs])
    savings = np.tile(SAVINGS, (seeds, 1))
    estimates = [
        savings_at_parity(simulated(rng, rates, seeds, pairs // seeds), savings, seed=run) for run in range(runs)
    ]
    values = np.array([estimate.value.savings for estimate in estimates])
    widths = [estimate.high.savings - estimate.low.savings for estimate in estimates]
    return {
        "curve": truth_name,
        "seeds": seeds,
        "pairs": pairs,
        "true": true.savings,
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "coverage": float(np.mean([holds(estimate, true) for estimate in estimates])),
        "width": float(np.mean(widths)),
        "percentile_coverage": float(np.mean([percentiles_hold(estimate, true) for estimate in estimates])),
        "demonstrated": float(np.mean([estimate.low.savings for estimate in estimates])),
        "said_of_lossless": float(np.mean([estimate.lossless for estimate in estimates])),
        "power": float(np.mean([estimate.low.at_least for estimate in estimates])),
        "said_power": float(np.mean([estimate.power for estimate in estimates])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    parity.RESAMPLES = asked.resamples
    rows = []
    print("   curve  seeds  pairs    true    mean  median  coverage  width  percentiles'  demonstrated  power (said)")
    for seeds in SEEDS:
        for name in RATES:
            for pairs in PAIRS:
                rows.append(found := row(name, seeds, pairs, asked.runs))
                print(
                    "{curve:>8} {seeds:>6} {pairs:>6} {true:>7.1%} {mean:>7.1%} {median:>7.1%} {coverage:>9.1%} "
                    "{width:>6.1%} {percentile_coverage:>13.1%} {demonstrated:>13.1%} {power:>6.0%} ({said_power:.0%})"
                    "".format(**found),
                    flush=True,
                )
    content = {"runs": asked.runs, "over_taus": OVER_TAUS, "over_seeds": OVER_SEEDS, "rows": rows}
    atomic_write(asked.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
