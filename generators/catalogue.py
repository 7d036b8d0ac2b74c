"""Models by name or folder: their family, where their weights are, their default settings and scorers."""

from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from common.errors import UserError, nearest
from common.files import canonical_json, sha256_text, sha256_tree

EMBEDDED = "embedded:"


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
        """The folder or hub id of one part."""
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
        """A component's configuration, wherever the component is.

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
        """One hash of all parts: their files where they are folders, their commit where they are on the hub.

        Raises:
            UserError: a part is neither here nor on a hub that can be reached.
        """
        from generators.checkpoints import hub_commit

        def part(source: str) -> str:
            return sha256_tree(Path(source)) if Path(source).is_dir() else hub_commit(source)

        self.check()
        return sha256_text(canonical_json({role: part(self.source(role)) for role in self.sources}))

    def check(self) -> None:
        """Raises UserError if a pipeline, or what it borrows, cannot be had here; downloads no weights."""
        from generators.checkpoints import pipeline_class

        for name in self.sources:
            place = self.source(name)
            if name in self.roles:
                pipeline_class(place)

    def unavailable(self) -> str | None:
        """Why this model cannot run here and what to do; None if it can. Asks the hub for models it hosts."""
        try:
            self.check()
        except UserError as error:
            return str(error)
        return None


def locate(source: str) -> str:
    """The folder or hub id that a source means; ``embedded:NAME`` becomes a folder."""
    if source.startswith(EMBEDDED):
        return str(embedded_path(source.removeprefix(EMBEDDED)))
    return source


def embedded_path(name: str) -> Path:
    """The folder of a checkpoint that comes with this package, such as ``kandinsky/decoder``.

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
    """Every catalogued model by name."""
    return {name: ModelEntry(name=name, **entry) for name, entry in _catalogue()["models"].items()}


def default_model() -> str:
    """The name of the model that runs where none is asked for."""
    return str(_catalogue()["default"])


def model(name_or_folder: str) -> ModelEntry:
    """The catalogued model of that name, the checkpoint folder at that path, or the model of the parts named.

    Parts are hub ids or folders in the order of the family's roles: ``FAMILY:PART+PART``, for Kandinsky 2.2
    ``kandinsky:OWNER/PRIOR+OWNER/DECODER``.

    Raises:
        UserError: there is none of these, no family can read the folder, or a part's configuration cannot be had.
    """
    known = models()
    if name_or_folder in known:
        return known[name_or_folder]
    folder = Path(name_or_folder)
    if folder.is_dir():
        return _folder_entry(folder.resolve())
    family, colon, parts = name_or_folder.partition(":")
    if colon:
        return _entry_of_parts(name_or_folder, family, parts.split("+"))
    if folder.is_absolute() or len(folder.parts) > 1:
        hint = "check the path; of the Hugging Face hub, name the parts: kandinsky:OWNER/PRIOR+OWNER/DECODER"
        raise UserError(f"the model folder {folder} does not exist", hint)
    raise UserError(f"unknown model {name_or_folder!r}", nearest(name_or_folder, known))


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

    content: dict[str, Any] = yaml.safe_load(files("generators").joinpath("catalogue.yaml").read_text())
    return content
