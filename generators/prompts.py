"""Prompts: checked, named, keyed; from files, from the command line, and from known sets."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from common.errors import UserError, nearest
from common.files import cache_dir, canonical_json, sha256_file, sha256_text
from common.plugins import loaded, skip, unknown
from generators.downloads import download
from generators.prompt_files import PromptTable, column_named, mended, mended_note, read_prompt_file

FOLDER = Path(__file__).parent / "prompt_sets"
GROUP = "reusebench.datasets"
DATASETS = "BENCH_DATASETS"
SLOT = "{prompt}"
TOO_LONG = 10_000
SHOWN = 60  # characters of a prompt in an error
REFUSED = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's control characters, lone surrogates, line and paragraph separators

PromptKey = str
"""SHA-256 of a prompt's text in hex, ``#``, and its number among equal texts before it."""
T = TypeVar("T")


class Own(NamedTuple):
    """What a prompt is made with that another prompt of its set may be made without: only equals share.

    Attributes:
        seed: of its noise.
        negative_prompt: what its picture should not show.
    """

    seed: int
    negative_prompt: str


@dataclass(frozen=True)
class PromptSet:
    """Prompts in order, at least one.

    Attributes:
        name: what results call it.
        prompts: the texts, N of them; equal ones are allowed.
        source: where they came from.
        columns: every column of the table that they came from, by name, N texts each; none where it was no table.
        seeds: each prompt's own seed, None where it has none; None: no prompt has one.
        negative_prompts: likewise.
        notes: what a user should know of how they were read.
        per_prompt: how many pictures of each are made: so many equal texts stand one after the other.

    Examples:
        >>> twice = PromptSet("mine", ("a fox", "a fox"), "--prompt")
        >>> len(twice), [key[-2:] for key in twice.keys]
        (2, ['#0', '#1'])
    """

    name: str
    prompts: tuple[str, ...]
    source: str
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    seeds: tuple[int | None, ...] | None = None
    negative_prompts: tuple[str | None, ...] | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)
    per_prompt: int = 1

    def __post_init__(self) -> None:
        if not self.prompts:
            raise UserError(f"{self.source} holds no prompts")
        for name in ("seeds", "negative_prompts"):  # a column of empty cells is none
            if all(value is None for value in getattr(self, name) or ()):
                object.__setattr__(self, name, None)

    def __len__(self) -> int:
        return len(self.prompts)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the texts in order, and of what they have of their own; not of the name or the source."""
        return sha256_text(self.hash_of_texts + self.hash_of_own) if self.hash_of_own else self.hash_of_texts

    @cached_property
    def hash_of_texts(self) -> str:
        """SHA-256 of the texts in order."""
        return sha256_text(canonical_json(self.prompts))

    @cached_property
    def hash_of_own(self) -> str | None:
        """SHA-256 of the prompts' own seeds and negative prompts; None where no prompt has any."""
        own = {name: getattr(self, name) for name in ("seeds", "negative_prompts") if getattr(self, name)}
        return sha256_text(canonical_json(own)) if own else None

    @cached_property
    def keys(self) -> list[PromptKey]:
        """The keys that prompts' noise is drawn from, N of them: a prompt's is the same wherever else it stands."""
        return prompt_keys(self.prompts, self.prompts)

    def own(self, seed: int, negative_prompt: str) -> list[Own]:
        """Return what each prompt is made with, N of them: its own, or where it has none, what the run gives.

        Examples:
            >>> PromptSet("mine", ("a fox", "a cat"), "mine.csv", seeds=(7, None)).own(42, "")
            [Own(seed=7, negative_prompt=''), Own(seed=42, negative_prompt='')]
        """
        nothing = (None,) * len(self)
        pairs = zip(self.seeds or nothing, self.negative_prompts or nothing, strict=True)
        return [Own(seed if own is None else own, negative_prompt if no is None else no) for own, no in pairs]

    def column(self, name: str) -> tuple[str, ...]:
        """Return the cells of the column that is called so, capitals and spaces aside, N of them.

        Raises:
            UserError: there is none, or there are several; the nearest name is in the hint.

        Examples:
            >>> PromptSet("mine", ("a fox",), "mine.csv", {"SKU": ("F1",), "prompt": ("a fox",)}).column("sku")
            ('F1',)
        """
        return self.columns[column_named(name, self.columns, self.source)]

    def taken(self, places: Sequence[int], *notes: str) -> "PromptSet":
        """Return the prompts at these places, with their cells, and further notes.

        Examples:
            >>> PromptSet("mine", ("a fox", "a cat"), "mine.csv", {"id": ("1", "2")}).taken([1]).columns
            {'id': ('2',)}
        """

        def at(values: Sequence[T]) -> tuple[T, ...]:
            return tuple(values[place] for place in places)

        return replace(
            self,
            prompts=at(self.prompts),
            columns={name: at(cells) for name, cells in self.columns.items()},
            seeds=self.seeds and at(self.seeds),
            negative_prompts=self.negative_prompts and at(self.negative_prompts),
            notes=(*self.notes, *notes),
        )

    def repeated(self, per_prompt: int) -> "PromptSet":
        """Return the set with each prompt so many times in a row, for so many pictures of it.

        Examples:
            >>> PromptSet("mine", ("a fox", "a cat"), "--prompt").repeated(2).prompts
            ('a fox', 'a fox', 'a cat', 'a cat')
        """
        places = [place for place in range(len(self)) for _ in range(per_prompt)]
        return replace(self.taken(places), per_prompt=self.per_prompt * per_prompt)

    def reseeded(self, other: Callable[[int], int]) -> "PromptSet":
        """Return the same prompts, each with another seed in place of its own."""
        seeds = self.seeds and tuple(seed if seed is None else other(seed) for seed in self.seeds)
        return replace(self, seeds=seeds) if seeds else self

    def first(self, n: int | None) -> "PromptSet":
        """Return the first `n` prompts, and a note that says so where there are more; all of them for None.

        Examples:
            >>> PromptSet("mine", ("a fox", "a cat"), "mine.csv").first(1).notes
            ('mine: only the first 1 of 2 prompts are used',)
        """
        if n is None or n >= len(self):
            return self
        return self.taken(range(n), f"{self.name}: only the first {n:,} of {len(self):,} prompts are used")


