"""Encodings of known prompt sets are kept in the cache: for the next command, of the same bytes, or made again."""

from pathlib import Path

import pytest

from generators.families.kandinsky import Kandinsky
from sweeps.grid import cells
from sweeps.measured import measured_here
from sweeps.pictures import load_manifest
from sweeps.store import saved_spec


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr("bench.generate._dendrogram", lambda *_: [])  # drawing it is most of these tests' time
    monkeypatch.setenv("REUSEBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/encodings"


@pytest.fixture
def generate(bench, tiny):
    def generated(name: str, *more: object) -> dict[str, bytes]:
        """The pictures' files by name."""
        asked = ["--model", tiny.model, "--prior-steps", 2, "--name", name]
        asked += [] if "--prompt" in more else ["--dataset", "demo"]
        for option, value in (("--steps", 2), ("--tau", 0.8)):
            asked += [] if option in more else [option, value]
        result = bench("generate", *asked, "--no-grid", *more)
        assert result.exit_code == 0, result.output
        generated.stderr = result.stderr
        return {path.name: path.read_bytes() for path in Path("generated", name, "images").iterdir()}

    return generated


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of prompts that were encoded, as they are."""
    calls, stock = [], Kandinsky.encode_batches

    def counted(self, prompts, *more):
        calls.append(len(prompts))
        return stock(self, prompts, *more)

    monkeypatch.setattr(Kandinsky, "encode_batches", counted)
    return calls


@pytest.mark.parametrize("more", [[], ["--official"]], ids=["keyed", "one stream"])
def test_the_next_command_encodes_nothing_and_makes_the_same_pictures(cache, generate, encoded, more):
    first = generate("first", *more)
    second = generate("second", *more)
    assert encoded == [6]
    assert "6 prompts were encoded before" in generate.stderr
    afresh = generate("afresh", "--no-encoding-cache", *more)
    assert encoded == [6, 6]
    assert first == second == afresh
    assert len([*cache.iterdir()]) == 1


def test_what_changes_an_encoding_is_another(cache, generate, encoded):
    changes = [[], ["--limit", 5], ["--seed", 7], ["--negative-prompt", "snow"], ["--batch-size", 3]]
    for number, more in enumerate(changes):
        generate(f"run-{number}", *more)
        assert len(encoded) == len([*cache.iterdir()]) == number + 1


def test_what_does_not_is_the_same(cache, generate, encoded):
    generate("first")
    generate("more", "--steps", 3, "--tau", 0, "--guidance", 2)
    assert encoded == [6]


def test_a_damaged_one_is_made_again(cache, generate, encoded):
    first = generate("first")
    (path,) = cache.glob("*/conditioning.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # the run folder's own is the same file
    path.write_bytes(content)
    assert generate("second") == first
    assert f"{path.parent} is damaged: encoding the prompts again" in generate.stderr
    assert generate("third") == first
    assert encoded == [6, 6], "the damaged one was replaced"


def test_what_a_prompt_takes_is_known_from_the_run_that_encoded_it(cache, generate):
    generate("first")
    generate("second")
    (cell,) = cells(saved_spec(Path("generated/second")), "cpu")
    seconds = measured_here(cell.source, "cpu", [Path("generated")])
    assert seconds.run == Path("generated/second")
    assert seconds.prompt == load_manifest(Path("generated/first")).timings["encode"] / 6 > 0


def test_prompts_of_ones_own_are_not_kept(cache, generate):
    generate("own", "--prompt", "a red fox")
    assert not cache.exists()


def test_an_encoding_that_was_begun_elsewhere_is_not_kept(cache, generate, encoded, monkeypatch):
    monkeypatch.setattr("sweeps.encodings.SHARD", 1)
    stock = Kandinsky.encode_batches

    def interrupted(self, *more):
        yield next(stock(self, *more))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(AssertionError):
        patch.setattr(Kandinsky, "encode_batches", interrupted)
        generate("first", "--batch-size", 2)
    generate("first", "--batch-size", 2)
    assert "2 of 6 prompts were encoded before" in generate.stderr
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(cache, generate):
    cache.parent.mkdir()
    cache.write_text("no folder")
    assert len(generate("first")) == 6


def test_the_doctor_says_what_is_kept(cache, generate, bench):
    assert "encoded prompt set" not in bench("doctor").stdout
    generate("first")
    assert "1 encoded prompt set, " in bench("doctor").stdout
    assert f", in {cache}" in bench("doctor").stdout
