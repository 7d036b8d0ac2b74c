"""What transformers models that answer in this process have in common: their folder, their question, their loading."""

import json
from abc import abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from common.errors import UserError
from common.files import sha256_tree
from common.loading import loading
from metrics.base import packages
from metrics.vqa_backends.base import IN_PROCESS, VqaBackend
from metrics.vqa_backends.checkpoints import checkpoint_folder

SETTINGS = "vqa.json"


@dataclass(frozen=True)
class Question:
    """What is asked of every picture; `template` holds one ``{}`` for the prompt."""

    answer: str
    template: str = 'Does this figure show "{}"? Please answer yes or no.'

    @classmethod
    def of(cls, folder: Path, answer: str) -> "Question":
        """The question that ``vqa.json`` in a checkpoint's folder records, else VQAScore's with this answer.

        Raises:
            UserError: the file is damaged, or its question does not have exactly one ``{}``.
        """
        path = folder / SETTINGS
        if not path.is_file():
            return cls(answer)
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
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
        return self.template.replace("{}", prompt)


class TransformersBackend(VqaBackend):
    """A transformers checkpoint with safetensors weights, a folder or a hub id, in float32.

    Attributes:
        answer: what is asked for where ``vqa.json`` does not say.
    """

    scheme = IN_PROCESS
    answer: ClassVar[str]

    @cached_property
    def folder(self) -> Path:
        return checkpoint_folder(self.place)

    @cached_property
    def question(self) -> Question:
        return Question.of(self.folder, self.answer)

    @cached_property
    @loading()
    def model(self) -> Any:
        """The model in evaluation mode, loaded.

        Raises:
            UserError: it cannot be, or it cannot give the answer.
        """
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
        """The model; errors of any kind are told by `model`."""

    def pretrained(self, kind: Any) -> Any:
        """The model of this class of transformers, on its device, with all its weights."""
        import torch

        model, loading = kind.from_pretrained(
            self.folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, trust_remote_code=False
        )
        if loading["missing_keys"]:
            raise UserError(f"{self.folder} lacks the weights {sorted(loading['missing_keys'])[:3]}", "fetch it again")
        return model.to(self.device).eval()

    def answer_tokens(self, tokenizer: Any) -> list[int]:
        """The answer's tokens.

        Raises:
            UserError: the vocabulary does not have it.
        """
        tokens = tokenizer(self.question.answer, add_special_tokens=False).input_ids
        if not tokens or tokenizer.unk_token_id in tokens:
            hint = f"record its answer in {SETTINGS}"
            raise UserError(f"the scorer's vocabulary has no {self.question.answer!r}", hint)
        return list(tokens)

    def lengths(self, prompts: Sequence[str], tokenizer: Any, limit: int | None) -> list[int]:
        """Tokens of the question about every prompt.

        Raises:
            UserError: one has more than the `limit` that the model reads.
        """
        lengths = [len(tokenizer(self.question.about(prompt)).input_ids) for prompt in prompts]
        for number, length in enumerate(lengths, 1):
            if limit is not None and length > limit:
                raise UserError(
                    f"prompt {number} makes a question of {length} tokens, the scorer reads {limit}",
                    "shorten the prompt or use a scorer that reads more",
                )
        return lengths

    def identity(self) -> dict[str, Any]:
        return {
            "sha256": sha256_tree(self.folder),
            "question": self.question.template,
            "answer": self.question.answer,
            "packages": packages("torch", "transformers"),
        }


def in_equal_groups(keys: Sequence[Hashable], size: int) -> Iterator[list[int]]:
    """Rows of equal keys, at most `size` at once: nothing has to be padded, so that no score depends on others."""
    groups: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    for rows in groups.values():
        for start in range(0, len(rows), size):
            yield rows[start : start + size]
