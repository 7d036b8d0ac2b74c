"""The common part of transformers models that answer in this process: their folder, question and loading."""

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from common.errors import UserError
from common.files import parse_json, sha256_tree
from common.loading import loading
from common.units import ranges
from metrics.base import packages
from metrics.transformers_checkpoints import DTYPES, checkpoint_folder, room_needed
from metrics.vqa_backends.base import IN_PROCESS, VqaBackend

SETTINGS = "vqa.json"


@dataclass(frozen=True)
class Question:
    """The question that is asked of every picture.

    Attributes:
        answer: the answer whose probability is the score.
        template: the question, with one ``{}`` for the prompt.

    Examples:
        >>> Question("yes").about("a red fox")
        'Does this figure show "a red fox"? Please answer yes or no.'
    """

    answer: str
    template: str = 'Does this figure show "{}"? Please answer yes or no.'

    @classmethod
    def of(cls, folder: Path, answer: str) -> "Question":
        """Return the question that ``vqa.json`` in a checkpoint's folder records, else VQAScore's with this answer.

        Raises:
            UserError: the file is damaged, or its question does not have exactly one ``{}``.

        Examples:
            >>> Question.of(Path("no-settings-here"), "Yes").answer
            'Yes'
        """
        path = folder / SETTINGS
        if not path.is_file():
            return cls(answer)
        try:
            settings = parse_json(path.read_text(encoding="utf-8"))
            question = cls(str(settings["answer"]), str(settings["question"]))
            valid = question.template.count("{}") == 1
        except (OSError, ValueError, KeyError, TypeError):
            valid = False
        if not valid:
            raise UserError(
                f"{path} does not say what to ask", 'write {"question": "...{}...", "answer": "yes"}, with one {}'
            )
        return question

    def about(self, prompt: str) -> str:
        """Return the question about one prompt."""
        # not str.format: a prompt may hold braces of its own
        return self.template.replace("{}", prompt)


class TooLongError(UserError):
    """Questions have more tokens than a scorer reads.

    Attributes:
        lengths: of each question that is too long, by its row, the number of its tokens.
        limit: the most that the scorer reads.
    """

    def __init__(
        self, lengths: Mapping[int, int], limit: int, hint: str = "shorten it, or use a scorer that reads more"
    ) -> None:
        self.lengths, self.limit = lengths, limit
        numbers = sorted({row + 1 for row in lengths})
        if len(numbers) == 1:
            what = f"prompt {numbers[0]} makes a question of {max(lengths.values())} tokens"
        else:
            most = max(lengths.values())
            what = f"{len(numbers)} prompts make questions of up to {most} tokens: {ranges(numbers)}"
        super().__init__(f"{what}, the scorer reads {limit}", hint)


