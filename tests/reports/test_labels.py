import pytest

from reports.labels import Label, label, title
from sweeps.record import Result


def test_a_metric_names_its_figures_itself(new_record) -> None:
    found = label("clip_diversity.clip_similarity", [new_record()])
    assert (found.text, found.unit, found.higher_is_better) == ("CLIP similarity", "score", False)
    assert found.axis == "CLIP similarity (lower is better)"


@pytest.mark.parametrize(
    ("name", "heading", "unit"),
    [
        ("pick.win_rate", "pick win rate, %", "fraction"),
        ("pick.win_rate_strict", "pick win rate strict, %", "fraction"),
        ("pick.ties", "pick ties", "count"),
        ("dino-diversity.similarity", "DINO diversity similarity", "score"),
    ],
)
def test_a_metric_that_says_nothing_is_still_readable(new_record, name, heading, unit) -> None:
    found = label(name, [new_record()])
    assert (found.heading, found.unit) == (heading, unit)


def test_a_description_of_another_shape_is_ignored(new_record) -> None:
    record = new_record().model_copy(update={"scorers": {"vqa": {"figures": {"win_rate": "VQA"}}}})
    assert label("vqa.win_rate", [record]).text == "VQA win rate"


@pytest.mark.parametrize(
    ("about", "value", "text"),
    [
        (Label("", "fraction"), 0.5075, "50.7"),
        (Label("", "fraction"), 1.0, "100.0"),
        (Label("", "count"), 97.0, "97"),
        (Label(""), 0.65214, "0.6521"),
        (Label("", signed=True), 0.01, "+0.0100"),
        (Label("", signed=True), -0.01, "-0.0100"),
        (Label("", signed=True), -0.00001, "0.0000"),
        (Label(""), None, "-"),
        (Label(""), float("nan"), "-"),
    ],
)
def test_numbers_have_their_unit_and_digits(about, value, text) -> None:
    assert about.number(value) == text


def test_an_interval_is_in_the_figure_s_unit_or_absent() -> None:
    rate = Label("", "fraction")
    assert rate.interval(Result(value=0.5, low=0.431, high=0.569)) == "[43.1, 56.9]"
    assert rate.interval(Result(value=0.5)) == ""


def test_titles_are_words() -> None:
    assert title("clip_diversity") == "CLIP diversity"
