"""VQA atoms (Soft-TIFA of GenEval 2, arXiv 2512.16853): what a prompt names, asked apart, and the geometric mean."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import input_file, parse_json, sha256_file
from metrics.base import OF_ATOMS, Columns, Metric, ResultInfo
from metrics.paired_scores import compare_scores, score_figures
from metrics.statistics import Estimate
from metrics.vqa import FLOOR
from metrics.vqa_backends.base import VqaBackend, vqa_backend
from metrics.vqa_backends.in_process import TooLongError

GRAMMARS = Path(__file__).parent / "atom_grammars"
EXAMPLE = '{"prompt": "a cat", "atoms": [{"kind": "object", "question": "Is there a cat?", "answer": "Yes"}]}'
GROUP = re.compile(r"{(\w+)}")
UNNAMED = "atom"


class Atom(NamedTuple):
    """One thing that a prompt names: its kind (say ``object``), a question about it, and the right answer."""

    kind: str
    question: str
    answer: str

    @property
    def column(self) -> str:
        """The column that scores its kind."""
        return re.sub(r"\W+", "_", self.kind.lower()) + OF_ATOMS


class VqaAtoms(Metric):
    """Geometric mean of P(right answer) over a prompt's atoms (object, style, ...), each asked apart; higher is better.

    The model that is asked is as for `vqa`, of the kinds that answer any question (``hf:``). A file gives the atoms:
    ``vqa_atoms:atoms=FILE.jsonl``, an object a line with ``prompt`` and ``atoms`` (``kind``, ``question``, ``answer``),
    or as GenEval 2 has it (``vqa_list``, ``skills``). Captions of the embedded models' world need none.
    """

    name = "vqa_atoms"
    higher_is_better = True
    probability = True
    columns: tuple[str, ...] = ("vqa_atoms",)  # and one a kind of atom, when it is known which there are
    results: ClassVar[dict[str, ResultInfo]] = score_figures("vqa_atoms", "VQA atoms", FLOOR)

    def __init__(self, checkpoint: str | Path, device: str = "cpu", batch_size: int = 32, atoms: str = "") -> None:
        """Prepare a metric on one checkpoint.

        Args:
            checkpoint: as in `Metric`.
            device: as in `Metric`.
            batch_size: as in `Metric`; questions asked at once.
            atoms: a file of prompts with their atoms; captions of a known grammar need none.

        Raises:
            UserError: the file cannot be read; the line is named.
        """
        super().__init__(checkpoint, device, batch_size)
        self.source = Path(str(atoms)) if atoms else None
        if self.source:
            self.listed = read_atoms(self.source)
            every = [atom for of_prompt in self.listed.values() for atom in of_prompt]
        else:
            self.listed = {}
            every = [atom for grammar in grammars() for atom in grammar.atoms]
        self.columns = (self.name, *dict.fromkeys(atom.column for atom in every))

    @cached_property
    def backend(self) -> VqaBackend:
        """The backend that reads the checkpoint."""
        return vqa_backend(self.checkpoint, self.device)

    def atoms(self, prompt: str) -> list[Atom]:
        """Return a prompt's atoms, at least one.

        Raises:
            UserError: none are known.
        """
        if self.source:
            found = self.listed.get(prompt, [])
        else:
            found = next(filter(None, (grammar.atoms_of(prompt) for grammar in grammars())), [])
        if not found:
            where = f"in {self.source}" if self.source else "and no grammar reads it"
            raise UserError(
                f"no atoms of the prompt {prompt!r} are known {where}", f"give a file with lines as {EXAMPLE}"
            )
        return found

    def check(self, prompts: Sequence[str]) -> None:
        atoms = [atom for prompt in prompts for atom in self.atoms(prompt)]
        try:
            self.backend.check_answers([atom.question for atom in atoms], [atom.answer for atom in atoms])
        except TooLongError as error:  # which knows questions: several are of one prompt
            of = [row for row, prompt in enumerate(prompts) for _ in self.atoms(prompt)]
            longest: dict[int, int] = {}
            for question, length in error.lengths.items():
                longest[of[question]] = max(length, longest.get(of[question], 0))
            raise TooLongError(longest, error.limit) from None

    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return ``vqa_atoms``, float64 [N], 0 to 1; and ``<kind>_atom`` of every kind, NaN where a prompt has none."""
        if len(images) != len(prompts):
            raise UserError(
                f"{len(images)} pictures were given with {len(prompts)} prompts", "give one prompt a picture"
            )
        asked = [(row, atom) for row, prompt in enumerate(prompts) for atom in self.atoms(prompt)]
        right = self.backend.answers(
            [images[row] for row, _ in asked],
            [atom.question for _, atom in asked],
            [atom.answer for _, atom in asked],
            self.batch_size,
        )
        rows, kinds = np.array([row for row, _ in asked], dtype=np.int64), np.array([atom.column for _, atom in asked])
        of_kind = {column: kinds == column for column in self.columns[1:]}
        chosen = {self.name: np.ones(len(asked), dtype=np.bool_), **of_kind}
        return {column: _geometric(right[which], rows[which], len(prompts)) for column, which in chosen.items()}

    def compare(
        self, baseline: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
    ) -> dict[str, Estimate | float | int]:
        return compare_scores(self.name, baseline, ours, same, seed=seed)

    def identity(self) -> dict[str, Any]:
        files = [self.source] if self.source else [grammar.path for grammar in grammars()]
        about = {key: value for key, value in self.backend.identity().items() if key not in ("question", "answer")}
        return {
            "name": self.name,
            "version": self.version,
            "checkpoint": self.checkpoint,
            "atoms": [sha256_file(path) for path in files],
            **about,
        }


