"""The judgement on simulated scores: what it flags at 500 requests, how seldom it errs, what it takes for no fault."""

import numpy as np
import pytest

from serving.verdict import (
    ALARM,
    Arms,
    alarm,
    compared,
    falls,
    mean_by_prompt,
    outcomes_by_prompt,
    scan_p,
    scored,
    within_prompts,
)

N, PROMPTS = 500, 120


def arms(rng, *, wrong=0.0, shift=0.0, hits=0.8, n=N, replicate=False, sign=1.0):
    """Scores of three arms: a prompt's level, noise of each picture, and of some hits a score without the prompt."""
    owners = rng.permutation(np.arange(n) % PROMPTS)
    level = rng.normal(0.6, 0.08, PROMPTS)[owners]
    off, on, control = (level + rng.normal(0, 0.07, n) for _ in range(3))
    if replicate:  # all hits of a prompt are one picture
        on = level + rng.normal(0, 0.07, PROMPTS)[owners]
    hit = rng.random(n) < hits
    bad = hit & (rng.random(n) < wrong)
    on = np.where(bad, rng.normal(0.15, 0.1, n), on - shift)
    on = np.where(hit, on, off)
    made = Arms(
        ids=list(range(n)),
        prompts=[f"prompt {i}" for i in owners],
        scores={"off": {"fit": sign * off}, "on": {"fit": sign * on}, "control": {"fit": sign * control}},
        contents={
            "off": [f"off {i}" for i in range(n)],
            "on": [f"on {i}" if h else f"off {i}" for i, h in enumerate(hit)],
            "control": [f"control {i}" for i in range(n)],
        },
        hits=[bool(h) for h in hit],
        lower_is_better=frozenset({"fit"} if sign < 0 else ()),
    )
    return made, np.flatnonzero(bad)


def test_one_wrong_hit_in_twenty_is_flagged_although_the_mean_hardly_moves():
    rng = np.random.default_rng(0)
    raised, found, false, moved = [], [], [], []
    for _ in range(40):
        made, bad = arms(rng, wrong=0.05)
        of_alarm = alarm(made)
        flagged = {one.id for one in of_alarm.flagged}
        raised.append(of_alarm.raised)
        found.append(len(flagged & {*bad.tolist()}) / len(bad))
        false.append(len(flagged - {*bad.tolist()}))
        moved.append(scored(made, "fit", 0.05).on.difference.value)
    assert np.mean(raised) > 0.95
    assert np.mean(found) > 0.7
    assert np.mean(false) < 2
    assert abs(np.mean(moved)) < 0.03


def test_where_nothing_is_wrong_the_alarm_is_as_rare_as_its_level_says():
    rng = np.random.default_rng(1)
    smallest = [
        min(one.adjusted for one in alarm(arms(rng, hits=hits)[0]).signals) for hits in (1.0, 0.7) for _ in range(150)
    ]
    assert sum(p < ALARM for p in smallest) <= 1
    assert np.mean(np.array(smallest) < 0.05) < 0.1


def test_a_cache_that_gives_all_hits_of_a_prompt_one_picture_raises_no_false_alarm():
    rng = np.random.default_rng(2)
    raised = [alarm(arms(rng, replicate=True)[0]).raised for _ in range(80)]
    assert sum(raised) == 0


def test_a_small_loss_in_all_pictures_is_the_mean_s_affair():
    rng = np.random.default_rng(3)
    made = [arms(rng, shift=0.05)[0] for _ in range(30)]
    assert sum(alarm(one).raised for one in made) <= 1
    assert np.mean([compared(one, "on", "fit", 0.05).verdict == "worse" for one in made]) > 0.9


def test_less_is_better_is_turned_around():
    made, bad = arms(np.random.default_rng(4), wrong=0.08, sign=-1.0)
    of_alarm = alarm(made)
    assert of_alarm.raised
    assert len({one.id for one in of_alarm.flagged} & {*bad.tolist()}) > 0.6 * len(bad)


def test_flagged_requests_are_told_with_their_prompt_and_what_the_server_said():
    made, bad = arms(np.random.default_rng(5), wrong=0.1)
    of_alarm = alarm(made)
    worst = of_alarm.flagged[0]
    assert worst.id in bad
    assert worst.prompt == made.prompts[worst.id]
    assert worst.hit is True
    assert "fell" in worst.why[0]
    assert of_alarm.sentence.startswith("ALARM")


