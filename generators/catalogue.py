"""Models by name, folder or hub id: their family, where their weights are, their default settings and scorers."""

import re
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from common.errors import UserError, nearest
from common.files import DRIVE, canonical_json, sha256_text, sha256_tree, split_scheme

EMBEDDED, HUB = "embedded:", "hf"
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+")


class ModelEntry(BaseModel):
    """One model: of the catalogue, of a folder, or of parts given as ``FAMILY:PART+PART`` (see `model`).

    Attributes:
        sources: by role (Kandinsky: ``prior``, ``decoder``): a hub id, a folder, or ``embedded:NAME``. Under any other
            name, a component that the role's pipeline borrows: the folder of that component.
        defaults: values of `GenerationSettings`.
        scorers: a metric's name -> the checkpoint it scores this model's pictures with; these metrics always do.
        optional_scorers: the same of metrics that score only where they are asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: str
    description: str = ""
    sources: dict[str, str]
    defaults: dict[str, Any]
    scorers: dict[str, str] = {}
    optional_scorers: dict[str, str] = {}

    def source(self, role: str) -> str:
        """Return the folder or hub id of one part."""
        return locate(self.sources[role])

    @property
    def roles(self) -> tuple[str, ...]:
        """The parts that are pipelines of their own."""
        from generators.families.base import get_family

        return get_family(self.family).roles

    @property
    def borrowed(self) -> dict[str, str]:
        """The components that pipelines take from another folder, and that folder."""
        return {name: locate(source) for name, source in self.sources.items() if name not in self.roles}

    def config(self, role: str, component: str, filename: str = "config.json") -> dict[str, Any]:
        """Return a component's configuration, wherever the component is.

        Raises:
            UserError: it is missing or unreadable.
        """
        from generators.checkpoints import load_config

        place = self.borrowed.get(component)
        return load_config(place, "", filename) if place else load_config(self.source(role), component, filename)

    @property
    def checkpoints(self) -> dict[str, str]:
        """Of every metric that has one for this model's pictures, by its name."""
        return {**self.scorers, **self.optional_scorers}

    def weights_hash(self) -> str:
        """Return one hash of all parts: their files where they are folders, their commit where they are on the hub.

        Raises:
            UserError: a part is neither here nor on a hub that can be reached.
        """
        from generators.checkpoints import hub_commit

        def part(source: str) -> str:
            return sha256_tree(Path(source)) if Path(source).is_dir() else hub_commit(source)

        self.check()
        return sha256_text(canonical_json({role: part(self.source(role)) for role in self.sources}))

    def check(self) -> None:
        """Raise UserError if a pipeline, or what it borrows, cannot be had here; downloads no weights."""
        from generators.checkpoints import pipeline_class

        for name in self.sources:
            place = self.source(name)
            if name in self.roles:
                pipeline_class(place)

    def unavailable(self) -> str | None:
        """Return why this model cannot run here and what to do; None if it can. Asks the hub for models it hosts."""
        try:
            self.check()
        except UserError as error:
            return str(error)
        return None


def locate(source: str) -> str:
    """Return the folder or hub id that a source means; ``embedded:NAME`` becomes a folder."""
    if source.startswith(EMBEDDED):
        return str(embedded_path(source.removeprefix(EMBEDDED)))
    return source


def embedded_path(name: str) -> Path:
    """Return the folder of a checkpoint that comes with this package, such as ``kandinsky/decoder``.

    The `miniature` package is found, not imported.

    Raises:
        UserError: it is not installed.
    """
    spec = find_spec("miniature")
    for place in (spec and spec.submodule_search_locations) or ():
        folder = Path(place) / "checkpoints" / name
        if folder.is_dir():
            return folder
    raise UserError(
        f"the embedded checkpoint {name!r} is not installed",
        "train it as miniature/README.md says, or install a release that carries it",
    )


def models() -> dict[str, ModelEntry]:
    """Return every catalogued model, by name."""
    return {name: ModelEntry(name=name, **entry) for name, entry in _catalogue()["models"].items()}


def default_model() -> str:
    """Return the name of the model that runs where none is asked for."""
    return str(_catalogue()["default"])


def model(name: str) -> ModelEntry:
    """Return the model that a user means.

    Args:
        name: of the catalogue, else a folder, else ``OWNER/NAME`` of the Hugging Face hub (or ``hf:OWNER/NAME``), or
            parts that are folders or hub ids in the order of the family's roles: ``FAMILY:PART+PART``, for Kandinsky
            2.2 ``kandinsky:OWNER/PRIOR+OWNER/DECODER``.

    Raises:
        UserError: there is none of these, no family can read the checkpoint, or a configuration cannot be had.
    """
    known = models()
    if name in known:
        return known[name]
    folder = Path(name)
    if folder.is_dir():
        return _folder_entry(folder.resolve())
    scheme, rest = split_scheme(name)
    if scheme == HUB:
        return _hub_entry(name, rest)
    if scheme:
        return _entry_of_parts(name, scheme, rest.split("+"))
    if HUB_ID.fullmatch(name):
        try:
            return _hub_entry(name, name)
        except UserError as error:
            raise UserError(error.message, f"{error.hint}; a folder {name} is not here either") from error
    if folder.is_absolute() or len(folder.parts) > 1 or DRIVE.match(name):
        raise UserError(f"the model folder {folder} does not exist", "check the path; hub ids are OWNER/NAME")
    raise UserError(f"unknown model {name!r}", nearest(name, known))


def _hub_entry(name: str, hub_id: str) -> ModelEntry:
    from generators.checkpoints import named_pipeline
    from generators.families.base import families

    if not HUB_ID.fullmatch(hub_id):
        raise UserError(f"{hub_id!r} is no id of the Hugging Face hub", f"write {HUB}:OWNER/NAME")
    if Path(hub_id).is_dir():  # whatever loads it later would take the folder
        raise UserError(f"a folder {hub_id} is here too", "leave out hf: to use it, or run from another folder")
    pipeline = named_pipeline(hub_id)
    for family in families().values():
        if pipeline in family.pipelines:
            return family.described(name, family.sources_of(hub_id, pipeline))
    served = sorted(pipeline for family in families().values() for pipeline in family.pipelines)
    raise UserError(f"{hub_id} is a {pipeline}, which no model family runs", "they run " + ", ".join(served))


def _entry_of_parts(name: str, family: str, parts: list[str]) -> ModelEntry:
    from generators.families.base import get_family

    kind = get_family(family)
    if len(parts) != len(kind.roles) or not all(parts):
        raise UserError(f"{name} does not name the parts of a model", f"write {family}:{'+'.join(kind.roles).upper()}")
    return kind.described(name, dict(zip(kind.roles, parts, strict=True)))


def _folder_entry(folder: Path) -> ModelEntry:
    from generators.families.base import families

    layouts = []
    for family in families().values():
        entry = family.recognise(folder)
        if entry is not None:
            return entry
        layouts.append(f"{family.name}: {family.layout}")
    raise UserError(f"no model family reads the folder {folder}", "expected " + "; ".join(layouts))


@cache
def _catalogue() -> dict[str, Any]:
    import yaml

    content: dict[str, Any] = yaml.safe_load(files("generators").joinpath("catalogue.yaml").read_text(encoding="utf-8"))
    return content