def classes(own: Sequence[Own]) -> NDArray[np.int64] | None:
    """Return which prompts may share: those of one number, int64 [N]; None where all may.

    This is the one rule. What begins as one picture has one noise, and is guided away from one thing.

    Args:
        own: what each prompt is made with.

    Examples:
        >>> classes([Own(7, ""), Own(42, ""), Own(7, "")]).tolist(), classes([Own(7, ""), Own(7, "")])
        ([0, 1, 0], None)
    """
    numbers: dict[Own, int] = {}
    found = np.array([numbers.setdefault(one, len(numbers)) for one in own])
    return found if len(numbers) > 1 else None


def prompt_keys(prompts: Sequence[str], alike: Iterable[object]) -> list[PromptKey]:
    """Return the keys of prompts: those of one text are numbered among those with which all is alike.

    Args:
        prompts: the texts.
        alike: what is equal for prompts that would make one picture, one a prompt.

    Examples:
        >>> [key[-2:] for key in prompt_keys(["a fox", "a fox", "a fox"], [1, 2, 1])]
        ['#0', '#0', '#1']
    """
    seen: Counter[tuple[str, object]] = Counter()
    keys = []
    for one in zip(prompts, alike, strict=True):
        keys.append(f"{sha256_text(one[0])}#{seen[one]}")
        seen[one] += 1
    return keys


