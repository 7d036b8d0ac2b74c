"""The audit of a scorer: the differences that it sees where there are none, and the damage that it sees or misses.

Pure functions of scores: of pictures, of copies under edits (`metrics.edits`), and of the pictures with wrong captions.
The 95th percentile of the differences under the edit that nobody sees, but the scorer most, is its **floor**: a smaller
difference says nothing of the pictures, and two pictures so near to one another tie. Within that zone of indifference
nobody wins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.errors import UserError
from metrics.agreement import rank_correlation, winner_agreement
from metrics.edits import DAMAGE
from metrics.hypotheses import holm
from metrics.over_seeds import pool_outcomes
from metrics.statistics import LEVEL, RESAMPLES, Estimate, Floats, win_rate

QUANTILE = 0.95  # of the differences under invisible edits
ALPHA = 0.05
SATURATED = 0.01  # a probability so near to 0 or 1
CLIP = 1e-3  # of probabilities, before their logits are taken
GOOD_AUC = 0.9
WRONG_CAPTIONS = 3  # a picture
REPLACED = DAMAGE["replaced"].name
Effect = Literal["within the floor", "worse", "better", "either way"]


@dataclass(frozen=True)
class EditEffect:
    """One edit of every picture: the scores of the copies against those of the pictures themselves.

    Attributes:
        name: the edit's, with its dose.
        kind: the kind of damage; empty for an invisible edit.
        dose: of damage.
        win_rate: half-tie, strict: no zone. One half is what a scorer gives that does not see the edit.
        p: two-sided, against neither winning more often where every difference counts, corrected for an audit's edits.
        gap: 95th percentile of the absolute difference.
        wins: copies that score higher by more than the floor.
        losses: copies that score lower by more than the floor.
        logits: mean difference of clipped logits; None where scores are no probabilities.
        effect: what the scorer says of the copies beyond the floor, at 5% over all edits of an audit.
    """

    name: str
    kind: str
    dose: float | None
    win_rate: Estimate
    p: float
    gap: float
    wins: int
    losses: int
    logits: float | None
    effect: Effect


@dataclass(frozen=True)
class ScorerPair:
    """The agreement of a scorer with a second one on the audit's pictures.

    Attributes:
        scorer: the second one.
        ranks: Spearman's correlation of the scores of pictures and damaged copies.
        winners: share of pairs of a picture and its damaged copy, outside both zones, of which both name one winner.
    """

    scorer: str
    ranks: Estimate
    winners: Estimate | None


@dataclass(frozen=True)
class ScorerAudit:
    """What one scorer sees of some pictures of one prompt set.

    Attributes:
        model: whose pictures they are.
        dataset: of which prompts.
        scorer: its name.
        pictures: how many were edited.
        of: a hash of the pictures.
        identity: all that decides the scores.
        floor: see `indifference_floor`.
        mean: of the pictures' own scores.
        invisible: one for each edit that nobody sees.
        damage: one for each kind and dose; empty in the short audit of a sweep.
        captions: AUC, the chance that a picture with its own prompt outscores one with a wrong but near prompt.
        unlike: likewise with an unlike prompt; None in older audits, and of a set without another prompt.
        unlike_mean: of the pictures' scores with these.
        saturation: share of the pictures' scores within 0.01 of 0 or 1; None where scores are no probabilities.
        beside: agreement with other scorers.
        higher_is_better: whether more is better.
    """

    model: str
    dataset: str
    scorer: str
    pictures: int
    of: str
    identity: Mapping[str, Any]
    floor: float
    mean: float
    invisible: tuple[EditEffect, ...]
    damage: tuple[EditEffect, ...] = ()
    captions: Estimate | None = None
    saturation: float | None = None
    beside: tuple[ScorerPair, ...] = ()
    unlike: Estimate | None = None
    unlike_mean: float | None = None
    higher_is_better: bool = True

    def tells(self, mean: float) -> bool | None:
        """Return whether pictures of this mean score show their prompts, by this scorer; None where it cannot be said.

        They do where the mean is better, by more than the floor, than that of the audited pictures with prompts unlike
        their own. Pictures that are no better than the audited ones need more: that these are told from such prompts
        better than by chance.

        Args:
            mean: of pictures of the same model and prompts, with their own prompts; the audited ones or others.
        """
        if self.unlike is None or self.unlike_mean is None:
            return None
        sign = 1 if self.higher_is_better else -1
        if sign * (mean - self.unlike_mean) <= self.floor:
            return False
        return sign * (mean - self.mean) > self.floor or (self.unlike.low or 0) > 0.5

    @property
    def seen(self) -> list[str]:
        """Return the kinds of damage that are told as worse, each with the dose from which it always is."""
        told = {kind: _told(doses) for kind, doses in self._kinds().items()}
        return [f"{kind}{_dose(doses[0], ' from ')}" for kind, doses in told.items() if doses]

    @property
    def missed(self) -> list[str]:
        """Return the kinds of damage that are not told, each with the dose up to which they are not."""
        untold = {kind: doses[: len(doses) - len(_told(doses))] for kind, doses in self._kinds().items()}
        return [f"{kind}{_dose(doses[-1], ' up to ')}" for kind, doses in untold.items() if doses]

    @property
    def trusted(self) -> bool:
        """Whether it tells pictures from other prompts', and prompts from near and unlike ones, better than chance."""
        knows = self.captions is None or (self.captions.low or 0) > 0.5
        return (
            knows
            and self.tells(self.mean) is not False
            and all(effect.effect == "worse" for effect in self.damage if effect.kind == REPLACED)
        )

    @property
    def verdict(self) -> list[str]:
        """Return what may be said by this scorer of these pictures, in sentences."""
        return [*self._of_damage(), *self._of_floor(), *self._of_scale()]

    def beside_unlike(self, mean: float | None = None) -> str:
        """Return in words what `tells` compares: of the audited pictures, unless another mean is given."""
        if self.unlike is None or self.unlike_mean is None:
            return ""
        own = self.mean if mean is None else mean
        return (
            f"mean {own:.2f}, and {self.unlike_mean:.2f} with unlike prompts, where {self.floor:.2g} is the floor; "
            f"AUC {_interval(self.unlike)}"
        )

    def _of_damage(self) -> list[str]:
        seen, missed = "; ".join(self.seen), "; ".join(self.missed)
        if not self.trusted:
            why = ["it does not tell another prompt's picture from the prompt's own"] if REPLACED in self.missed else []
            if self.captions and (self.captions.low or 0) <= 0.5:
                why.append(f"it takes wrong captions for right ones (AUC {_interval(self.captions)})")
            if self.tells(self.mean) is False:
                why.append(f"it does not tell the pictures' own prompts from unlike ones ({self.beside_unlike()})")
            return [f"cannot be trusted: {'; '.join(why)}", *([f"it does tell {seen}"] if seen else [])]
        if not self.damage:
            return ["a short audit: which damage it sees is told by `bench audit`"]
        return [f"can be trusted to tell {seen}{f'; not to tell {missed}' if missed else ''}"]

    def _of_floor(self) -> list[str]:
        seen = [
            f"{effect.name} ({_percent(effect.win_rate)} wins, {effect.effect})"
            for effect in self.invisible
            if effect.effect != "within the floor"
        ]
        floor = f"differences below {self.floor:.4g} are within the floor: edits that nobody sees make as large ones"
        sides = [
            f"{effect.name} ({_percent(effect.win_rate)} wins)"
            for effect in self.invisible
            if effect.effect == "within the floor" and effect.p < ALPHA
        ]
        return [
            floor,
            *([f"it is not indifferent to edits that nobody sees: {'; '.join(seen)}"] if seen else []),
            *(
                [f"where every difference counts, it takes sides on what nobody sees: {'; '.join(sides)}"]
                if sides
                else []
            ),
        ]

    def _of_scale(self) -> list[str]:
        sentences = []
        if self.captions and self.trusted and (self.captions.low or 0) < GOOD_AUC:
            sentences.append(
                f"it often takes a near but wrong caption for the right one (AUC {self.captions.value:.2f})"
            )
        if self.saturation is not None and self.saturation > 0.5:
            sentences.append(f"{self.saturation:.0%} of its scores are within {SATURATED} of 0 or 1: it is saturated")
        return sentences

    def _kinds(self) -> dict[str, list[EditEffect]]:
        kinds: dict[str, list[EditEffect]] = {}
        for effect in self.damage:
            kinds.setdefault(effect.kind, []).append(effect)
        return kinds


