"""The judgement of a server that reuses computation: pairs, A/A, and an alarm for rare wrong pictures.

Three arms answer the same requests: **off** without reuse, **on** with it, and the **control**, which is off once
more with other seeds. The mean of on against off says whether reuse costs quality; it hardly moves where one hit in
twenty is wrong. The alarm asks of single requests instead, and each of its tests rests on one fact: where reuse does no
harm, a request's pictures could as well be each other's, so whichever one of them fails alone is the on arm's in one of
three cases. A test looks at how far the worst picture of each request lies below the next worse one, its **fall**, in

- a score, or the fit to the prompt by an encoder that reads: the picture **fell**;
- the share of other prompts that it fits better than its own: it **shows another prompt**;
- or whether it is **a copy** of an earlier, different prompt's picture, pixel for pixel.

Falls that exceed what lies between the better two pictures in 19 of 20 requests are ranked, the furthest first. If more
of the first few are the on arm's than one in three, for whichever number of first ones that is least likely by chance,
that is the evidence; how likely any such number is by chance is computed exactly (`scan_p`). So a dozen bad pictures
tell. A small loss of score in most pictures does not: an arm's median is taken off before, as that is the mean's
affair. Of each arm a prompt counts once, by its furthest fall: requests that begin from one latent fail together.
Requests whose pictures with and without reuse are the same say nothing and are left out. Holm's correction holds over
all tests, and the alarm is raised below `ALARM` = 0.001: of a thousand servers that do no harm, one. Which tests there
are is known before any score is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from common.errors import UserError
from metrics.base import OF_PROMPTS
from metrics.duplicates import exact_duplicates
from metrics.hypotheses import holm
from metrics.misplaced import outranked
from metrics.over_seeds import PooledOutcomes, Spread
from metrics.scorer_audit import outside
from metrics.statistics import LEVEL, Estimate, Floats, unit_rows
from reports.pooling import as_result
from sweeps.record import Result

ALARM = 0.001  # the level of the alarm, over all of its tests
APART = 0.95  # of requests, those in which the better pictures are less far apart than a fall
SHOWN = 0.05  # adjusted p-values below which requests are named, as ones to look at
FEW = 20  # different prompts, below which a share of the others is too coarse
SAME = 1e-9  # of p-values that are compared
FIT = "fit to the prompt"
CLUSTERED = "clustered by prompt"
Kind = Literal["fell", "shows another prompt", "copy"]
Verdict = Literal["no worse", "worse", "undecided"]
# What a test says of one request, and of several.
SAID: Mapping[Kind, tuple[str, str]] = {
    "fell": ("fell far below both pictures without reuse", "fell far below both pictures without reuse"),
    "shows another prompt": ("shows another prompt", "show other prompts"),
    "copy": ("is a copy of another prompt's picture", "are copies of other prompts' pictures"),
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Compared(_Part):
    """One arm against off, by one scorer.

    Attributes:
        difference: mean paired difference, above 0 where the arm is better.
        win_rate: half-tie, with ties within the scorer's floor.
        wins: pairs that the arm wins.
        ties: pairs that tie.
        losses: pairs that off wins.
        p: one-sided, of "the rate is above 1/2 - delta".
        verdict: whether the interval of the rate lies above 1/2 - delta, below, or neither.
    """

    difference: Result
    win_rate: Result
    wins: int
    ties: int
    losses: int
    p: float
    verdict: Verdict


class Scored(_Part):
    """What one scorer says.

    Attributes:
        scorer: its name.
        floor: differences below it are ties; 0 where it was not audited.
        mean_off: of the scores without reuse.
        mean_on: of those with it.
        on: with reuse against without.
        control: without reuse, other seeds, against without.
    """

    scorer: str
    floor: float
    mean_off: float
    mean_on: float
    on: Compared
    control: Compared


class Signal(_Part):
    """One test of the alarm.

    Attributes:
        kind: what a fall is.
        by: the scorer or the encoder that tells it.
        threshold: the least fall that is ranked, in the measure's unit.
        on: of the first falls, those that speak loudest, the on arm's; a prompt counts once.
        others: of these the others'.
        ranked: all falls that were ranked.
        requests: that could tell: their pictures with and without reuse differ.
        p: one-sided, exact.
        adjusted: the same, corrected for all tests.
        ids: of all requests in which the on arm's picture fell further than the first fall that is not counted.
    """

    kind: Kind
    by: str
    threshold: float
    on: int
    others: int
    ranked: int
    requests: int
    p: float
    adjusted: float
    ids: tuple[int, ...] = ()


class Flagged(_Part):
    """A request whose picture with reuse is likely wrong.

    Attributes:
        id: of the request.
        prompt: its text.
        hit: what the server says of it.
        why: what the tests say of its picture.
        fall: how far its score, or fit, lies below the lower one without reuse, in thresholds; 0 where it does not.
    """

    id: int
    prompt: str
    hit: bool | None
    why: tuple[str, ...]
    fall: float


class Alarm(_Part):
    """Whether some pictures are wrong that should not be.

    Attributes:
        raised: an adjusted p-value is below the level.
        level: of all tests together.
        signals: the tests.
        flagged: requests, the worst first; also where the alarm is not raised, as the ones to look at.
        left_out: tests that could not be done, and why.
    """

    raised: bool
    level: Annotated[float, Field(gt=0, lt=1)]
    signals: tuple[Signal, ...]
    flagged: tuple[Flagged, ...]
    left_out: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """Return in words what the alarm says."""
        best = min(self.signals, key=lambda one: one.adjusted, default=None)
        if best is None:
            return "rare wrong pictures: not tested"
        if not self.raised:
            return (
                f"rare wrong pictures: no alarm (smallest adjusted p {best.adjusted:.2g}, level {self.level:g}); "
                f"{len(self.flagged)} requests to look at"
            )
        told = [one for one in self.signals if one.adjusted < self.level]
        counted = "; ".join(
            f"{len(one.ids)} {SAID[one.kind][len(one.ids) != 1]} by {one.by} (of the {one.on + one.others} furthest "
            f"falls of a prompt {one.on} are with reuse, where a third is chance; adjusted p {one.adjusted:.1g})"
            for one in told
        )
        return f"ALARM, rare wrong pictures: of {best.requests} requests that reuse changed, {counted}"


@dataclass(frozen=True)
class Arms:
    """What was measured of the pictures of the three arms, of the same requests.

    Attributes:
        ids: of the requests [N].
        prompts: their texts [N].
        scores: by arm (off, on, control), then scorer, each picture's score [N].
        embeddings: by arm, then encoder: pictures' embeddings [N, D].
        texts: by encoder, of the prompts [N, D].
        contents: by arm, of each picture a hash of its pixels [N].
        hits: what the server says of the on arm [N].
        lower_is_better: scorers of which less is better.
        floors: by scorer, differences that mean nothing.
    """

    ids: Sequence[int]
    prompts: Sequence[str]
    scores: Mapping[str, Mapping[str, ArrayLike]]
    contents: Mapping[str, Sequence[str]]
    embeddings: Mapping[str, Mapping[str, ArrayLike]] = field(default_factory=dict)
    texts: Mapping[str, ArrayLike] = field(default_factory=dict)
    hits: Sequence[bool | None] = ()
    lower_is_better: frozenset[str] = frozenset()
    floors: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.prompts) or any(len(self.contents[arm]) != len(self.ids) for arm in ARMS):
            raise UserError("the arms have different requests", "judge requests that all arms answered")

    def signed(self, arm: str, scorer: str) -> Floats:
        """Return an arm's scores, more is better."""
        values = np.asarray(self.scores[arm][scorer], dtype=np.float64)
        return -values if scorer in self.lower_is_better else values

    @property
    def same(self) -> NDArray[np.bool_]:
        """Which pictures with reuse are the ones without, pixel for pixel."""
        return np.array([one == other for one, other in zip(self.contents["on"], self.contents["off"], strict=True)])


