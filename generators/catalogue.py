"""From what a user calls a model, a name, a folder, a hub id or several parts, to its entry."""

import re
from pathlib import Path

from common.errors import UserError, nearest
from common.files import DRIVE, split_revision, split_scheme
from generators.model_entry import EMBEDDED, ModelEntry, models

HUB = "hf"
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+(?:@[A-Za-z0-9_./-]+)?")


def model(name: str, variant: str | None = None) -> ModelEntry:
    """Return the model that a user means.

    Args:
        name: of the catalogue, else a folder, else ``OWNER/NAME`` of the Hugging Face hub (or ``hf:OWNER/NAME``), or
            parts that are folders or hub ids in the order of the family's roles: ``FAMILY:PART+PART``, for Kandinsky
            2.2 ``kandinsky:OWNER/PRIOR+OWNER/DECODER``. ``@REVISION`` behind a hub id or a name of the catalogue is a
            branch, tag or commit.
        variant: of the weights; see `ModelEntry`.

    Raises:
        UserError: there is none of these, no family can read the checkpoint, or a configuration cannot be had.
    """
    entry = _model(name)
    return entry.model_copy(update={"variant": variant}) if variant else entry


def _model(name: str) -> ModelEntry:
    known, (base, revision) = models(), split_revision(name)
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
    if base in known:
        return _at_revision(known[base], name, str(revision))
    if HUB_ID.fullmatch(name):
        try:
            return _hub_entry(name, name)
        except UserError as error:
            raise UserError(error.message, f"{error.hint}; a folder {name} is not here either") from error
    if folder.is_absolute() or len(folder.parts) > 1 or DRIVE.match(name):
        raise UserError(f"the model folder {folder} does not exist", "check the path; hub ids are OWNER/NAME")
    raise UserError(f"unknown model {name!r}", nearest(name, known))


def _at_revision(entry: ModelEntry, name: str, revision: str) -> ModelEntry:
    """Return a model of the catalogue at a revision of its repositories."""
    if any(source.startswith(EMBEDDED) for source in entry.sources.values()):
        raise UserError(f"{entry.name} comes with this package: it has no revision {revision!r}", "leave it out")
    sources = {role: f"{source}@{revision}" for role, source in entry.sources.items()}
    return entry.model_copy(update={"name": name, "sources": sources})


def _hub_entry(name: str, hub_id: str) -> ModelEntry:
    from generators.checkpoints import named_pipeline
    from generators.families.base import families

    if not HUB_ID.fullmatch(hub_id):
        raise UserError(f"{hub_id!r} is no id of the Hugging Face hub", f"write {HUB}:OWNER/NAME")
    if (
        Path(hub_id).is_dir() or Path(split_revision(hub_id)[0]).is_dir()
    ):  # whatever loads it later would take the folder
        raise UserError(f"a folder {hub_id} is here too", "leave out hf: to use it, or run from another folder")
    pipeline = named_pipeline(hub_id)
    for family in families().values():
        if family.serves(pipeline):
            return family.described(name, family.sources_of(hub_id, pipeline))
    raise _refused(hub_id, pipeline)


def _entry_of_parts(name: str, family: str, parts: list[str]) -> ModelEntry:
    from generators.families.base import get_family

    kind = get_family(family)
    if len(parts) != len(kind.roles) or not all(parts):
        raise UserError(f"{name} does not name the parts of a model", f"write {family}:{'+'.join(kind.roles).upper()}")
    return kind.described(name, dict(zip(kind.roles, parts, strict=True)))


def _folder_entry(folder: Path) -> ModelEntry:
    from generators.checkpoints import has_index, pipeline_class
    from generators.families.base import families

    layouts = []
    for family in families().values():
        entry = family.recognise(folder)
        if entry is not None:
            return entry
        layouts.append(f"{family.name}: {family.layout}")
    pipeline = pipeline_class(str(folder)) if has_index(folder) else None
    if pipeline and not any(pipeline in family.pipelines for family in families().values()):
        raise _refused(str(folder), pipeline)  # and not a part of a model that needs another
    raise UserError(f"no model family reads the folder {folder}", "expected " + "; ".join(layouts))


def _refused(place: str, pipeline: str) -> UserError:
    """Return what to raise where no family runs a pipeline class."""
    from generators.families.base import families
    from generators.families.pipeline_classes import unserved

    served = sorted(pipeline for family in families().values() for pipeline in family.pipelines)
    message = f"{place} is a {pipeline}, which no model family runs: {unserved(pipeline)}"
    return UserError(message, f"they run {', '.join(served)} and others (bench models list --classes)")