@dataclass(frozen=True)
class EditedScores:
    """The scores of copies under one edit [n], beside what the edit is."""

    name: str
    scores: Floats
    kind: str = ""
    dose: float | None = None


@dataclass(frozen=True)
class AuditedScores:
    """What one scorer measured for its audit; of n pictures, in one order.

    Attributes:
        own: the pictures with their own prompts [n].
        invisible: copies under edits that nobody sees.
        damage: damaged copies, by kind, doses ascending.
        wrong: the pictures with the nearest other prompts [n, k]; None where there are none.
        unlike: the pictures with prompts unlike their own [n]; likewise.
        higher_is_better: whether more is better.
        probability: whether scores are from 0 to 1.
    """

    own: Floats
    invisible: Sequence[EditedScores]
    damage: Sequence[EditedScores] = ()
    wrong: Floats | None = None
    higher_is_better: bool = True
    probability: bool = False
    unlike: Floats | None = None
    _sign: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sign", 1 if self.higher_is_better else -1)

    @property
    def floor(self) -> float:
        """Return the floor; see `indifference_floor`."""
        return indifference_floor([edited.scores - self.own for edited in self.invisible])

    def effects(self, copies: Sequence[EditedScores]) -> tuple[EditEffect, ...]:
        """Return the effect of every edit of `copies`, words at 5% over all of them (Holm)."""
        floor = self.floor
        gaps = [self._sign * (edited.scores - self.own) for edited in copies]
        outcomes = [outside(gap, floor) for gap in gaps]
        adjusted = holm([beyond_p(one) for one in outcomes])
        sides = holm([pool_outcomes(outside(gap, 0)[None]).score_p() for gap in gaps])
        return tuple(
            EditEffect(
                name=edited.name,
                kind=edited.kind,
                dose=edited.dose,
                win_rate=win_rate(self._sign * edited.scores, self._sign * self.own).half_tie,
                p=side,
                gap=float(np.quantile(np.abs(gap), QUANTILE)),
                wins=int((one > 0).sum()),
                losses=int((one < 0).sum()),
                logits=float((logits(edited.scores) - logits(self.own)).mean()) if self.probability else None,
                effect=effect_beyond(one, p),
            )
            for edited, gap, one, p, side in zip(copies, gaps, outcomes, adjusted, sides, strict=True)
        )

    def captions(self, *, seed: int = 0) -> Estimate | None:
        """Return the AUC of own prompts against wrong ones; None where there are no wrong ones."""
        return None if self.wrong is None else caption_auc(self._sign * self.own, self._sign * self.wrong, seed=seed)

    def unlike_auc(self, *, seed: int = 0) -> Estimate | None:
        """Return the AUC of own prompts against unlike ones; None where there are none."""
        if self.unlike is None:
            return None
        return caption_auc(self._sign * self.own, self._sign * self.unlike[:, None], seed=seed)

    @property
    def saturation(self) -> float | None:
        """Return the share of own scores that are within 0.01 of 0 or 1; None where they are no probabilities."""
        return float((np.minimum(self.own, 1 - self.own) < SATURATED).mean()) if self.probability else None

    def beside(self, other: "AuditedScores", name: str) -> ScorerPair:
        """Return the agreement with a second scorer that measured the same copies."""
        n = len(self.own)
        prompts = np.tile(np.arange(n), 1 + len(self.damage))
        first, second = self._damaged(), other._damaged()
        both = (first != 0) & (second != 0)
        winners = winner_agreement(first[both], second[both], prompts[n:][both]).share if both.any() else None
        return ScorerPair(name, rank_correlation(self._all(), other._all(), prompts), winners)

    def _all(self) -> Floats:
        """Return the scores of pictures and damaged copies, more is better."""
        return self._sign * np.concatenate([self.own, *(copy.scores for copy in self.damage)])

    def _damaged(self) -> Floats:
        """Return the outcomes of all damaged copies against their pictures, under the zone."""
        gaps = [self._sign * (copy.scores - self.own) for copy in self.damage]
        return outside(np.concatenate(gaps), self.floor)


