"""Does `bench drive` see 5% of wrong hits, and keep quiet where nothing is wrong? ``python -m benchmarks.drive``.

500 requests of a card on the miniature. **planted**: a cache of which 5% of hits begin from another request's latent.
**healthy**: the same cache without the fault. **A/A**: sets of pictures by a server that reuses nothing, each with its
own seeds, taken as the three arms of a drive: every pair of sets as on and off, a third as the control. All go through
a server on loopback and the client of `bench drive`. What is there already is not made again.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from common.files import atomic_write
from common.pictures import read_picture
from serving.client import Answer, Client, Limits, Server, endpoint
from serving.drive import Drive, Driving, load
from serving.stream import Stream, StreamSpec
from serving.verdict import alarm, compared
from tasks.card import card

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))  # the fault is planted where tests plant it

RESULTS = Path(__file__).parent / "results" / "drive.json"
CARD, STEPS = "reusebench-v1/mini-sd-styles", 6
CACHE = "cache:similarity=[0.9]:share=[0.5]"  # half of the steps are skipped; no two prompts of the set are so alike
FAULT = 0.05
ODD = 2.0  # of 255, mean distance of pixels
PORTS = {"planted": 8741, "healthy": 8742, "none": 8743}
FIELDS: dict[str, Any] = {"off": {"reuse": False}, "on": {}}


def driving(out: Path, stream: Stream, port: int, device: str) -> Driving:
    """Return the drive of a server on a port."""
    task = card(CARD)
    url = endpoint(f"http://127.0.0.1:{port}")
    servers = {arm: Server(url=url, fields=FIELDS[arm], size=(task.width, task.height)) for arm in FIELDS}
    limits = Limits(concurrency=16, timeout=600)
    return Driving(task, stream, servers, {}, limits, task.scorers, out, device, audited=False, encoder="words")


def told(event: Any) -> None:
    """Hear of progress, and say nothing."""


def summary(found: Drive) -> dict[str, Any]:
    """Return the figures of a drive, as plain values."""
    return {
        "alarm": found.alarm.raised,
        "adjusted": min(one.adjusted for one in found.alarm.signals),
        "signals": [one.model_dump(exclude={"ids"}) for one in found.alarm.signals],
        "flagged": len(found.alarm.flagged),
        "hits": found.loads["on"].hits if found.loads else None,
        "verdicts": list(found.verdicts),
        "figures": {name: one.value for name, one in found.figures.items()},
    }


def served_drive(name: str, work: Path, stream: Stream, device: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a whole drive of a server, with the fault planted or without."""
    from faulty_cache import faulty
    from served import served

    out = work / name
    one = driving(out, stream, PORTS[name], device)
    whole = all(Answer.read(out / arm, i) for arm in ("off", "on", "control") for i in range(len(stream.requests)))
    shelf: dict[str, Any] = {"shelf": faulty(FAULT)} if name == "planted" else {}
    with nullcontext() if whole else served("cache", port=PORTS[name], strategy=CACHE, **shelf, **settings) as server:
        found = one.run(told)
    odd = odd_hits(out, stream)
    wrong = work / f"{name}-wrong.json"
    if server is not None and name == "planted":
        sources = [shelf.wrong for shelf in shelf["shelf"].shelves]
        atomic_write(wrong, json.dumps(sources))
    return {
        **summary(found),
        "planted": sum(json.loads(wrong.read_text())) if wrong.exists() else 0,
        "odd_hits": len(odd),
        "flagged_odd": len(odd & {one.id for one in found.alarm.flagged}),
    }


def odd_hits(out: Path, stream: Stream) -> set[int]:
    """Return the hits whose picture is not that of their prompt's other hits: this cache gives each prompt one.

    Rounding, which batches of other sizes bring, moves no pixel as far as `ODD`.
    """
    pictures: dict[str, dict[int, Any]] = {}
    for one in stream.requests:
        answer = Answer.read(out / "on", one.id)
        if answer and answer.hit and answer.file:
            pixels = np.asarray(read_picture(out / "on" / answer.file), dtype=np.float64)
            pictures.setdefault(one.prompt, {})[one.id] = pixels
    return {
        number
        for of_prompt in pictures.values()
        for number, pixels in of_prompt.items()
        if np.abs(pixels - np.median([*of_prompt.values()], axis=0)).mean() > ODD
    }


