"""A model: its family, where its weights are, its default settings and scorers; and the models that have names."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from common.errors import UserError
from common.files import canonical_json, sha256_text, sha256_tree, split_revision
from common.plugins import Plugin, find

EMBEDDED = "embedded:"
FAMILIES = ("generators.families", "reusebench.families")  # where they are: our package, others' entry points


class ModelFamily(Plugin):
    """What an entry asks of its family, which imports this module; `generators.families.base` has all of a family.

    Attributes:
        unused: by the class of a pipeline, and for ``all``, the components of it that are never loaded.
    """

    unused: ClassVar[Mapping[str, tuple[str, ...]]] = {}


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
        variant: of the weights, such as ``fp16``; None: the plain ones, or the only variant that there is.
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
    variant: str | None = None

    def like(self, name: str, sources: dict[str, str], **defaults: Any) -> "ModelEntry":
        """Return a checkpoint that is built like this one: its settings and scorers, but for these `defaults`.

        What the catalogue says of weights, such as their licence, is said of these ones alone.
        """
        own = {"licence": self.licence, "gated": self.gated, "stored_bytes": self.stored_bytes}
        told = own if sources == self.sources else {"licence": "", "gated": False, "stored_bytes": {}}
        known = {"name": name, "description": "", "sources": sources, "components": {}, **told}
        return self.model_copy(update={**known, "defaults": {**self.defaults, **defaults}})

    @property
    def _kind(self) -> type[ModelFamily]:
        package, group = FAMILIES
        return find(self.family, package, ModelFamily, group)

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
        """Return one hash of all parts: of all their files where they are folders, of those that are read on the hub.

        A hub model is what its files are, by the hashes that the hub tells, at whichever commit.

        Raises:
            UserError: a part is neither here nor on a hub that can be reached.
        """
        from generators.checkpoints import hub_commit, hub_hashes

        self.check()
        parts: dict[str, str] = {}
        for role in self.sources:
            source = self.source(role)
            if Path(source).is_dir():
                parts[role] = sha256_tree(Path(source))
            else:
                parts[role] = sha256_text(canonical_json(hub_hashes(source, self.needed(role), self.variant)))
        for name, place in self.borrowed.items():
            parts[name] = sha256_tree(Path(place)) if Path(place).is_dir() else hub_commit(place)
        if self.variant and len(self.hosted) < len(set(self.sources.values())):
            parts["variant"] = self.variant  # the hash of a folder is of all that it has
        return sha256_text(canonical_json(parts))

    def commits(self) -> dict[str, str]:
        """Return the parts that come from the hub, by role, as ``OWNER/NAME@COMMIT``.

        Raises:
            UserError: the hub cannot be reached, and a part is not here.
        """
        from generators.checkpoints import hub_commit

        sources = {role: self.source(role) for role in self.sources}
        hosted = {role: source for role, source in sources.items() if not Path(source).is_dir()}
        return {role: f"{split_revision(source)[0]}@{hub_commit(source)}" for role, source in hosted.items()}

    def pinned(self) -> "ModelEntry":
        """Return this model with its parts on the hub at the commits that this process reads.

        Another process, which asks the hub later, reads the same.

        Raises:
            UserError: as `commits`.
        """
        return self.model_copy(update={"sources": {**self.sources, **self.commits()}})

    def needed(self, role: str) -> list[str]:
        """Return the components of one part that are loaded from there.

        Raises:
            UserError: its index cannot be had.
        """
        from generators.checkpoints import components, named_pipeline

        source = self.source(role)
        spare = self.spare(named_pipeline(source))
        return [name for name in components(source) if name not in spare]

    def spare(self, pipeline: str) -> set[str]:
        """Return the components of a pipeline of that class that are never loaded, or borrowed from elsewhere."""
        unused = self._kind.unused
        return {*self.components, *unused.get("all", ()), *unused.get(pipeline, ())}

    @property
    def hosted(self) -> list[str]:
        """The sources that are hub ids."""
        sources = dict.fromkeys(source for source in self.sources.values() if not source.startswith(EMBEDDED))
        return [source for source in sources if not Path(source).is_dir()]

    def hub_bytes(self, *, ask: bool) -> tuple[int, int | None]:
        """Return how many bytes of what is loaded from the hub are here, and of how many; None where nobody told.

        Args:
            ask: the hub, else its cache alone.

        Raises:
            UserError: the hub is asked, and does not tell.
        """
        from generators.checkpoints import hub_bytes

        counts = [hub_bytes(source, self.spare, self.variant, ask=ask) for source in self.hosted]
        totals = [total for _, total in counts]
        return sum(here for here, _ in counts), None if None in totals else sum(filter(None, totals))

    def check(self) -> None:
        """Raise UserError if a pipeline, or what it borrows, cannot be had here; downloads no weights."""
        from generators.checkpoints import check_classes, chosen_files, pipeline_class

        for source in self.components.values():
            locate(source)
        if gone := self._kind.unavailable():
            raise UserError(gone)
        for role in self.sources:
            pipeline_class(self.source(role))
            chosen_files(self.source(role), self.needed(role), self.variant)
            if not self.sources[role].startswith(EMBEDDED):
                check_classes(self.source(role), self.needed(role))

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
