"""A model: its family, where its weights are, its default settings and scorers; and the models that have names."""

from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from common.errors import UserError
from common.files import canonical_json, sha256_text, sha256_tree

EMBEDDED = "embedded:"


class ModelEntry(BaseModel):
    """One model: of the catalogue, of a folder, or of parts given as ``FAMILY:PART+PART`` (see `model`).

    Attributes:
        sources: by role (Kandinsky: ``prior``, ``decoder``): a hub id, a folder, or ``embedded:NAME``.
        components: what the pipelines of these roles borrow from elsewhere: by a component's name, its folder.
        defaults: values of `GenerationSettings`.
        scorers: a metric's name -> the checkpoint it scores this model's pictures with; these metrics always do.
        optional_scorers: the same of metrics that score only where they are asked for.
        licence: of its weights; empty where it is not known.
        gated: whether the hub gives its weights only to those who accepted the licence.
        stored_bytes: of a number in its weight files, by a component's name, and of ``all`` others; empty where that is
            not known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: str
    description: str = ""
    sources: dict[str, str]
    components: dict[str, str] = {}
    defaults: dict[str, Any]
    scorers: dict[str, str] = {}
    optional_scorers: dict[str, str] = {}
    licence: str = ""
    gated: bool = False
    stored_bytes: dict[str, int] = {}

    def source(self, role: str) -> str:
        """Return the folder or hub id of one part."""
        return locate(self.sources[role])

    @property
    def borrowed(self) -> dict[str, str]:
        """The components that pipelines take from another folder, and that folder."""
        return {name: locate(source) for name, source in self.components.items()}

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
        places = {**self.sources, **self.components}
        return sha256_text(canonical_json({name: part(locate(source)) for name, source in places.items()}))

    def check(self) -> None:
        """Raise UserError if a pipeline, or what it borrows, cannot be had here; downloads no weights."""
        from generators.checkpoints import pipeline_class

        for source in self.components.values():
            locate(source)
        for role in self.sources:
            pipeline_class(self.source(role))

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


@cache
def _catalogue() -> dict[str, Any]:
    import yaml

    content: dict[str, Any] = yaml.safe_load(files("generators").joinpath("catalogue.yaml").read_text(encoding="utf-8"))
    return content
