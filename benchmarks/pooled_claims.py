"""Claims over several seeds: coverage and false claims by simulation: ``python -m benchmarks.pooled_claims``.

A pair's outcome is the sign of a latent value that a prompt's seeds have in common in part, and the prompts of one seed
and root likewise; the middle ties. Counted are how often the interval of `metrics.over_seeds` holds the true win rate,
and how often "no worse" is claimed, at 2.5%, where the true rate lies at the margin itself. Beside it stands what the
bootstrap over prompts, which does not resample seeds, would have covered.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from itertools import product
from math import hypot
from pathlib import Path

import numpy as np
from scipy.stats import norm

from common.files import atomic_write
from metrics.over_seeds import FEW_ROOTS, pool_outcomes
from metrics.statistics import Floats

RESULTS = Path(__file__).parent / "results" / "pooled_claims.json"


@dataclass(frozen=True)
class Design:
    """What is simulated.

    Attributes:
        seeds: S.
        prompts: N.
        roots: draws of noise that a seed's prompts start from.
        prompt_effect: standard deviation of what a prompt's seeds have in common; a pair's own is 1.
        noise_effect: standard deviation of what the prompts of one seed and root have in common.
        ties: share of pairs that tie where neither side is better.
        lean: shift of the latent value in standard deviations; below 0, the baseline is better.
    """

    seeds: int
    prompts: int
    roots: int
    prompt_effect: float = 0.7
    noise_effect: float = 0.0
    ties: float = 0.1
    lean: float = -0.15

    @property
    def rate(self) -> float:
        """The true half-tie win rate."""
        middle = norm.ppf(0.5 + self.ties / 2)
        return float(0.5 + (norm.sf(middle - self.lean) - norm.cdf(-middle - self.lean)) / 2)

    def outcomes(self, rng: np.random.Generator) -> Floats:
        """Return outcomes [S, N] of one run."""
        root = np.arange(self.prompts) % self.roots
        latent = (
            self.prompt_effect * rng.normal(size=self.prompts)
            + self.noise_effect * rng.normal(size=(self.seeds, self.roots))[:, root]
            + rng.normal(size=(self.seeds, self.prompts))
        )
        latent = latent / hypot(1, self.prompt_effect, self.noise_effect) + self.lean
        return np.where(np.abs(latent) < norm.ppf(0.5 + self.ties / 2), 0.0, np.sign(latent))


@dataclass(frozen=True)
class Rates:
    """How often, of all trials, intervals held the truth and a false claim was made, and the intervals' median width.

    Attributes:
        covered: of the interval, nominally 0.95.
        falsely_no_worse: of "no worse", where the rate is at the margin; nominally 0.025.
        width: median, from 0 to 1.
        covered_by_prompts: of the normal interval whose variance is that over prompts alone, as a bootstrap's is.
    """

    covered: float
    falsely_no_worse: float
    width: float
    covered_by_prompts: float


def simulated(design: Design, trials: int, seed: int = 0) -> Rates:
    """Return the rates of so many trials of a design."""
    rng = np.random.default_rng(seed)
    tables = [design.outcomes(rng) for _ in range(trials)]
    pooled = [pool_outcomes(table, design.roots) for table in tables]
    estimates = [outcomes.estimate() for outcomes in pooled]
    ends = np.array([(estimate.low, estimate.high) for estimate in estimates])
    delta = 0.5 - design.rate
    averages = np.array([0.5 + table.mean(axis=0) / 2 for table in tables])
    half = norm.ppf(0.975) * averages.std(axis=1, ddof=1) / np.sqrt(design.prompts)
    return Rates(
        covered=float(((ends[:, 0] <= design.rate) & (design.rate <= ends[:, 1])).mean()),
        falsely_no_worse=float(np.mean([outcomes.noninferiority_p(delta) < 0.025 for outcomes in pooled])),
        width=float(np.median(ends[:, 1] - ends[:, 0])),
        covered_by_prompts=float((np.abs(averages.mean(axis=1) - design.rate) <= half).mean()),
    )


def designs() -> list[Design]:
    """Return those of the recorded run."""
    of_roots = {"one each": None, "at the limit": FEW_ROOTS, "one": 1}
    found = []
    for seeds, prompts, roots, alike in product((2, 3, 5, 16), (24, 60, 240), of_roots.values(), (0.0, 0.7)):
        # more than makes single seeds of a real set of 120 prompts with one root cover 81 to 90%
        noise = 0.0 if roots is None else 0.2
        found.append(Design(seeds, prompts, roots or prompts, alike, noise))
    return [*found, *(Design(3, 60, 60, 0.7, ties=ties) for ties in (0.5, 0.8, 0.9, 0.96))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    rows = []
    for design in designs():
        rates = simulated(design, asked.trials)
        rows.append({**asdict(design), "rate": design.rate, **asdict(rates)})
        print(
            f"{design.seeds:>2} seeds, {design.prompts:>3} prompts, {design.roots:>3} roots, effects "
            f"{design.prompt_effect:g} and {design.noise_effect:g}, {design.ties:.0%} ties: "
            f"covered {rates.covered:.1%} (by prompts alone {rates.covered_by_prompts:.1%}), "
            f"falsely no worse {rates.falsely_no_worse:.1%}, "
            f"width {100 * rates.width:.1f} points"
        )
    atomic_write(asked.out, json.dumps({"trials": asked.trials, "designs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
