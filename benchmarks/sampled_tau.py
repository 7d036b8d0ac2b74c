"""Does a sample tell what a full run would give? ``python -m benchmarks.sampled_tau --runs FOLDER``.

A catalogue of 1,000 captions of the miniature's grammar is made in full at some taus, and its first 100 as runs of
their own, which is what ``--limit 100`` does: of a file in alphabetical order, and of one in no order. The outcomes of
every prompt are stored. Samples of 100 are then drawn of the full run's own outcomes, by the very functions of
``--sample 100``, and it is counted how often their intervals hold what the full run gave. It continues where it was
interrupted; the full run takes minutes to hours.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import Results, parser, told
from common.files import atomic_write, canonical_json, sha256_text
from generators.prompts import PromptSet, load_prompts
from metrics.sampling import Strata, whole_mean, whole_outcomes
from metrics.scorer_audit import outside
from miniature.world import BACKGROUNDS, CONCEPTS, STYLES, Scene, caption, has_drawing
from sweeps.record import Sample
from sweeps.sample import drawn

PROMPTS, SAMPLE, FIRST = 1000, 100, 100
TAUS = ("0.25", "0.5", "1")
MODEL, STEPS, METRIC = "mini-sd", 10, "vqa"
DRAWS = 1000
LIMITED = {"sorted": "first-100", "mixed": "first-100-mixed"}  # by the order of the file, the run of its first prompts
CAPTION = (
    f"Samples of {SAMPLE} of {PROMPTS:,} prompts against the full run ({MODEL}, {STEPS} steps, VQA): the share of "
    f"{DRAWS:,} draws whose 95% interval holds what the full run gave; and what its first {FIRST} prompts give as a "
    "run of their own, of a file in no order."
)


def catalogue() -> list[str]:
    """Captions of the miniature's grammar, sorted as catalogues are."""
    every = [Scene((c,), s, b) for c in CONCEPTS for s in STYLES if has_drawing(c, s) for b in BACKGROUNDS]
    rng = np.random.default_rng(17)
    return sorted({caption(every[i]) for i in rng.choice(len(every), PROMPTS, replace=False)})


def samples(prompts: PromptSet, draws: int, n: int = SAMPLE) -> list[Sample]:
    """As many samples of n prompts as there are draws, each by another seed."""
    return [sample for seed in range(draws) if (sample := drawn(prompts, n, seed))]


def coverage(of: Sequence[Sample], gaps: NDArray[np.float64], zone: float) -> dict[str, Any]:
    """How often the intervals of samples hold what all prompts give, and how wide they are.

    Args:
        of: the samples.
        gaps: how much higher each prompt's shared picture scores than its baseline's [N].
        zone: half the width of the zone of indifference.
    """
    won, by_any = outside(gaps, zone), outside(gaps, 0.0)
    truth = {"rate": 0.5 + won.mean() / 2, "strict": (by_any > 0).mean(), "difference": gaps.mean()}
    held, errors, widths = (dict[str, list[float]]() for _ in range(3))
    for sample in of:
        rows, strata = list(sample.rows), Strata(sample.labels, sample.sizes)
        estimates = {
            "rate": whole_outcomes(won[rows], strata).rate(),
            "strict": whole_outcomes(by_any[rows], strata).strict(),
            "difference": whole_mean(gaps[rows], strata),
        }
        for name, estimate in estimates.items():
            assert estimate.low is not None
            assert estimate.high is not None
            held.setdefault(name, []).append(estimate.low <= truth[name] <= estimate.high)
            errors.setdefault(name, []).append(estimate.value - truth[name])
            widths.setdefault(name, []).append(estimate.high - estimate.low)
    return {
        name: {
            "truth": float(truth[name]),
            "held": float(np.mean(held[name])),
            "bias": float(np.mean(errors[name])),
            "error": float(np.std(errors[name])),
            "width": float(np.mean(widths[name])),
        }
        for name in truth
    }


def variances(values: NDArray[np.float64], order: NDArray[np.int64], strata: int, n: int) -> tuple[float, float]:
    """The variance of a mean of n prompts that are drawn at random, and of n of strata that follow each other so.

    Args:
        values: of all prompts [N].
        order: the prompts in the order that strata are cut from [N].
        strata: how many.
        n: the sample's size.
    """
    of = len(values)
    simple = (1 - n / of) * values.var(ddof=1) / n
    parts = np.array_split(values[order], strata)
    each = n / strata
    within = sum((len(part) / of) ** 2 * (1 - each / len(part)) * part.var(ddof=1) / each for part in parts)
    return float(simple), float(within)