def indifference_floor(differences: ArrayLike) -> float:
    """Return the largest, over edits that nobody sees, of the 95th percentile of the absolute difference.

    The largest and not that of all edits together: then no edit by itself leaves more than 5% of pairs outside, and a
    set of pictures under any one of them ties with the pictures themselves.

    Args:
        differences: [E, n], a row an edit, in the score's own unit.

    Raises:
        UserError: there is none, or one is not finite.

    Examples:
        >>> indifference_floor([[0.0, 0.01, -0.02], [0.01, 0.0, 0.0]])
        0.019
    """
    values = np.abs(np.atleast_2d(np.asarray(differences, dtype=np.float64)))
    if not values.size or not np.isfinite(values).all():
        raise UserError("the floor of a scorer needs finite differences", "score the pictures again")
    return round(float(np.quantile(values, QUANTILE, axis=1).max()), 12)


def outside(differences: ArrayLike, indifference: float) -> Floats:
    """Return outcomes: the sign of each difference that is not below the zone of indifference, else 0.

    Args:
        differences: any shape; more is better.
        indifference: the zone's half width; with 0, every difference counts.

    Examples:
        >>> outside([0.3, 0.01, -0.01, -0.3, 0.0], 0.02)
        array([ 1.,  0.,  0., -1.,  0.])
        >>> outside([0.3, 0.01, -0.01, -0.3, 0.0], 0)
        array([ 1.,  1., -1., -1.,  0.])
    """
    values = np.asarray(differences, dtype=np.float64)
    return np.asarray(np.where(np.abs(values) >= indifference, np.sign(values), 0.0))


