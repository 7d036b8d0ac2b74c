"""`bench datasets fetch` and `show`, against a real server on loopback."""

import hashlib
import io
import json
from collections.abc import Iterator

import numpy as np
import pytest
from cutting_server import CuttingServer, serving

from generators import prompts

TEXTS = ["a cat", "a dog", "a cat", "a very small bird"]


@pytest.fixture(autouse=True)
def served(tmp_path, monkeypatch) -> Iterator[CuttingServer]:
    """The known sets are `four`, which a server has, `four_hats` of it, and `here`."""
    sets = tmp_path / "sets"
    sets.mkdir()
    monkeypatch.setattr(prompts, "FOLDER", sets)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATASETS", raising=False)
    prompts._known.cache_clear()
    file = io.BytesIO()
    np.save(file, np.array(TEXTS))
    sha256 = hashlib.sha256(file.getvalue()).hexdigest()
    with serving(file.getvalue()) as server:
        (sets / "here.yaml").write_text("description: Here\nlicence: MIT\nprompts: [a cat, a dog]\n")
        (sets / "four.yaml").write_text(
            f"description: Four\nfile: four.npy\nsha256: {sha256}\nsource: {server.url}\nlicence: MIT\n"
        )
        (sets / "four_hats.yaml").write_text("description: Hats\ntemplate: '{prompt} in a hat'\nof: four\n")
        yield server
    prompts._known.cache_clear()


def test_fetch_gets_what_is_named_and_says_where_it_is(bench, served, tmp_path):
    result = bench("datasets", "fetch", "four")
    assert result.exit_code == 0, result.output
    path = tmp_path / "cache" / "datasets" / "four.npy"
    assert result.stdout == f"four: 4 prompts, fetched, {path}\n"
    assert bench("datasets", "fetch", "four").stdout == f"four: 4 prompts, was here already, {path}\n"
    assert len(served.asked) == 1
    assert bench("datasets", "fetch", "here").stdout == "here: 2 prompts, comes with the package\n"


def test_fetch_without_names_gets_all_that_have_a_source(bench, served):
    result = bench("datasets", "fetch")
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == ["four"]
    assert bench("datasets", "list").stdout.count("yes") == 3, "hats are made of four"


def test_fetch_of_a_template_gets_what_fills_it(bench, served):
    assert "four_hats: 4 prompts, fetched" in bench("datasets", "fetch", "four_hats").stdout


def test_fetch_continues_after_a_cut(bench, served):
    served.cuts = [100, 0]
    result = bench("datasets", "fetch", "four")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"error: the connection to 127.0.0.1:{served.server_port} was cut after 100 bytes",
        "hint: run the same command again: it continues",
    ]
    served.asked.clear()
    assert bench("datasets", "fetch", "four").exit_code == 0
    assert served.asked == ["bytes=100-"]


def test_fetch_offline_is_two_lines(bench, served):
    served.shutdown()
    served.server_close()
    result = bench("datasets", "fetch", "four")
    assert result.exit_code == 2
    assert "error: cannot reach 127.0.0.1" in result.stderr
    assert len(result.stderr.splitlines()) == 2


def test_fetch_of_an_unknown_set(bench):
    result = bench("datasets", "fetch", "fore")
    assert result.exit_code == 2
    assert "did you mean 'four'?" in result.stderr


def test_a_plan_of_a_set_that_is_not_here_says_how_to_fetch_it(bench):
    result = bench("plan", "--dataset", "four", "--encoder", "minilm", "--steps", 4)
    assert result.exit_code == 2
    assert "hint: run `bench datasets fetch four`" in result.stderr


def test_show_counts_and_gives_the_prompts(bench, served):
    bench("datasets", "fetch")
    about = json.loads(bench("datasets", "show", "four", "--json").stdout)
    assert about["prompts"] == TEXTS
    assert (about["count"], about["repeated"], about["unavailable"]) == (4, 1, None)
    assert about["characters"] == {"shortest": 5, "median": 5, "longest": 17}
    assert about["words"] == {"shortest": 2, "median": 2, "longest": 4}
    assert (about["source"], about["licence"]) == (served.url, "MIT")
    shown = bench("datasets", "show", "four", "--first", 2).stdout
    for text in ("Four", served.url, "MIT", "4, 1 of them repeat an earlier one", "5 to 17, median 5", "a dog"):
        assert text in shown
    assert "bird" not in shown


def test_show_of_a_set_that_is_not_here_says_what_is_known(bench, served):
    result = bench("datasets", "show", "four")
    assert result.exit_code == 0, result.output
    assert served.url in result.stdout
    assert "bench datasets fetch four" in result.stdout
    about = json.loads(bench("datasets", "show", "four_hats", "--json").stdout)
    assert (about["count"], about["prompts"], about["of"]) == (None, [], "four")
    assert about["source"] == served.url