ARMS = ("off", "on", "control")


def compared(arms: Arms, arm: str, scorer: str, delta: float) -> Compared:
    """Return one arm against off by one scorer; requests of one prompt count for what they are worth.

    Args:
        arms: what was measured.
        arm: ``on`` or ``control``.
        scorer: its name.
        delta: the margin of the win rate.
    """
    difference = arms.signed(arm, scorer) - arms.signed("off", scorer)
    if arm == "on":
        difference = np.where(arms.same, 0.0, difference)
    outcomes = outcomes_by_prompt(outside(difference, arms.floors.get(scorer, 0.0)), arms.prompts)
    rate = outcomes.estimate()
    assert rate.low is not None and rate.high is not None
    verdict: Verdict = "no worse" if rate.low > 0.5 - delta else "worse" if rate.high < 0.5 - delta else "undecided"
    return Compared(
        difference=as_result(mean_by_prompt(difference, arms.prompts)),
        win_rate=as_result(Estimate(rate.value, rate.low, rate.high, rate.n, f"Tango score, {CLUSTERED}", rate.level)),
        wins=outcomes.wins,
        ties=outcomes.ties,
        losses=outcomes.losses,
        p=outcomes.noninferiority_p(delta),
        verdict=verdict,
    )


def scored(arms: Arms, scorer: str, delta: float) -> Scored:
    """Return what one scorer says of all arms."""
    means = {arm: float(np.mean(np.asarray(arms.scores[arm][scorer], dtype=np.float64))) for arm in ("off", "on")}
    return Scored(
        scorer=scorer,
        floor=arms.floors.get(scorer, 0.0),
        mean_off=means["off"],
        mean_on=means["on"],
        on=compared(arms, "on", scorer, delta),
        control=compared(arms, "control", scorer, delta),
    )