class KnownPrompts(BaseModel):
    """A known prompt set, as its YAML file or entry point describes it.

    Its prompts are written there (`prompts`), are in a file that is fetched (`file`), or are those of another set
    (`of`), each put where ``{prompt}`` stands in a `template`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    prompts: tuple[str, ...] = ()
    file: str | None = None
    sha256: str | None = None
    source: str | None = None
    licence: str | None = None
    template: str | None = None
    of: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> "KnownPrompts":
        if sum(map(bool, (self.prompts, self.file, self.of))) != 1:
            raise ValueError("give either `prompts`, `file`, or `template` and `of`")
        if self.file and not (self.sha256 and self.source and self.licence):
            raise ValueError("a `file` needs `sha256`, `source` and `licence`")
        if self.file and Path(self.file).name != self.file:
            raise ValueError("a `file` is a name without folders")
        if bool(self.of) != bool(self.template) or (self.template and SLOT not in self.template):
            raise ValueError(f"`of` needs a `template` that says {SLOT}, and a `template` needs `of`")
        return self

    @property
    def origin(self) -> "KnownPrompts":
        """The set that its prompts come from: itself, unless it fills a template."""
        return _known()[self.of] if self.of else self

    def path(self) -> Path | None:
        """Return the place of its file, there or not: the folder that ``$BENCH_DATASETS`` names, else the cache."""
        folder = Path(os.environ.get(DATASETS) or cache_dir() / "datasets")
        return folder / self.origin.file if self.origin.file else None

    def unavailable(self) -> str | None:
        """Return why it cannot be loaded here and what to do; None if it can."""
        path = self.path()
        if path is None or path.is_file():
            return None
        return f"not fetched yet: {self._how(path)}"

    def fetch(self) -> bool:
        """Get its file from its source, unless it is here and the right one; False if there was nothing to get.

        Raises:
            UserError: it cannot be had, or is another than the one described.
        """
        path, origin = self.path(), self.origin
        if path is None or not origin.sha256 or (path.is_file() and sha256_file(path) == origin.sha256):
            return False
        download(origin.source or "", path, origin.sha256)
        return True

    def load(self) -> PromptSet:
        """Load the prompts.

        Raises:
            UserError: the file is not there, or is another than the one described.
        """
        if self.of and self.template:
            others, template = self.origin.load(), self.template
            filled = (template.replace(SLOT, prompt) for prompt in others.prompts)
            return _checked(self.name, others.source, filled)
        path = self.path()
        if path is None:
            return _checked(self.name, f"prompt set {self.name!r}", self.prompts)
        if not path.is_file():
            raise UserError(f"prompt set {self.name!r} is not here: there is no {path}", self._how(path))
        if sha256_file(path) != self.sha256:
            raise UserError(f"{path} is not the file of prompt set {self.name!r}", self._how(path))
        return _of_table(self.name, str(path), read_prompt_file(path))

    def _how(self, path: Path) -> str:
        other = f"set {DATASETS} to a folder that holds {path.name}"
        if os.environ.get(DATASETS):
            other = f"put {path.name} into {path.parent}"
        return f"run `bench datasets fetch {self.name}`, or {other}"


def prompt_sets() -> dict[str, KnownPrompts]:
    """Return every known prompt set, by name.

    Examples:
        >>> "mini_templates" in prompt_sets()
        True
    """
    return dict(_known())


def known_set(name: str) -> KnownPrompts:
    """Return the description of the prompt set called `name`, whether it is here or not.

    Raises:
        UserError: there is none.
    """
    known = _known()
    if name not in known:
        raise unknown("prompt set", name, known, GROUP)
    return known[name]


def prompt_set(name: str) -> PromptSet:
    """Load the known prompt set called `name`.

    Raises:
        UserError: there is none, or its file is not here.

    Examples:
        >>> prompt_set("mini_templates").prompts[0]
        'a 3d drawing of grapes on a yellow background'
    """
    return known_set(name).load()


def load_prompts(path: Path, column: str | None = None) -> PromptSet:
    """Load one's own prompts from a file, named after it (see `read_prompt_file` for what it may be).

    Args:
        path: of the file.
        column: of the prompts, in a table; None: it is guessed.

    Raises:
        UserError: the file cannot be read, holds none, or one that is refused; the line is named.
    """
    return _of_table(Path(path).stem, str(path), read_prompt_file(path, column))


def given_prompts(texts: Iterable[str], source: str = "--prompt") -> PromptSet:
    """Return one's own prompts as given, say on the command line.

    Raises:
        UserError: there are none, or one is refused; it is numbered.

    Examples:
        >>> given_prompts(["a red fox", "two trees"]).prompts
        ('a red fox', 'two trees')
    """
    kept, count = mended(texts)
    notes = tuple(f"{source}: {note}" for note in mended_note(count))
    return replace(_checked("prompts", source, kept), notes=notes)


def _checked(name: str, source: str, texts: Iterable[str]) -> PromptSet:
    prompts = tuple(checked_text(text, f"{source}, prompt {number}") for number, text in enumerate(texts, 1))
    return PromptSet(name, prompts, source)


def _of_table(name: str, source: str, table: PromptTable) -> PromptSet:
    places = [f"{source}, {where}" for where in table.where]
    negatives = table.negative_prompts and tuple(
        text and checked_text(text, f"{where}, the negative prompt")
        for text, where in zip(table.negative_prompts, places, strict=True)
    )
    prompts = tuple(checked_text(text, where) for text, where in zip(table.prompts, places, strict=True))
    return PromptSet(name, prompts, source, table.columns, table.seeds, negatives, table.notes)


def checked_text(text: str, where: str) -> str:
    """Return the text with tabs and newlines as spaces; else as it is, surrounding spaces included.

    Raises:
        UserError: it is empty, too long, or holds what is no character; `where` is named.

    Examples:
        >>> checked_text(f"a fox{chr(10)}by a lake", "line 3")
        'a fox by a lake'
        >>> checked_text(" ", "line 3")
        Traceback (most recent call last):
        common.errors.UserError: line 3 is empty (remove it, or write a prompt there)
    """
    if not text.strip():
        raise UserError(f"{where} is empty", "remove it, or write a prompt there")
    if len(text) >= TOO_LONG:
        raise UserError(f"{where} has {len(text):,} characters", f"a prompt has fewer than {TOO_LONG:,}")
    text = re.sub(r"[\t\n\r]+", " ", text)
    for column, character in enumerate(text, 1):
        if unicodedata.category(character) in REFUSED:
            raise UserError(f"{where} has the control character U+{ord(character):04X} at {column}", "remove it")
        if _is_noncharacter(ord(character)):
            raise UserError(f"{where} has the noncharacter U+{ord(character):04X} at {column}", "remove it")
    return text


def short(text: str) -> str:
    """Return a prompt as errors and notes have room for it.

    Examples:
        >>> short("a fox " * 20)
        'a fox a fox a fox a fox a fox a fox a fox a fox a fox a f...'
    """
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _is_noncharacter(code: int) -> bool:
    """Return whether it is one of the 66 codes that Unicode keeps out of texts, and XML (so SVG) out of files."""
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


@cache
def _known() -> dict[str, KnownPrompts]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    own: dict[str, KnownPrompts] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        try:
            described = yaml.load(path.read_text(encoding="utf-8"), loader)
        except yaml.YAMLError as error:
            raise UserError(f"{path} is not YAML: {error}") from error
        own[path.stem] = _described(path.stem, described, str(path))
    for known in own.values():
        _check_template(known, own)
    foreign: dict[str, tuple[str, KnownPrompts]] = {}
    for point in entry_points(group=GROUP):
        try:
            if point.name in own or point.name in foreign:
                raise UserError(f"another prompt set is called {point.name!r}")
            foreign[point.name] = point.value, _described(point.name, loaded(point), point.value)
        except UserError as error:
            skip(GROUP, point.name, point.value, error.message)
    sets = own | {name: known for name, (_, known) in foreign.items()}
    for name, (where, known) in foreign.items():
        try:
            _check_template(known, sets)
            own[name] = known
        except UserError as error:
            skip(GROUP, name, where, error.message)
    return own


def _check_template(known: KnownPrompts, sets: Mapping[str, KnownPrompts]) -> None:
    if known.of and (known.of not in sets or sets[known.of].of):
        hint = "that is one too" if known.of in sets else nearest(known.of, sets)
        raise UserError(f"prompt set {known.name!r} fills a template with {known.of!r}", hint)


def _described(name: str, description: Any, where: str) -> KnownPrompts:
    if not isinstance(description, Mapping):
        raise UserError(
            f"{where} does not describe a prompt set",
            "it maps `description` and `prompts`, `file`, or `template` and `of`",
        )
    try:
        return KnownPrompts.model_validate({**description, "name": name})
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"])) or "prompt set"
        raise UserError(f"{where}, {key}: {fault['msg']}") from error
