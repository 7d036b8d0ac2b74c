"""The audit of a scorer: its floor, the zone of indifference, and who may be trusted."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from common.errors import UserError
from metrics.edits import DAMAGE, INVISIBLE
from metrics.scorer_audit import (
    ALPHA,
    REPLACED,
    AuditedScores,
    EditedScores,
    ScorerAudit,
    beyond_p,
    caption_auc,
    effect_beyond,
    far_prompts,
    indifference_floor,
    near_prompts,
    outside,
)

N = 60


def audit(scores: AuditedScores) -> ScorerAudit:
    return ScorerAudit(
        model="m",
        dataset="d",
        scorer="s",
        pictures=len(scores.own),
        of="",
        identity={},
        floor=scores.floor,
        mean=float(scores.own.mean()),
        invisible=scores.effects(scores.invisible),
        damage=scores.effects(scores.damage),
        captions=scores.captions(),
        saturation=scores.saturation,
    )


def scored(rng: np.random.Generator, sees: float, jitter: float = 0.01, n: int = N) -> AuditedScores:
    """Return the scores of a scorer that loses `sees` at the highest dose of any damage, and jitters at every edit."""
    own = rng.uniform(0.6, 0.8, n)

    def edited(name: str, drop: float, kind: str = "", dose: float | None = None) -> EditedScores:
        return EditedScores(name, own - drop * rng.uniform(0.5, 1.5, n) + jitter * rng.normal(size=n), kind, dose)

    damage = [
        edited(kind.at(dose).name, sees * (place + 1) / len(kind.doses), kind.name, dose)
        for kind in DAMAGE.values()
        for place, dose in enumerate(kind.doses)
    ]
    wrong = own[:, None] - sees + jitter * rng.normal(size=(n, 3)) + 0.1 * rng.normal(size=(n, 3))
    return AuditedScores(own, [edited(edit.name, 0) for edit in INVISIBLE.values()], damage, wrong, probability=True)


def test_a_scorer_that_sees_damage_is_trusted_to_tell_it() -> None:
    sees = audit(scored(np.random.default_rng(1), sees=0.3))
    assert sees.trusted and sees.verdict[0].startswith("can be trusted to tell blur from 1.56% of the side")
    assert not sees.missed
    assert {effect.effect for effect in sees.invisible} == {"within the floor"}


@pytest.mark.parametrize("seed", range(5))
def test_a_scorer_that_answers_at_random_is_not_trusted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    like = scored(rng, sees=0)
    at_random = AuditedScores(
        rng.random(N),
        [EditedScores(edited.name, rng.random(N)) for edited in like.invisible],
        [EditedScores(edited.name, rng.random(N), edited.kind, edited.dose) for edited in like.damage],
        rng.random((N, 3)),
        probability=True,
    )
    verdict = audit(at_random)
    assert not verdict.trusted and REPLACED in verdict.missed
    assert verdict.verdict[0].startswith("cannot be trusted: it does not tell another prompt's picture")
    assert verdict.floor > 0.5


def with_unlike(scores: AuditedScores, unlike: np.ndarray) -> ScorerAudit:
    told = replace(audit(scores), higher_is_better=scores.higher_is_better, unlike_mean=float(unlike.mean()))
    return replace(told, unlike=replace(scores, unlike=unlike).unlike_auc())


def test_pictures_show_their_prompts_where_their_mean_is_beyond_the_floor_from_that_with_unlike_ones() -> None:
    rng = np.random.default_rng(6)
    scores = scored(rng, sees=0.3)
    sound = with_unlike(scores, scores.own - rng.uniform(0.3, 0.5, N))
    assert sound.tells(sound.mean) and sound.trusted
    assert sound.tells(sound.unlike_mean + sound.floor / 2) is False, "another baseline, of which all are bad"
    near = with_unlike(scores, scores.own - scores.floor / 2)
    assert near.tells(near.mean) is False
    assert "cannot be trusted: it does not tell the pictures' own prompts from unlike ones (mean" in near.verdict[0]
    assert audit(scores).tells(0.0) is None, "an older audit"


def test_a_baseline_whose_own_prompts_are_told_by_chance_is_broken_and_a_better_one_beside_it_is_not() -> None:
    rng = np.random.default_rng(7)
    scores = replace(scored(rng, sees=0.3), own=rng.uniform(0.0, 0.9, N))
    edits = [EditedScores(edit.name, scores.own + 0.001 * rng.normal(size=N)) for edit in INVISIBLE.values()]
    guessed = with_unlike(AuditedScores(scores.own, edits), rng.uniform(0.0, 0.8, N))
    assert guessed.unlike.low <= 0.5 and guessed.mean - guessed.unlike_mean > guessed.floor
    assert guessed.tells(guessed.mean) is False
    assert guessed.tells(guessed.mean + 2 * guessed.floor) is True


def test_of_a_scorer_of_which_less_is_better_the_same_is_said_of_unlike_prompts() -> None:
    own = np.linspace(0.1, 0.3, N)
    edits = [EditedScores("shifted by a pixel", own + 0.01)]
    told = with_unlike(AuditedScores(own, edits, higher_is_better=False), own + 0.4)
    assert told.tells(told.mean) and not told.tells(told.unlike_mean)


def test_a_scorer_that_takes_sides_on_what_nobody_sees_is_told_so() -> None:
    rng = np.random.default_rng(2)
    scores = scored(rng, sees=0.3)
    dislikes = EditedScores("JPEG 90", scores.own - 0.002 * rng.uniform(0.5, 1.5, N))
    biased = AuditedScores(scores.own, [scores.invisible[0], dislikes], scores.damage, scores.wrong)
    assert any("takes sides on what nobody sees: JPEG 90 (0% [0, 6] wins)" in line for line in audit(biased).verdict)


def test_a_scorer_of_which_less_is_better_is_told_the_same() -> None:
    scores = scored(np.random.default_rng(3), sees=0.3)

    def turned(copies: list[EditedScores]) -> list[EditedScores]:
        return [EditedScores(one.name, -one.scores, one.kind, one.dose) for one in copies]

    other = AuditedScores(
        -scores.own, turned(scores.invisible), turned(scores.damage), -scores.wrong, higher_is_better=False
    )
    assert audit(other).verdict == audit(scores).verdict
    assert audit(other).captions == audit(scores).captions


def test_damage_is_told_from_a_dose_only_where_all_higher_ones_are_told_too() -> None:
    rng = np.random.default_rng(4)
    scores = scored(rng, sees=0.0)
    swirl = DAMAGE["swirl"]
    drops = dict(zip(swirl.doses, (0.3, 0.0, 0.3), strict=True))
    damage = [EditedScores(swirl.at(dose).name, scores.own - drop, swirl.name, dose) for dose, drop in drops.items()]
    told = audit(AuditedScores(scores.own, scores.invisible, damage))
    assert told.seen == ["swirl from 2.5 rad"] and told.missed == ["swirl up to 1.25 rad"]


def test_every_invisible_edit_by_itself_leaves_no_more_than_5_percent_outside() -> None:
    rng = np.random.default_rng(5)
    differences = [width * rng.normal(size=400) for width in (0.001, 0.01, 0.05)]
    floor = indifference_floor(differences)
    assert all((outside(row, floor) != 0).mean() <= 0.05 for row in differences)
    assert (outside(differences[2], floor) != 0).mean() == pytest.approx(0.05, abs=0.003)


def test_the_zone_is_half_open_and_zero_is_the_sign() -> None:
    differences = np.array([0.2, 0.1999, -0.2, -0.3, 0.0])
    assert outside(differences, 0.2).tolist() == [1, 0, -1, -1, 0]
    assert outside(differences, 0).tolist() == np.sign(differences).tolist()
    with pytest.raises(UserError, match="finite"):
        indifference_floor([[0.1, np.nan]])


def test_what_edits_nobody_sees_put_outside_is_called_more_in_5_percent_of_cases() -> None:
    rng = np.random.default_rng(6)
    called = [beyond_p(rng.random(120) < 0.05) < ALPHA for _ in range(1000)]
    assert np.mean(called) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)
    repeated = [beyond_p(np.tile(rng.random(120) < 0.05, (8, 1))) < ALPHA for _ in range(500)]
    assert np.mean(repeated) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 500), "eight seeds that repeat one are worth one"


def test_a_loss_beyond_the_floor_is_worse_and_both_ways_is_neither() -> None:
    assert effect_beyond([-1] * 20 + [1] * 2 + [0] * 38) == "worse"
    assert effect_beyond([1] * 20 + [0] * 40) == "better"
    assert effect_beyond([1] * 10 + [-1] * 12 + [0] * 38) == "either way"
    assert effect_beyond([-1] * 3 + [0] * 57) == "within the floor"


def test_the_auc_of_captions_is_the_area_under_the_curve() -> None:
    rng = np.random.default_rng(7)
    own, wrong = rng.normal(1, 1, 50), rng.normal(0, 1, (50, 3))
    auc = caption_auc(own, wrong)
    assert auc.value == pytest.approx(mannwhitneyu(own, wrong.ravel()).statistic / (50 * 150))
    assert auc.low < auc.value < auc.high


def test_the_interval_of_the_auc_covers() -> None:
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(100):
        quality = rng.normal(size=40)
        auc = caption_auc(quality + 1, quality[:, None] + rng.normal(size=(40, 3)))
        covered += auc.low <= 0.7181 <= auc.high  # P(Z1 + 1 > Z2 + Z3) = Phi(1 / sqrt(3))
    assert covered >= 88


def test_near_prompts_share_words_and_far_ones_do_not() -> None:
    prompts = ["a red fox", "a red wolf", "a blue car", "a blue van", "a red fox"]
    near = near_prompts(prompts, 3)
    assert near.shape == (5, 3) and near[:, 0].tolist() == [1, 0, 3, 2, 1]
    assert all(prompts[i] != prompts[j] for i, row in enumerate(near) for j in row)
    far = far_prompts(prompts)
    assert all((i in (2, 3)) != (j in (2, 3)) for i, j in enumerate(far))
    assert far_prompts(["a fox", "a fox"]) is None
    assert near_prompts(["???", "!!!", "a"], 2).shape == (3, 2)