class Grammar:
    """Captions of one form, and the atoms that their parts make: ``<name>.yaml`` in ``atom_grammars``.

    Attributes:
        path: its file.
        caption: matches such a caption as a whole; its groups name the parts.
        atoms: templates, each with ``{group}`` where a part stands.
    """

    def __init__(self, path: Path) -> None:
        import yaml

        described = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.path, self.caption = path, re.compile(described["caption"])
        self.atoms = [Atom(**atom) for atom in described["atoms"]]

    def atoms_of(self, prompt: str) -> list[Atom]:
        """Return the atoms of a caption; none where it is not of this form.

        Examples:
            >>> (grammar,) = grammars()
            >>> [atom.answer for atom in grammar.atoms_of("a flat drawing of a pig on a red background")]
            ['yes', 'flat', 'red']
            >>> [atom.question for atom in grammar.atoms_of("a cat above corn")][2:]
            ['Where is the cat in this figure?']
        """
        if (match := self.caption.fullmatch(prompt)) is None:
            return []
        parts = {name: part for name, part in match.groupdict().items() if part is not None}
        return [
            Atom(*(GROUP.sub(lambda group: parts[group[1]], text) for text in atom))
            for atom in self.atoms
            if all(name in parts for text in atom for name in GROUP.findall(text))
        ]


@cache
def grammars() -> list[Grammar]:
    """Return the grammars of captions that are known."""
    return [Grammar(path) for path in sorted(GRAMMARS.glob("*.yaml"))]


def read_atoms(path: Path) -> dict[str, list[Atom]]:
    """Return the atoms of every prompt of a .jsonl file.

    Raises:
        UserError: it cannot be read, or a line is not of the form; it is named.
    """
    try:
        lines = input_file(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the atoms {path}: {error}", f"write lines as {EXAMPLE}") from error
    found: dict[str, list[Atom]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            found[str(row["prompt"])] = list(_atoms(row))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"{path}, line {number} has no atoms", f"write lines as {EXAMPLE}") from error
    return found


def _atoms(row: Mapping[str, Any]) -> Iterator[Atom]:
    """Yield the atoms of a line, in the form that is ours or GenEval 2's."""
    if "vqa_list" in row:
        kinds = row.get("skills") or [UNNAMED] * len(row["vqa_list"])
        for kind, (question, answer) in zip(kinds, row["vqa_list"], strict=True):
            yield Atom(str(kind), str(question), str(answer))
        return
    for atom in row["atoms"]:
        yield Atom(str(atom.get("kind", UNNAMED)), str(atom["question"]), str(atom["answer"]))


def _geometric(values: NDArray[np.float64], rows: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Return the geometric mean of the values of every row [n]; NaN where a row has none, 0 where one of them is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.bincount(rows, weights=np.log(values), minlength=n)
        return np.exp(total / np.bincount(rows, minlength=n))
