"""`bench generate --wave 6`, killed at several moments and run again, in forks: what came of it, as JSON.

python tests/support/killed_waves.py FOLDER
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from generators.node_states import NodeStates
from sweeps.session import Session
from sweeps.unfinished import Unfinished
from tests.campaign.kills import die, forked, warm

ASKED = ("generate", "--model", "mini-sd", "--dataset", "mini_templates", "--steps", "3", "--batch-size", "4")
RUN = Path("generated/run")
PICTURES, WAVE = 20, 6
COMMAND = (*ASKED, "--tau", "4", "--limit", str(PICTURES), "--wave", str(WAVE), "--name", "run")


def counted() -> None:
    """Count the rows that are denoised, in a file."""
    advance = Session.advance

    def told(self: Session, k: int, nodes: Any, *rest: Any) -> None:
        with Path("rows").open("a") as file:
            file.write(f"{len(nodes)}\n")
        advance(self, k, nodes, *rest)

    Session.advance = told  # type: ignore[method-assign]


def dying(owner: type, name: str, number: int) -> Callable[[], None]:
    """Return what kills when a method is called for the N-th time, before it does anything."""

    def before() -> None:
        counted()
        method, calls = getattr(owner, name), [0]

        def deadly(*arguments: Any) -> Any:
            calls[0] += 1
            if calls[0] == number:
                die()
            return method(*arguments)

        setattr(owner, name, deadly)

    return before


def pictures(folder: Path) -> dict[str, str]:
    return {path.name: path.read_bytes().hex() for path in sorted((folder / RUN / "images").iterdir())}


def rows(folder: Path) -> int:
    return sum(map(int, (folder / "rows").read_text().split()))


def calls(folder: Path) -> int:
    return int(json.loads((folder / RUN / "generation.json").read_text())["execution"]["calls"])


def main() -> None:
    out = Path(sys.argv[1])
    warm((*ASKED, "--tau", "1", "--limit", "2"))
    whole = out / "whole"
    ended = forked(COMMAND, counted, whole)
    assert ended.code == 0, ended.err
    found: dict[str, Any] = {"rows": rows(whole), "told": ended.err, "killed": {}}
    moments = {
        "a picture in the middle": (Unfinished, "written", 11),
        "the last picture": (Unfinished, "written", PICTURES),
        "a trunk's states": (NodeStates, "save", 1),
        "a wave's end": (Unfinished, "done", 3),
    }
    for name, moment in moments.items():
        folder = out / name.replace(" ", "-")
        killed = forked(COMMAND, dying(*moment), folder)
        left = pictures(folder)
        if name == "the last picture":  # of a wave that was done, one is damaged
            damaged = folder / RUN / "images" / min(left)
            damaged.write_bytes(damaged.read_bytes()[:-9])
        again = forked(COMMAND, counted, folder)
        found["killed"][name] = {
            "code": killed.code,
            "there": len(left),
            "again": again.code,
            "err": again.err,
            "same": pictures(folder) == pictures(whole),
            "rows": rows(folder),
            "calls": calls(folder) == calls(whole),
            "left": sorted(path.name for path in (folder / RUN).glob("states/*")),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