def alarm(arms: Arms, level: float = ALARM) -> Alarm:
    """Return whether some pictures with reuse are wrong, by the tests that the scores allow.

    Args:
        arms: what was measured.
        level: of all tests together.
    """
    order = ("on", "off", "control")
    kinds, first, owners = np.unique(list(arms.prompts), return_index=True, return_inverse=True)
    tests: list[tuple[Kind, str, Floats]] = []
    left_out = list[str]()
    for encoder, texts in arms.texts.items():
        asked = unit_rows(texts)
        pictures = [unit_rows(arms.embeddings[arm][encoder]) for arm in order]
        if len(kinds) > FEW:
            shares = np.stack([outranked(rows, asked[first], owners) for rows in pictures])
            tests.append(("shows another prompt", encoder, -shares))
        else:
            left_out.append(f"whether pictures show another prompt: {len(kinds)} different prompts are too few")
        tests.append(("fell", f"{FIT} ({encoder})", np.stack([(rows * asked).sum(axis=1) for rows in pictures])))
    if not arms.texts:
        left_out.append("whether pictures show another prompt: no scorer embeds pictures and prompts (clip_diversity)")
    for scorer in arms.scores["off"]:
        tests.append(("fell", scorer, np.stack([arms.signed(arm, scorer) for arm in order])))
    copies = np.stack([exact_duplicates(arms.contents[arm], arms.prompts) for arm in order])
    tests.append(("copy", "pixels", -copies.astype(np.float64)))
    signals, depths = list[Signal](), np.zeros(len(arms.ids))
    for kind, by, table in tests:
        one, fall = _signal(kind, by, table, ~arms.same, owners, arms.ids)
        signals.append(one)
        depths = np.maximum(depths, fall)
    adjusted = holm([one.p for one in signals])
    signals = [one.model_copy(update={"adjusted": p}) for one, p in zip(signals, adjusted, strict=True)]
    return Alarm(
        raised=min(adjusted, default=1.0) < level,
        level=level,
        signals=tuple(signals),
        flagged=_flagged(arms, signals, depths),
        left_out=tuple(left_out),
    )


def _signal(
    kind: Kind, by: str, table: Floats, tells: NDArray[np.bool_], owners: NDArray[np.int64], ids: Sequence[int]
) -> tuple[Signal, Floats]:
    """Return one test, and how far each of the on arm's pictures fell, in thresholds; 0 where it did not.

    Args:
        kind: what a fall is.
        by: what tells it.
        table: more is better; on's row is the first [A, N].
        tells: which requests are counted [N].
        owners: the number of each request's prompt [N].
        ids: of the requests [N].
    """
    if kind == "fell" and tells.any():  # what an arm loses in most requests is told by its mean
        table = table - np.median((table - table.mean(axis=0))[:, tells], axis=1, keepdims=True)
    threshold, whose, how_far = falls(table, tells)
    rows = np.flatnonzero((how_far > threshold) & tells)
    rows = rows[np.argsort(-how_far[rows], kind="stable")]
    of_prompt: dict[tuple[int, int], int] = {}
    for row in rows:
        of_prompt.setdefault((int(owners[row]), int(whose[row])), int(row))  # the furthest of a prompt and arm
    ranked = list(of_prompt.values())
    ours = whose[ranked] == 0 if ranked else np.zeros(0, dtype=bool)
    p, length = scan_p(ours, 1 / len(table))
    # a prompt counts once, but all its requests are named that fell further than the first fall not counted
    beyond = 0.0 if length == len(ranked) else how_far[ranked[length]]
    fallen = rows[(whose[rows] == 0) & (how_far[rows] > beyond) & (length > 0)]
    signal = Signal(
        kind=kind,
        by=by,
        threshold=threshold,
        on=int(ours[:length].sum()),
        others=int((~ours[:length]).sum()),
        ranked=len(ranked),
        requests=int(tells.sum()),
        p=p,
        adjusted=1.0,
        ids=tuple(int(ids[row]) for row in fallen),
    )
    unit = threshold if threshold > 0 else 1.0
    return signal, np.where((whose == 0) & tells & (how_far > threshold), how_far / unit, 0.0)