def logits(probabilities: ArrayLike) -> Floats:
    """Return log(p / (1 - p)) of probabilities clipped to 0.001 to 0.999, so that certainty is not infinite.

    Examples:
        >>> logits([0.5, 0.9, 1.0]).round(3)
        array([0.   , 2.197, 6.907])
    """
    from scipy.special import logit

    return np.asarray(logit(np.clip(np.asarray(probabilities, dtype=np.float64), CLIP, 1 - CLIP)))


def beyond_p(outcomes: ArrayLike) -> float:
    """Return the one-sided p-value of "no more pairs than 5% are outside the zone", which invisible edits satisfy.

    Exact binomial; several seeds of a prompt count for what they are worth (`metrics.over_seeds.pool_outcomes`).

    Args:
        outcomes: [N], or [S, N] of S seeds: 1, 0 or -1, as from `outside`.

    Examples:
        >>> round(beyond_p([0] * 38 + [1, -1]), 3), round(beyond_p([0] * 30 + [-1] * 10), 6)
        (0.601, 2.1e-05)
    """
    from scipy.special import betainc

    values = np.atleast_2d(np.asarray(outcomes, dtype=np.float64)) != 0
    share = float(values.mean())
    pairs = pool_outcomes(values).effective
    count = share * pairs
    return float(betainc(count, pairs - count + 1, 1 - QUANTILE)) if count > 0 else 1.0


def effect_beyond(outcomes: ArrayLike, p: float | None = None) -> Effect:
    """Return what outcomes under a zone say: nothing that invisible edits do not, or who is better.

    Args:
        outcomes: [N] or [S, N], as in `beyond_p`.
        p: its p-value, where that was corrected for several.

    Examples:
        >>> effect_beyond([0] * 38 + [1, -1])
        'within the floor'
        >>> effect_beyond([0] * 20 + [-1] * 20), effect_beyond([0] * 20 + [-1] * 10 + [1] * 10)
        ('worse', 'either way')
    """
    values = np.atleast_2d(np.asarray(outcomes, dtype=np.float64))
    if (beyond_p(values) if p is None else p) >= ALPHA:
        return "within the floor"
    if pool_outcomes(values).score_p() >= ALPHA:
        return "either way"
    return "worse" if values.mean() < 0 else "better"


