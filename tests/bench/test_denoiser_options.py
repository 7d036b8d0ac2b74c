"""How denoisers compute is a flag: recorded, no part of a run's identity, refused by name."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from sweeps.record import load_records


def test_what_held_is_in_the_record_and_not_in_the_identity(bench, tiny_sweep, monkeypatch: pytest.MonkeyPatch):
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)  # two, on a busy machine, take minutes
    asked = (*tiny_sweep, "--tau", "0.6", "--no-seed-control")
    plain = bench(*asked, "--name", "plain")
    flags = ("--channels-last", "--autocast", "--threads", 2)
    other = bench(*asked, "--name", "other", *flags)
    assert plain.exit_code == other.exit_code == 0, other.output
    (before,), (after,) = load_records(Path("runs/plain")), load_records(Path("runs/other"))
    assert after.id == before.id
    plain_options = {"channels_last": False, "compilation": "no", "autocast": False, "threads": 1}
    assert before.execution.options.items() >= plain_options.items()
    held = {"channels_last": True, "autocast": True}
    assert after.execution.options == before.execution.options | held
    assert set(threads) == {2}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--autocast", "--dtype", "bf16"), "--autocast is of fp32 weights"),
        (("--compile", "some"), "compilation"),
        (("--compile", "full", "--denoiser-cache", "first-block"), "denoiser cache"),
        (("--threads", "0"), "threads"),
    ],
)
def test_refused_before_anything_is_made(bench, tiny_sweep, flags, said: str):
    done = bench(*tiny_sweep, *flags, "--name", "refused")
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not Path("runs/refused").exists()


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'reusebench[ray]'")
def test_rays_workers_compute_as_this_process_does(bench, tiny_sweep):
    asked = (*tiny_sweep, "--tau", "0.6", "--no-seed-control", "--batch-size", 1, "--autocast")
    far = bench(*asked, "--name", "far", "--executor", "ray", "--workers", 1)
    here = bench(*asked, "--name", "here")
    assert far.exit_code == here.exit_code == 0, far.output
    (theirs,), (ours,) = load_records(Path("runs/far")), load_records(Path("runs/here"))
    assert theirs.execution.options == ours.execution.options
    assert theirs.execution.options["autocast"] is True
    pairs = zip(theirs.pictures(Path("runs/far")), ours.pictures(Path("runs/here")), strict=True)
    assert all(one.read_bytes() == other.read_bytes() for one, other in pairs)


def test_generate_has_them_too(bench, tiny):
    asked = ("generate", "--model", tiny.model, "--prompt", "a red fox", "--prompt", "a red wolf", "--steps", 2)
    made = bench(*asked, "--prior-steps", 2, "--name", "some", "--autocast", "--threads", 1)
    assert made.exit_code == 0, made.output
    assert '"autocast": true' in (Path("generated/some/generation.json")).read_text().replace('":true', '": true')