def _flagged(arms: Arms, signals: Sequence[Signal], depths: Floats) -> tuple[Flagged, ...]:
    why: dict[int, list[str]] = {}
    for one in signals:
        for request in one.ids if one.adjusted < SHOWN else ():
            why.setdefault(request, []).append(f"{SAID[one.kind][0]} ({one.by})")
    place = {int(request): row for row, request in enumerate(arms.ids)}
    found = [
        Flagged(
            id=request,
            prompt=arms.prompts[place[request]],
            hit=arms.hits[place[request]] if arms.hits else None,
            why=tuple(reasons),
            fall=float(depths[place[request]]),
        )
        for request, reasons in why.items()
    ]
    return tuple(sorted(found, key=lambda one: (-len(one.why), -one.fall, one.id)))


def falls(scores: ArrayLike, tells: ArrayLike) -> tuple[float, NDArray[np.int64], Floats]:
    """Return the least fall that is ranked, and of each request whose picture is the worst and how far it fell.

    The least fall is what lies between the best and the second worst picture at most, in 19 of 20 requests. Which arm
    is which makes no difference to it, so that a test which asks for the arm is exact.

    Args:
        scores: of three arms or more, more is better [A, N].
        tells: bool [N], requests that are counted.

    Returns:
        The least fall; int64 [N], the row of the worst picture's arm; float64 [N], how far below the next.

    Examples:
        >>> least, whose, how_far = falls([[0.9, 0.1, 0.9], [0.9, 0.8, 0.6], [0.9, 0.9, 0.8]], [True, True, True])
        >>> round(least, 2), whose.tolist(), how_far.round(2).tolist()
        (0.1, [0, 0, 1], [0.0, 0.7, 0.2])
    """
    table, counted = np.asarray(scores, dtype=np.float64), np.asarray(tells, dtype=bool)
    ranked = np.sort(table, axis=0)
    apart = (ranked[-1] - ranked[1])[counted]
    least = float(np.quantile(apart, APART)) if len(apart) else 0.0
    return least, table.argmin(axis=0).astype(np.int64), ranked[1] - ranked[0]


def scan_p(ours: ArrayLike, share: float) -> tuple[float, int]:
    """Return the p-value of "each of these is ours with probability `share`", against "more of the first ones are".

    The statistic is the smallest binomial p-value of the first 1, 2, ... of them; how likely one as small is, for
    whichever number, follows exactly from a walk over the counts.

    Args:
        ours: bool [R], in their ranking.
        share: the probability, such as 1/3.

    Returns:
        The p-value, and how many first ones give the smallest; 1.0 and 0 where there are none.

    Examples:
        >>> p, length = scan_p([True] * 8 + [False] * 4, 1 / 3)
        >>> round(p, 5), length
        (0.00024, 8)
        >>> scan_p([], 1 / 3)
        (1.0, 0)
        >>> scan_p([False, False], 1 / 3)[0]
        1.0
    """
    from scipy.stats import binom

    labels = np.asarray(ours, dtype=bool)
    if not len(labels):
        return 1.0, 0
    lengths = np.arange(1, len(labels) + 1)
    chances = binom.sf(np.cumsum(labels) - 1, lengths, share)
    best = int(chances.argmin())
    smallest = float(chances[best]) * (1 + SAME)
    if smallest >= 1:
        return 1.0, 0
    walk, reached = np.array([1.0]), 0.0  # of each count so far its probability, where none was as unlikely before
    for length in lengths:
        walk = np.append(walk * (1 - share), 0.0) + np.append(0.0, walk * share)
        unlikely = binom.sf(np.arange(length + 1) - 1, length, share) <= smallest
        reached += float(walk[unlikely].sum())
        walk[unlikely] = 0.0
    return min(reached, 1.0), best + 1