def caption_auc(own: ArrayLike, wrong: ArrayLike, *, seed: int = 0, level: float = LEVEL) -> Estimate:
    """Return the chance that a picture with its own prompt outscores a picture with a wrong one; ties count half.

    It is the area under the ROC curve over all such couples of pictures. The interval is the percentile bootstrap over
    pictures, each with its wrong prompts.

    Args:
        own: scores [n].
        wrong: scores of the same pictures with wrong prompts [n, k].
        seed: of the resampling.
        level: nominal coverage.

    Examples:
        >>> auc = caption_auc([0.9, 0.8, 0.4], [[0.1, 0.5], [0.2, 0.3], [0.3, 0.2]])
        >>> round(auc.value, 3), auc.n
        (0.944, 3)
    """
    own, wrong = np.asarray(own, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    n = len(own)
    above = np.array([0.5 + np.sign(score - wrong).mean(axis=1) / 2 for score in own])  # [n, n]
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
    resampled = ((counts @ above) * counts).sum(axis=1)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(above.mean()), float(low), float(high), n, "percentile bootstrap over pictures", level)


def near_prompts(prompts: Sequence[str], k: int) -> NDArray[np.int64]:
    """Return the `k` nearest other prompts of each [N, k], by the words that they share; fewer where there are fewer.

    Near is the cosine of TF-IDF vectors of words, which needs no model and gives every prompt set neighbours. A prompt
    of the same words is not another one.

    Examples:
        >>> near_prompts(["a red fox", "a red wolf", "a blue car", "a blue van"], 1).ravel().tolist()
        [1, 0, 3, 2]
        >>> near_prompts(["a fox", "a fox"], 1).shape
        (2, 0)
    """
    likeness = _likeness(prompts)
    others = min((int(np.isfinite(row).sum()) for row in likeness), default=0)
    return np.argsort(-likeness, axis=1, kind="stable")[:, : min(k, others)]


def far_prompts(prompts: Sequence[str], seed: int = 0) -> NDArray[np.int64] | None:
    """Return for each prompt one of the least like half of the others [N]; None where some prompt has no other.

    Examples:
        >>> prompts = ["a red fox", "a red wolf", "a blue car", "a blue van"]
        >>> [sorted((i, int(j))) in ([0, 1], [2, 3]) for i, j in enumerate(far_prompts(prompts))]
        [False, False, False, False]
    """
    rng, chosen = np.random.default_rng(seed), []
    for row in _likeness(prompts):
        order = np.argsort(row, kind="stable")
        order = order[np.isfinite(row[order])]
        if not len(order):
            return None
        chosen.append(int(rng.choice(order[: max(1, len(order) // 2)])))
    return np.array(chosen, dtype=np.int64)


def _likeness(prompts: Sequence[str]) -> Floats:
    """Return [N, N], how alike prompts are; minus infinity for equal ones."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [" ".join(prompt.lower().split()) for prompt in prompts]
    rows = TfidfVectorizer(token_pattern=r"\S+").fit_transform(texts)
    likeness: Floats = (rows @ rows.T).toarray().astype(np.float64)
    _, kinds = np.unique(texts, return_inverse=True)
    likeness[kinds[:, None] == kinds[None, :]] = -np.inf
    return likeness


def _told(doses: Sequence[EditEffect]) -> list[EditEffect]:
    """Return the doses from the lowest from which all are told as worse; none where the highest is not."""
    told: list[EditEffect] = []
    for effect in reversed(doses):
        if effect.effect != "worse":
            break
        told.insert(0, effect)
    return told


def _dose(effect: EditEffect, before: str) -> str:
    """Return an edit's dose as text after `before`; nothing where its kind has but one."""
    amount = effect.name.removeprefix(effect.kind).lstrip(", ")
    return f"{before}{amount}" if amount else ""


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _percent(rate: Estimate) -> str:
    return f"{100 * rate.value:.0f}% [{100 * (rate.low or 0):.0f}, {100 * (rate.high or 1):.0f}]"