def embedded_arms(rng, wrong):
    """Pictures that lie near their own prompt of 60, or near another's."""
    texts = rng.normal(size=(60, 16))
    owners = np.arange(300) % 60
    shown = owners.copy()
    shown[wrong] = (owners[wrong] + 30) % 60
    pictures = {arm: texts[shown if arm == "on" else owners] + rng.normal(0, 0.4, (300, 16)) for arm in ARMS}
    return Arms(
        ids=list(range(300)),
        prompts=[f"prompt {i}" for i in owners],
        scores={arm: {} for arm in ARMS},
        embeddings={arm: {"clip": rows} for arm, rows in pictures.items()},
        texts={"clip": texts[owners]},
        contents={arm: [f"{arm} {i}" for i in range(300)] for arm in ARMS},
    )


ARMS = ("off", "on", "control")


def test_pictures_that_show_another_prompt_are_told_by_an_encoder_that_reads():
    wrong = np.arange(0, 300, 25)
    of_alarm = alarm(embedded_arms(np.random.default_rng(6), wrong))
    shows = next(one for one in of_alarm.signals if one.kind == "shows another prompt")
    assert of_alarm.raised
    assert shows.adjusted < ALARM
    assert {one.id for one in of_alarm.flagged} >= {*wrong.tolist()}
    assert not alarm(embedded_arms(np.random.default_rng(7), np.arange(0))).raised


def test_copies_of_other_prompts_pictures_are_told_by_their_pixels_alone():
    made, _ = arms(np.random.default_rng(8))
    contents = list(made.contents["on"])
    for i in range(100, 400, 20):
        contents[i] = contents[i - 1]
    copied = Arms(made.ids, made.prompts, made.scores, {**made.contents, "on": contents}, hits=made.hits)
    assert next(one for one in alarm(copied).signals if one.kind == "copy").adjusted < ALARM


def test_what_cannot_be_tested_is_said():
    of_alarm = alarm(arms(np.random.default_rng(9))[0])
    assert "another prompt" in of_alarm.left_out[0]


def test_servers_without_reuse_say_nothing_and_raise_nothing():
    made, _ = arms(np.random.default_rng(10), hits=0.0)
    of_alarm = alarm(made)
    assert not of_alarm.raised
    assert all(one.requests == 0 and one.p == 1 for one in of_alarm.signals)
    on = compared(made, "on", "fit", 0.05)
    assert (on.win_rate.value, on.difference.value, on.verdict) == (0.5, 0.0, "no worse")


def test_the_scan_s_p_value_is_the_chance_of_one_as_small():
    rng = np.random.default_rng(11)
    p = np.array([scan_p(rng.random(40) < 1 / 3, 1 / 3)[0] for _ in range(1500)])
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level) == pytest.approx(level, abs=max(0.35 * level, 0.008))
        assert np.mean(p <= level) <= level + 3 * (level / 1500) ** 0.5


def test_falls_do_not_know_which_arm_is_which():
    table = np.random.default_rng(12).normal(size=(3, 200))
    least, whose, far = falls(table, np.ones(200))
    for order in ([1, 2, 0], [2, 1, 0]):
        again = falls(table[order], np.ones(200))
        assert again[0] == least
        assert np.array_equal(again[2], far)
        assert np.array_equal(np.array(order)[again[1]], whose)


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_intervals_clustered_by_prompt_hold_where_requests_of_a_prompt_resemble_each_other(level):
    rng = np.random.default_rng(13)
    owners = np.arange(N) % PROMPTS
    names = [str(one) for one in owners]
    means, rates = [], []
    for _ in range(300):
        values = rng.normal(0, level, PROMPTS)[owners] + rng.normal(0, 0.5, N)
        mean, rate = mean_by_prompt(values, names), outcomes_by_prompt(np.sign(values), names).estimate()
        means.append(mean.low <= 0 <= mean.high)
        rates.append(rate.low <= 0.5 <= rate.high)
    assert 0.91 < np.mean(means) <= 0.99
    assert 0.91 < np.mean(rates) <= 0.99


def test_pictures_of_one_prompt_are_compared_with_each_other_alone():
    alike = within_prompts([[1, 0], [0, 1], [1, 0], [1, 0]], ["a", "a", "b", "b"])
    assert alike.tolist() == [0.0, 1.0]
