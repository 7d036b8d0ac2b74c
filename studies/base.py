"""The base of studies: how one is found by name, and how it is run into a run folder.

    spec = make_spec([read_preset("paper-coarse-to-fine")])
    get_study("coarse-to-fine").make(spec, Path("runs/mine"), device="cpu", emit=print)

leaves ``runs/mine/studies/coarse-to-fine/<model>-<dataset>-<8 of its identity's hash>/manifest.json`` and its files.
The folder is a sweep's, before the sweep, after it, or without it: the spec must be the same, and conditioning and
baselines are shared with it. Run again, it keeps what is done. `studies.manifest` reads it without
torch: ``CoarseToFine.of(run)``.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from common.errors import UserError
from common.files import make_folder, sha256_file, write_sealed
from common.plugins import Plugin, discover, find
from studies.manifest import MANIFEST, STUDIES, Manifest
from sweeps.grid import Source, prompts_of, sampler_of, settings_of, short_hash, sources

if TYPE_CHECKING:
    from sweeps.events import Emit
    from sweeps.session import Session
    from sweeps.spec import SweepSpec

PACKAGE, GROUP = "studies", "reusebench.studies"


@dataclass(frozen=True, eq=False)
class Part:
    """One thing to make, in a folder of its own.

    Attributes:
        source: the model, prompts and settings.
        how: what else changes its result, as plain values.
        asked: the same as the user named it, where a study has axes of its own.
    """

    source: Source
    how: dict[str, Any]
    asked: dict[str, Any] = field(default_factory=dict)


class Study(Plugin, ABC):
    """Something made with a sweep's models, prompts and settings that no cell holds.

    Attributes:
        manifest: what it leaves.
    """

    manifest: ClassVar[type[Manifest]]

    def make(self, spec: "SweepSpec", folder: Path, *, device: str, emit: "Emit") -> None:
        """Make what is not there yet.

        Args:
            spec: whose models, prompts and settings; what else a study reads of it, its docstring says.
            folder: a run folder of that spec, there or not.
            device: a torch device.
            emit: hears stages and notes.

        Raises:
            UserError: the folder is another process's or another sweep's, or a model cannot be had here.
        """
        from sweeps.session import Session
        from sweeps.store import open_store

        parts, session = list(self.parts(spec, device)), Session.of(spec, device, emit)
        with open_store(folder, spec):
            for part in parts:
                place = self._place(folder, part)
                if self._done(place):
                    continue
                (place / MANIFEST).unlink(missing_ok=True)
                make_folder(place)
                self._finish(place, part, device, self.make_part(part, place, session, folder))

    @abstractmethod
    def parts(self, spec: "SweepSpec", device: str) -> Iterator[Part]:
        """Yield the parts to make, those of one source together."""

    @abstractmethod
    def make_part(self, part: Part, folder: Path, session: "Session", run: Path) -> dict[str, Any]:
        """Write a part's files into its folder, and return the fields of its manifest that `Manifest` does not have.

        Args:
            part: what to make.
            folder: the part's own.
            session: the device and the models.
            run: the run folder, held.
        """

    @abstractmethod
    def node_steps(self, spec: "SweepSpec") -> int:
        """Return the denoiser evaluations, in rows, of `make` into an empty folder, at most; needs no weights."""

    def _place(self, run: Path, part: Part) -> Path:
        names = (Path(part.source.entry.name).name, part.source.prompts.name, short_hash(self._identity(part))[:8])
        safe = ("".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name) for name in names)
        return run / STUDIES / self.name / "-".join(safe)

    def _identity(self, part: Part) -> dict[str, Any]:
        return {**part.source.identity, "study": {"name": self.name, "version": self.version}, **part.how}

    def _done(self, place: Path) -> bool:
        try:
            return self.manifest.read(place).whole()
        except UserError:
            return False

    def _finish(self, place: Path, part: Part, device: str, fields: dict[str, Any]) -> None:
        from generators.families.base import get_family
        from sweeps.machine import machine, versions

        source = part.source
        files = sorted(path for path in place.iterdir() if not path.name.startswith("."))
        manifest = self.manifest(
            version=self.version,
            identity=self._identity(part),
            model=source.entry.name,
            dataset=source.prompts.name,
            seed=source.settings.seed,
            scheduler=source.scheduler,
            conditioned_on=get_family(source.entry.family).conditioned_on,
            K=source.steps,
            baseline=f"shared/{source.key}",
            files={path.name: sha256_file(path) for path in files},
            versions=versions(),
            machine=machine(device),
            **fields,
        )
        write_sealed(place / MANIFEST, json.loads(manifest.model_dump_json()))


def studies() -> dict[str, type[Study]]:
    """Return every study, by name."""
    return discover(PACKAGE, Study, GROUP)  # type: ignore[type-abstract]


def get_study(name: str) -> Study:
    """Return the study called `name`; a UserError with the nearest name if there is none."""
    return find(name, PACKAGE, Study, GROUP)()  # type: ignore[type-abstract]


def every_source(spec: "SweepSpec", device: str) -> Iterator[Source]:
    """Yield every source of a spec, those of one model together, so that it is loaded once."""
    in_order = list(sources(spec, device))
    names = list(dict.fromkeys(source.entry.name for source in in_order))
    yield from sorted(in_order, key=lambda source: names.index(source.entry.name))


def sizes(spec: "SweepSpec") -> Iterator[tuple[int, int]]:
    """Yield (prompts, K) of every source of a spec; its weights and prompt sets need not be here.

    A set that is not here counts as the spec's limit; where not even a scheduler's configuration is, K is the
    requested steps.

    Raises:
        UserError: a set is not here and the spec has no limit, or a name is unknown.
    """
    from generators.catalogue import model

    for name in spec.model:
        entry = model(name)
        for settings in settings_of(spec, entry, "cpu"):
            try:
                steps = sampler_of(entry, settings, "cpu").K
            except (UserError, OSError):
                steps = settings.steps
            yield from ((count, steps) for count in _counts(spec))


def _counts(spec: "SweepSpec") -> list[int]:
    try:
        return [len(prompts) for prompts in prompts_of(spec)]
    except UserError:
        if spec.limit is None:
            raise
        return [spec.limit] * (len(spec.dataset) + (spec.prompts is not None) + bool(spec.prompt))