def seeds(stream: Stream, number: int) -> list[int]:
    """Return the seeds of a set of pictures: the first two are those of a drive's off arm and its control."""
    if number < 2:
        return [one.control_seed if number else one.seed for one in stream.requests]
    rng = np.random.default_rng([stream.spec.seed, 1000 + number])
    return [int(seed) for seed in rng.choice(2**31, len(stream.requests), replace=False)]


def main() -> None:
    """Measure what is missing, and print and keep the figures."""
    from served import served

    parser = argparse.ArgumentParser(prog="python -m benchmarks.drive", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("drives/benchmark"), help="where pictures are kept")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--sets", type=int, default=7, help="of A/A; 7 have 21 pairs")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    stream = Stream.of(card(CARD).prompt_set.prompts, StreamSpec(requests=asked.requests))
    settings = {"model": card(CARD).model, "steps": str(STEPS), "scheduler": card(CARD).scheduler, "batch": asked.batch}
    found: dict[str, Any] = {
        "card": CARD,
        "steps": STEPS,
        "cache": CACHE,
        "requests": asked.requests,
        "stream": stream.hash,
    }
    for name in ("planted", "healthy"):
        if name == "healthy":  # the same server with reuse off: its pictures are those of the planted drive
            for arm in ("off", "control"):
                shutil.copytree(asked.work / "planted" / arm, asked.work / name / arm, dirs_exist_ok=True)
        found[name] = served_drive(name, asked.work, stream, "cpu", settings)
        print(f"{name}: {json.dumps(found[name], indent=1)}", flush=True)
    atomic_write(asked.out, json.dumps(found, indent=1) + "\n")
    folders = [asked.work / "planted" / "off", asked.work / "planted" / "control"]
    folders += [asked.work / "sets" / str(number) for number in range(2, asked.sets)]
    for number, folder in enumerate(folders):
        if number >= 2 and not all(Answer.read(folder, i) for i in range(asked.requests)):
            one = driving(asked.work, stream, PORTS["none"], "cpu")
            with served("none", port=PORTS["none"], **settings):
                Client(one.servers["off"], folder, one.limits).ask(stream.requests, seeds(stream, number))
            print(f"set {number} is there", flush=True)
    found["aa"] = pairs(folders, asked.work, stream)
    alarms = sum(run["alarm"] for run in found["aa"])
    print(f"A/A: {alarms} alarms in {len(found['aa'])} runs of pairs among {len(folders)} independent sets")
    print("smallest adjusted p of each:", sorted(round(run["adjusted"], 4) for run in found["aa"]))
    atomic_write(asked.out, json.dumps(found, indent=1) + "\n")


def pairs(folders: Sequence[Path], work: Path, stream: Stream) -> list[dict[str, Any]]:
    """Return the figures of every pair of sets as on and off, with the next other set as the control."""
    runs = []
    for on, off in combinations(range(len(folders)), 2):
        control = next(number % len(folders) for number in range(off + 1, off + 4) if number % len(folders) != on)
        place = work / "aa" / f"{on}-{off}-{control}"
        for arm, number in (("on", on), ("off", off), ("control", control)):
            (place / arm).parent.mkdir(parents=True, exist_ok=True)
            if not (place / arm).exists():
                (place / arm).symlink_to(folders[number].resolve(), target_is_directory=True)
        one = driving(place, stream, PORTS["none"], "cpu")
        answers = {
            arm: [found for i in range(len(stream.requests)) if (found := Answer.read(place / arm, i))]
            for arm in ("off", "on", "control")
        }
        arms = one.measured(answers, {arm: load(answers[arm]) for arm in answers}, told).arms
        of_alarm, said = alarm(arms), compared(arms, "on", "vqa", one.card.delta)
        runs.append(
            {
                "on": on,
                "off": off,
                "control": control,
                "alarm": of_alarm.raised,
                "adjusted": min(signal.adjusted for signal in of_alarm.signals),
                "win_rate": said.win_rate.model_dump(),
                "verdict": said.verdict,
            }
        )
        print(f"A/A {on} against {off}: alarm {runs[-1]['alarm']}, {runs[-1]['adjusted']:.3g}", flush=True)
    return runs


if __name__ == "__main__":
    main()
