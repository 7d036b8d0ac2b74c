"""Sweeps whose records, pictures and tables were pinned: whatever is rebuilt inside, these stay what they are.

`python -m pytest tests/bench/test_golden.py --pin` writes them anew; the commit that does so says why results changed.
"""

import hashlib
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_flux import save_tiny_flux

GOLDEN = Path(__file__).parent / "golden"
SWEEPS: dict[str, tuple[object, ...]] = {
    "plain": ("--tau", "0,0.3,0.6,1.2", "--strategy", "ward-cosine,average", "--seed", "1,2", "--fewer-steps"),
    "isolate": ("--tau", "0,0.6", "--isolate", "--fewer-steps"),
    "official": ("--tau", "0,0.6", "--official", "--guidance", "2"),
    "combiners": ("--tau", "0.6", "--combiner", "mean,medoid", "--noise", "shared", "--no-another-seed"),
    "savings": ("--savings", "0.25,0.5", "--strategy", "ward-cosine,shuffled-ward"),
    # a cache that skips by count: one that skips by a threshold may decide otherwise where a last digit differs
    "cached": ("--tau", "0,1", "--denoiser-cache", "none,taylorseer:interval=2:warmup=2", "--no-another-seed"),
}
# what a record has from the machine, the moment, or the grouping of work, and not from the sweep
UNPINNED = {
    "id",
    "identity",
    "timings",
    "standard_timings",
    "versions",
    "machine",
    "hub",
    "scorers",
    "schema_version",
    "strategy_source",
    "picture_sets",
    "scored",
    "sha256",
}
EXECUTION = {"calls", "isolated", "first_call", "steady", "options", "notes"}
NUMBER = re.compile(r"[-+]?\d")
KEYS = ("role", "strategy", "combiner", "schedule", "denoiser_cache", "seed", "tau")


def here() -> list[str]:
    """Name what decides the last digits of floating-point results."""
    return [torch.__version__, torch.backends.cpu.get_cpu_capability()]


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_flux(tmp_path_factory.mktemp("flux"), guidance_embeds=True)


def command(name: str, tiny: Any, flux: Path) -> list[object]:
    prompts = ["a red fox", "a red wolf", "a blue car", "a blue van"]
    common = [argument for prompt in prompts for argument in ("--prompt", prompt)]
    scorers = ["--metric", f"vqa={tiny.vqa}", "--metric", f"clip_diversity={tiny.clip}"]
    if name == "cached":
        model = ["--model", flux, "--steps", 8, "--height", 16, "--width", 16, "--set", "max_sequence_length=28"]
    else:
        model = ["--model", tiny.model, "--steps", 3, "--prior-steps", 2]
    return [
        "sweep",
        *model,
        *common,
        *scorers,
        *SWEEPS[name],
        "--no-audit",
        "--no-mlflow",
        "--name",
        name,
        "--device",
        "cpu",
    ]


# a tau that is found lies by a height at which prompts join: another CPU's last digit may have it on either side
ROUNDED = ("savings",)


def pinned_record(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_text())
    record["asked"].pop("model")
    record["execution"] = {key: value for key, value in record["execution"].items() if key not in EXECUTION}
    for folder in ("standard", "images"):  # their names are hashes of identities
        record[folder] = record[folder] is not None
    return {key: value for key, value in record.items() if key not in UNPINNED}


def place(record: dict[str, Any]) -> tuple[str, ...]:
    known = {**record, **record["asked"]}
    return tuple(str(known[key]) for key in KEYS)


def outcome(run: Path) -> tuple[list[dict[str, Any]], dict[str, bytes], list[list[str]]]:
    """Return a run's records, its pictures by what they are of, and the numbers of its summary."""
    records, pictures = [], {}
    for path in run.glob("cells/*/record.json"):
        whole, record = json.loads(path.read_text()), pinned_record(path)
        records.append(record)
        folders = {"own": run / (whole["images"] or path.parent.relative_to(run)), "baseline": run / whole["standard"]}
        for kind, folder in folders.items():
            for picture in sorted((folder / "images").glob("[0-9]*.png")):
                pictures[" ".join([*place(record), kind, picture.stem])] = picture.read_bytes()
    heading, _, *lines = [
        line for line in (run / "report/tables/summary.md").read_text().splitlines() if line[:1] == "|"
    ]
    timed = {i for i, title in enumerate(heading.split("|")) if "wall" in title}
    rows = [[cell.strip() for i, cell in enumerate(line.split("|")) if i not in timed] for line in lines]
    return sorted(records, key=place), pictures, sorted([cell for cell in row if NUMBER.match(cell)] for row in rows)


def groups(digests: dict[str, str]) -> set[frozenset[str]]:
    """Return which pictures are the same picture."""
    same = defaultdict(set)
    for key, digest in digests.items():
        same[digest].add(key)
    return {frozenset(keys) for keys in same.values()}


def close(ours: Any, pinned: Any, where: str = "") -> None:
    """Assert that two JSON values are the same, numbers but for rounding on another machine."""
    if isinstance(pinned, dict):
        assert ours.keys() == pinned.keys(), where
        for key in pinned:
            close(ours[key], pinned[key], f"{where}.{key}")
    elif isinstance(pinned, list):
        assert len(ours) == len(pinned), where
        for number, (one, other) in enumerate(zip(ours, pinned, strict=True)):
            close(one, other, f"{where}[{number}]")
    elif isinstance(pinned, float):
        assert ours == pytest.approx(pinned, rel=1e-3, abs=1e-3), where
    else:
        assert ours == pinned, where


@pytest.mark.parametrize("name", SWEEPS)
def test_a_pinned_sweep_gives_what_it_gave(bench, tiny, flux, name, request):
    result = bench(*command(name, tiny, flux))
    assert result.exit_code == 0, result.output
    records, pictures, table = outcome(Path("runs") / name)
    file, digests = GOLDEN / f"{name}.json", {key: hashlib.sha256(data).hexdigest() for key, data in pictures.items()}
    if request.config.getoption("--pin"):
        GOLDEN.mkdir(exist_ok=True)
        about = {"here": here(), "records": records, "pictures": digests, "table": table}
        file.write_text(json.dumps(about, sort_keys=True) + "\n")
        return
    pinned = json.loads(file.read_text())
    if name not in ROUNDED:
        assert groups(digests) == groups(pinned["pictures"])
    if here() == pinned["here"]:
        close(records, pinned["records"], "record")
        assert digests == pinned["pictures"]
        assert table == pinned["table"]
    else:  # other last digits are other pictures where weights are random: what is done stays, what comes of it not
        without_results = [[{**record, "figures": None} for record in both] for both in (records, pinned["records"])]
        close(*without_results, "record")