class TransformersBackend(VqaBackend):
    """A transformers checkpoint with safetensors weights, a folder or a hub id.

    Attributes:
        answer: the answer to look for where ``vqa.json`` does not say.
    """

    scheme = IN_PROCESS
    cuts = True
    dtypes = tuple(DTYPES)
    answer: ClassVar[str]

    @cached_property
    def folder(self) -> Path:
        """The checkpoint's folder, fetched if it is a hub id."""
        return checkpoint_folder(self.place)

    @cached_property
    def question(self) -> Question:
        """The checkpoint's question."""
        return Question.of(self.folder, self.answer)

    @cached_property
    def model(self) -> Any:
        """The model, loaded, in evaluation mode.

        Raises:
            NoRoomError: it does not fit.
            UserError: it cannot be loaded, or it cannot give the answer.
        """
        with loading(*room_needed("vqa", self.place, self.dtype, self.device)):
            try:
                return self.load()
            except UserError:
                raise
            except Exception as error:  # whatever a damaged file makes the libraries raise
                raise UserError(
                    f"cannot load the VQA scorer {self.place}: {error}", "fetch the checkpoint again or choose another"
                ) from error

    @abstractmethod
    def load(self) -> Any:
        """Return the model; `model` turns errors of any kind into one line."""

    def pretrained(self, kind: Any) -> Any:
        """Return the model of this class of transformers, on its device, with all its weights.

        Raises:
            UserError: the checkpoint lacks weights, which would be random.
        """
        import torch

        model, report = kind.from_pretrained(
            self.folder,
            dtype=getattr(torch, DTYPES[self.dtype]),
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
        if missing := sorted(report["missing_keys"]):
            raise UserError(f"{self.folder} lacks the weights {missing[:3]}", "fetch it again")
        return model.to(self.device).eval()

    def asked(self, prompts: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return the question about each prompt [N], and its answer [N]."""
        return [self.question.about(prompt) for prompt in prompts], [self.question.answer] * len(prompts)

    def answer_tokens(self, tokenizer: Any, answer: str) -> list[int]:
        """Return an answer's tokens.

        Raises:
            UserError: the vocabulary does not have it.
        """
        tokens = tokenizer(answer, add_special_tokens=False).input_ids
        if not tokens or tokenizer.unk_token_id in tokens:
            hint = f"record its answer in {SETTINGS}"
            raise UserError(f"the scorer's vocabulary has no {answer!r}", hint)
        return list(tokens)

    @property
    @abstractmethod
    def context(self) -> tuple[Any, int | None]:
        """The tokenizer, and the most tokens of a question that the model reads; None where it does not say."""

    def lengths(self, questions: Sequence[str]) -> list[int]:
        """Return the number of tokens of every question, one about each prompt, [N].

        Raises:
            TooLongError: some have more than the model reads; all of them are named.
        """
        tokenizer, limit = self.context
        lengths = [_length(tokenizer, question) for question in questions]
        if limit is not None and (too_long := {row: n for row, n in enumerate(lengths) if n > limit}):
            raise TooLongError(too_long, limit)
        return lengths

    def fitting(self, prompts: Sequence[str]) -> list[str]:
        tokenizer, limit = self.context

        def fits(prompt: str) -> bool:
            return limit is None or _length(tokenizer, self.question.about(prompt)) <= limit

        return [prompt if fits(prompt) else _cut(prompt, fits) for prompt in prompts]

    def identity(self) -> dict[str, Any]:
        return {
            "sha256": sha256_tree(self.folder),
            "question": self.question.template,
            "answer": self.question.answer,
            "packages": packages("torch", "transformers"),
        }


def _length(tokenizer: Any, question: str) -> int:
    return len(tokenizer(question, verbose=False).input_ids)  # else it warns of the length on the screen


def _cut(prompt: str, fits: Callable[[str], bool]) -> str:
    """Return the longest beginning of a prompt that fits, of whole words where it has any.

    Examples:
        >>> _cut("a red fox on ice", lambda text: len(text) <= 12), _cut("abcdef", lambda text: len(text) <= 3)
        ('a red fox on', 'abc')
    """
    words = prompt.split(" ")
    if len(words) > 1 and fits(words[0]):
        return " ".join(words[: _most(len(words), lambda count: fits(" ".join(words[:count])))])
    return prompt[: _most(len(prompt), lambda count: fits(prompt[:count]))]


def _most(n: int, fits: Callable[[int], bool]) -> int:
    """Return the largest of 0..n that fits, where all below one that fits do."""
    return bisect_left(range(n + 1), True, key=lambda count: not fits(count)) - 1


def in_equal_groups(keys: Sequence[Hashable], size: int) -> Iterator[list[int]]:
    """Yield rows of equal keys, at most `size` at once: nothing has to be padded, so that no score depends on others.

    Args:
        keys: of each row, say its length.
        size: the largest group, at least 1.

    Examples:
        >>> list(in_equal_groups([7, 9, 7, 7], size=2))
        [[0, 2], [3], [1]]
    """
    groups: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    for rows in groups.values():
        for start in range(0, len(rows), size):
            yield rows[start : start + size]