def _scores(run: Path, tau: str) -> tuple[NDArray[np.float64], NDArray[np.float64], float, float, NDArray[np.int64]]:
    """The scores of a run's pictures and of their baseline's, its zone, its savings, and its tree's leaf order."""
    from generators.sharing.tree import Tree
    from reports.paired_scores import indifference, metric_scores
    from sweeps.record import load_records

    (record,) = (one for one in load_records(run) if f"{one.config.tau:f}" == tau and one.role == "sharing")
    assert record.plan
    scores = (metric_scores(path, METRIC) for path in (record.scores(run), record.baseline_scores(run)))
    order = Tree.load(record.artifact(run, "tree.npz")).leaf_order
    return *scores, indifference(record, METRIC), record.plan.savings, order  # type: ignore[return-value]


def row(finding: dict[str, Any]) -> dict[str, str]:
    """A tau, as text by column."""
    rate, first = finding["sample"]["rate"], finding["first"]["mixed"]
    return {
        "tau": f"{finding['tau']:g}",
        "steps saved, %": f"{100 * finding['savings']:.1f}",
        "win rate of all, %": f"{100 * rate['truth']:.1f}",
        "intervals that hold it, %": f"{100 * rate['held']:.1f}",
        "their width, points": f"{100 * rate['width']:.1f}",
        "of the strict rate, %": f"{100 * finding['sample']['strict']['held']:.1f}",
        "of the difference, %": f"{100 * finding['sample']['difference']['held']:.1f}",
        "variance beside no strata": f"{finding['beside_simple']['texts']:.2f}",
        "with the tree's": f"{finding['beside_simple']['tree']:.2f}",
        f"first {FIRST}: steps saved, %": f"{100 * first['savings']:.1f}",
        "its win rate, %": f"{100 * first['rate']:.1f} [{100 * first['low']:.1f}, {100 * first['high']:.1f}]",
    }


def main(argv: list[str] | None = None) -> None:
    options = parser("sampled_tau", __doc__, turns=1)
    options.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are made, or continue")
    asked = options.parse_args(argv)
    told(lambda: measured(asked, argv))


def measured(asked: argparse.Namespace, argv: list[str] | None = None) -> None:
    """Make both runs where they are not there, and write what they say."""
    import reusebench
    from metrics.statistics import win_rate

    texts = catalogue()
    mixed = [texts[i] for i in np.random.default_rng(18).permutation(len(texts))]
    for name, lines in (("catalogue", texts), ("mixed", mixed)):
        atomic_write(asked.runs / f"{name}.txt", "\n".join(lines) + "\n")
    prompts = load_prompts(asked.runs / "catalogue.txt")
    spec = {
        "model": MODEL,
        "steps": STEPS,
        "tau": TAUS,
        "metric": METRIC,
        "seed_control": False,
    }
    for name, of in {"full": {}, **{name: {"limit": FIRST} for name in LIMITED.values()}}.items():
        file = asked.runs / ("mixed.txt" if name == LIMITED["mixed"] else "catalogue.txt")
        run = reusebench.sweep(
            {**spec, **of, "prompts": str(file)}, folder=asked.runs / name, device=asked.device, reports=False
        )
        assert not run.failed
    digest = sha256_text(canonical_json(list(prompts.prompts)))
    results = Results("sampled_tau", asked, argv, prompts=digest, sample=SAMPLE, draws=DRAWS)
    draws = samples(prompts, DRAWS)
    for tau in TAUS:
        ours, baseline, zone, savings, order = _scores(asked.runs / "full", tau)
        gaps = np.round(ours, 5) - np.round(baseline, 5)
        by_text = np.array(sorted(range(len(prompts)), key=lambda i: prompts.prompts[i]))
        variance = {
            kind: variances(outside(gaps, zone), by, SAMPLE // 4, SAMPLE)
            for kind, by in (("texts", by_text), ("tree", np.asarray(order)))
        }
        first = {}
        for order_of, name in LIMITED.items():
            few_ours, few_baseline, few_zone, few_savings, _ = _scores(asked.runs / name, tau)
            few = outside(few_ours - few_baseline, few_zone)
            rate = win_rate(few, np.zeros(len(few))).half_tie
            first[order_of] = {"savings": few_savings, "rate": rate.value, "low": rate.low, "high": rate.high}
        results.add(
            tau=float(tau),
            savings=savings,
            zone=zone,
            sample=coverage(draws, gaps, zone),
            beside_simple={kind: stratified / simple for kind, (simple, stratified) in variance.items()},
            first=first,
            ours=np.round(ours, 5).tolist(),
            baseline=np.round(baseline, 5).tolist(),
        )
        print(json.dumps({key: value for key, value in results.found[-1].items() if key not in ("ours", "baseline")}))


if __name__ == "__main__":
    main()
