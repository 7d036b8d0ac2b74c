"""Streams: seeded, every prompt as often as said, arrivals at the rate, kept in a file and read as written."""

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from serving.stream import ORDERS, Stream, StreamSpec, likeness, zipf_counts

PROMPTS = [f"a {colour} {thing}" for colour in ("red", "blue", "green") for thing in ("fox", "wolf", "car", "van")]
orders, arrivals = st.sampled_from(sorted(ORDERS)), st.sampled_from(["closed", "poisson", "burst"])


@given(orders, arrivals, st.integers(2, 80), st.integers(0, 5))
def test_a_stream_follows_from_its_seed(order, come, requests, seed):
    spec = StreamSpec(requests=requests, order=order, arrivals=come, seed=seed, rate=3)
    first, again = Stream.of(PROMPTS, spec), Stream.of(PROMPTS, spec)
    assert first == again
    assert [one.id for one in first.requests] == list(range(requests))
    assert all(PROMPTS[one.prompt_id] == one.prompt for one in first.requests)
    seeds = [seed for one in first.requests for seed in (one.seed, one.control_seed)]
    assert len(set(seeds)) == 2 * requests, "no two pictures start from one noise"


def test_another_seed_is_another_stream():
    streams = [Stream.of(PROMPTS, StreamSpec(requests=24, seed=seed)) for seed in (0, 1)]
    assert streams[0].prompts != streams[1].prompts
    assert streams[0].hash != streams[1].hash


@given(st.sampled_from(["set", "drawn", "sessions"]), st.integers(2, 100), st.integers(0, 9))
def test_every_prompt_comes_once_before_any_comes_again(order, requests, seed):
    prompts = Stream.of(PROMPTS, StreamSpec(requests=requests, order=order, seed=seed)).prompts
    counts = Counter(prompts)
    assert max(counts.values()) - min(counts[one] for one in PROMPTS) <= 1
    for start in range(0, requests - len(PROMPTS) + 1, len(PROMPTS)):
        assert sorted(prompts[start : start + len(PROMPTS)]) == sorted(PROMPTS)


@given(st.integers(2, 400), st.integers(1, 40), st.floats(0, 3))
def test_zipf_asks_each_prompt_as_often_as_said(requests, prompts, skew):
    counts = zipf_counts(requests, prompts, skew)
    weights = np.arange(1, prompts + 1) ** -skew
    assert counts.sum() == requests
    assert np.abs(counts - requests * weights / weights.sum()).max() < 1
    spec = StreamSpec(requests=requests, order="zipf", skew=skew)
    asked = Counter(Stream.of([str(i) for i in range(prompts)], spec).prompts)
    assert sorted(asked.values(), reverse=True) == [count for count in sorted(counts.tolist(), reverse=True) if count]


def test_sessions_follow_shared_words():
    stream = Stream.of(PROMPTS, StreamSpec(requests=600, order="sessions", run=6)).prompts
    drawn = Stream.of(PROMPTS, StreamSpec(requests=600, order="drawn")).prompts

    def shared(prompts):
        return np.mean([len({*one.split()[1:]} & {*other.split()[1:]}) for one, other in pairwise(prompts)])

    assert shared(stream) > 1.5 * shared(drawn)


@given(st.sampled_from(["poisson", "burst"]), st.floats(0.2, 50), st.integers(1, 9), st.integers(0, 3))
def test_requests_of_an_open_loop_come_one_after_the_other_at_the_rate(come, rate, burst, seed):
    n = 4000
    spec = StreamSpec(requests=n, arrivals=come, rate=rate, burst=burst, seed=seed)
    at = [one.at for one in Stream.of(PROMPTS, spec).requests]
    together = burst if come == "burst" else 1
    assert at[0] == 0
    assert at == sorted(at)
    assert max(Counter(at).values()) <= together
    # the mean of n / together exponential times: five standard errors
    assert at[-1] * rate / n == pytest.approx(1, abs=5 * (together / n) ** 0.5 + together / n)


def test_in_a_closed_loop_nobody_waits_for_the_clock():
    assert {one.at for one in Stream.of(PROMPTS, StreamSpec(requests=9)).requests} == {0.0}


def test_a_file_is_read_as_it_was_written(tmp_path):
    stream = Stream.of(
        ["ein Fuchs, 水彩画", "two\nlines", "and\u2028three"], StreamSpec(requests=7, arrivals="poisson")
    )
    stream.write(tmp_path / "requests.jsonl")
    assert Stream.read(tmp_path / "requests.jsonl") == stream
    assert len((tmp_path / "requests.jsonl").read_text().split("\n")) == 9


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: lines[:-1],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [*lines[:-1], "{"],
        lambda lines: [],
        lambda lines: [*lines[:-1], json.dumps({**json.loads(lines[-1]), "at": -1})],
    ],
    ids=["cut", "out of order", "half a line", "empty", "before the beginning"],
)
def test_a_file_that_holds_no_stream_is_refused(tmp_path, spoil):
    path = tmp_path / "requests.jsonl"
    Stream.of(PROMPTS, StreamSpec(requests=5)).write(path)
    path.write_text("\n".join(spoil(path.read_text().splitlines())))
    with pytest.raises(UserError, match=r"requests\.jsonl"):
        Stream.read(path)


def test_a_wrong_setting_is_named():
    with pytest.raises(UserError, match="--rate"):
        StreamSpec.made(rate=0)
    with pytest.raises(UserError, match="'zip'") as refused:
        StreamSpec.made(order="zip")
    assert "zipf" in str(refused.value)


def test_likeness_tells_repeated_prompts_from_similar_ones():
    found = likeness(["a red fox", "a red fox", "a red wolf", "some blue car"], "words")
    assert found.repeated == 0.25
    assert 0 < found.others < found.mean < 1
    assert likeness(["a fox"] * 3, "words").others is None