def mean_by_prompt(values: ArrayLike, prompts: Sequence[str], level: float = LEVEL) -> Estimate:
    """Return the mean of values [N] with the cluster-robust t interval: several of one prompt resemble each other.

    Examples:
        >>> estimate = mean_by_prompt([0.1, 0.1, 0.3, 0.3], ["a fox", "a fox", "a cat", "a cat"])
        >>> round(estimate.value, 3), round(estimate.low, 3), estimate.method
        (0.2, -1.071, 't, clustered by prompt')
    """
    from scipy.stats import t

    rows = np.asarray(values, dtype=np.float64)
    variance, groups = _clustered(rows, prompts)
    if groups < 2:
        return Estimate(float(rows.mean()), None, None, len(rows), "too few for an interval", level)
    half = float(t.ppf(0.5 + level / 2, groups - 1)) * variance**0.5
    mean = float(rows.mean())
    return Estimate(mean, mean - half, mean + half, len(rows), f"t, {CLUSTERED}", level)


def outcomes_by_prompt(outcomes: ArrayLike, prompts: Sequence[str]) -> PooledOutcomes:
    """Return the wins, ties and losses of requests, worth as many pairs as requests of one prompt leave of them.

    Args:
        outcomes: 1, 0 or -1 [N].
        prompts: whose requests they are [N].

    Examples:
        >>> outcomes_by_prompt([1, -1, 1, -1], ["a", "b", "c", "d"]).effective
        4.0
        >>> outcomes_by_prompt([1, 1, -1, -1] * 10, list("aabb") * 10).effective  # two prompts, whatever was asked
        1.4142135623730951
    """
    rows = np.asarray(outcomes, dtype=np.float64)
    variance, groups = _clustered(rows, prompts)
    effective = float(len(rows))
    if variance > 0:
        effective = float(np.clip(rows.var(ddof=1) / variance, min(groups, len(rows)) ** 0.5, len(rows)))
    of_rows = Spread(float(rows.mean()), variance, max(groups - 1.0, 1.0), variance, 1, len(rows), few_roots=False)
    wins, losses = int((rows > 0).sum()), int((rows < 0).sum())
    return PooledOutcomes(wins, len(rows) - wins - losses, losses, effective, of_rows)


def _clustered(rows: Floats, prompts: Sequence[str]) -> tuple[float, int]:
    """Return the variance of the mean, clustered by prompt (at least that of independent rows), and how many there are.

    It is Liang and Zeger's (Biometrika 73, 1986) with the correction for few clusters.
    """
    _, owners = np.unique(list(prompts), return_inverse=True)
    groups, n = int(owners.max()) + 1, len(rows)
    left = rows - rows.mean()
    sums = np.bincount(owners, weights=left, minlength=groups)
    clustered = float((sums**2).sum()) / n**2 * groups / max(groups - 1, 1)
    return max(clustered, float(rows.var(ddof=1)) / n if n > 1 else 0.0), groups


def embedded(measured: Mapping[str, Mapping[str, NDArray]]) -> dict[str, tuple[NDArray, NDArray]]:  # type: ignore[type-arg]
    """Return the embeddings of pictures and of their prompts, by the scorer and column of each encoder that has both.

    Args:
        measured: by scorer, then column.
    """
    return {
        f"{scorer}.{column}": (columns[column], columns[f"{column}{OF_PROMPTS}"])
        for scorer, columns in measured.items()
        for column in columns
        if f"{column}{OF_PROMPTS}" in columns
    }


def within_prompts(features: ArrayLike, prompts: Sequence[str]) -> Floats:
    """Return for each prompt that was asked more than once the mean cosine of its pictures, in order of the prompts.

    Args:
        features: [N, D], one row a picture.
        prompts: their texts [N].

    Examples:
        >>> within_prompts([[1, 0], [1, 0], [0, 1]], ["a fox", "a fox", "a cat"]).tolist()
        [1.0]
    """
    rows = unit_rows(features)
    kinds, owners = np.unique(list(prompts), return_inverse=True)
    means = []
    for kind in range(len(kinds)):
        own = rows[owners == kind]
        if (n := len(own)) > 1:
            means.append((float(np.square(own.sum(axis=0)).sum()) - n) / (n * (n - 1)))
    return np.array(means)
