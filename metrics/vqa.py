"""VQAScore (Lin et al. 2024, arXiv 2404.01291): does a model that answers questions see the prompt in the picture?"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError, nearest
from common.files import sha256_tree
from metrics.base import Columns, FigureInfo, Metric, packages, paired
from metrics.images import read_picture
from metrics.statistics import Estimate, bootstrap_mean, paired_difference, win_rate

SETTINGS = "vqa.json"


@dataclass(frozen=True)
class Question:
    """What is asked of every picture; `template` holds one ``{}`` for the prompt."""

    template: str = 'Does this figure show "{}"? Please answer yes or no.'
    answer: str = "yes"

    @classmethod
    def of(cls, folder: Path) -> "Question":
        """The question that ``vqa.json`` in a checkpoint's folder records, else VQAScore's.

        Raises:
            UserError: the file is damaged, or its question does not have exactly one ``{}``.
        """
        path = folder / SETTINGS
        if not path.is_file():
            return cls()
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
            question = cls(str(settings["question"]), str(settings["answer"]))
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


class BlipAnswerer:
    """`BlipForQuestionAnswering`: the picture goes into the question's encoder, that into the answer's decoder."""

    def __init__(self, folder: Path, device: str, answer: str) -> None:
        import torch
        from transformers import BlipForQuestionAnswering, BlipProcessor

        self.processor = BlipProcessor.from_pretrained(folder)
        model, loading = BlipForQuestionAnswering.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
        if loading["missing_keys"]:
            raise UserError(f"{folder} lacks the weights {sorted(loading['missing_keys'])[:3]}", "fetch it again")
        self.model = model.to(device).eval()
        self.device = device
        self.answer = self._tokens(answer)

    def _tokens(self, answer: str) -> list[int]:
        tokenizer = self.processor.tokenizer
        tokens = tokenizer(answer, add_special_tokens=False).input_ids
        if not tokens or tokenizer.unk_token_id in tokens:
            raise UserError(f"the scorer's vocabulary has no {answer!r}", f"record its answer in {SETTINGS}")
        return list(tokens)

    def lengths(self, questions: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of every question [N].

        Raises:
            UserError: the text encoder would have to cut one; the first is named.
        """
        lengths = np.array(
            [len(self.processor.tokenizer(question).input_ids) for question in questions], dtype=np.int64
        )
        limit = self.model.config.text_config.max_position_embeddings
        if (too_long := np.flatnonzero(lengths > limit)).size:
            raise UserError(
                f"prompt {too_long[0] + 1} makes a question of {lengths[too_long[0]]} tokens, the scorer reads {limit}",
                "shorten the prompt or use a scorer that reads more",
            )
        return lengths

    def log_likelihood(self, images: Sequence[Any], questions: Sequence[str]) -> NDArray[np.float64]:
        """Mean log-probability of the answer's tokens [B]; the decoder starts as the model's own `generate` has it.

        The questions have one length: transformers (seen in 5.23) does not hand the cross-attention its mask, so
        that padding would change the score.
        """
        import torch

        inputs = self.processor(images=list(images), text=list(questions), return_tensors="pt").to(self.device)
        answer = torch.tensor(self.answer, device=self.device)
        start = answer.new_tensor([self.model.decoder_start_token_id])
        decoder_ids = torch.cat([start, answer[:-1]]).expand(len(images), -1)
        with torch.no_grad():
            seen = self.model.vision_model(pixel_values=inputs["pixel_values"]).last_hidden_state
            asked = self.model.text_encoder(input_ids=inputs["input_ids"], encoder_hidden_states=seen).last_hidden_state
            logits = self.model.text_decoder(input_ids=decoder_ids, encoder_hidden_states=asked, use_cache=False).logits
        # double precision keeps answers apart that are all but certain
        likelihood = logits.double().log_softmax(-1).gather(-1, answer.expand(len(images), -1)[..., None])
        return np.asarray(likelihood.squeeze(-1).mean(-1).cpu().numpy())


ANSWERERS: dict[str, type[BlipAnswerer]] = {"BlipForQuestionAnswering": BlipAnswerer}


class VQAScore(Metric):
    """P("yes" | picture, 'Does this figure show "<prompt>"? Please answer yes or no.'), higher is better.

    exp of the answer's mean log-likelihood under a transformers model in this process; the checkpoint is a folder or
    a hub id, and may record its own question and answer in ``vqa.json``.
    """

    name = "vqa"
    higher_is_better = True
    columns = ("vqa",)
    figures: ClassVar[dict[str, FigureInfo]] = {
        "win_rate": FigureInfo("VQA win rate", True, "fraction"),
        "win_rate_strict": FigureInfo("VQA win rate, strict", True, "fraction"),
        "wins": FigureInfo("wins", None, "count"),
        "ties": FigureInfo("ties", None, "count"),
        "losses": FigureInfo("losses", None, "count"),
        "vqa_difference": FigureInfo("VQAScore difference", True, "score"),
        "vqa_mean": FigureInfo("VQAScore", True, "score"),
        "vqa_mean_standard": FigureInfo("VQAScore, standard", True, "score"),
    }

    @cached_property
    def folder(self) -> Path:
        return checkpoint_folder(self.checkpoint)

    @cached_property
    def question(self) -> Question:
        return Question.of(self.folder)

    @cached_property
    def answerer(self) -> BlipAnswerer:
        try:
            architecture = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))["architectures"][0]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UserError(
                f"{self.folder} is no transformers checkpoint: its config.json names no architecture",
                "give a folder written by save_pretrained",
            ) from error
        if architecture not in ANSWERERS:
            raise UserError(f"VQAScore does not know how to ask a {architecture}", nearest(architecture, ANSWERERS))
        try:
            return ANSWERERS[architecture](self.folder, self.device, self.question.answer)
        except UserError:
            raise
        except Exception as error:  # whatever a damaged file makes the libraries raise
            raise UserError(
                f"cannot load the VQA scorer {self.checkpoint}: {error}", "fetch the checkpoint again or choose another"
            ) from error

    def check(self, prompts: Sequence[str]) -> None:
        self.answerer.lengths([self.question.about(prompt) for prompt in prompts])

    def measure(self, images: Sequence[Path], prompts: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Column ``vqa``: float64 [N], 0 to 1."""
        if len(images) != len(prompts):
            raise UserError(
                f"{len(images)} pictures were given with {len(prompts)} prompts", "give one prompt a picture"
            )
        questions = [self.question.about(prompt) for prompt in prompts]
        lengths = self.answerer.lengths(questions)
        scores = np.empty(len(images))
        for length in np.unique(lengths):
            alike = np.flatnonzero(lengths == length)
            for batch in self.batches(len(alike)):
                chosen = alike[batch]
                pictures = [read_picture(images[index]) for index in chosen]
                scores[chosen] = np.exp(self.answerer.log_likelihood(pictures, [questions[index] for index in chosen]))
        return {"vqa": scores}

    def compare(
        self, standard: Columns, ours: Columns, same: NDArray[np.bool_], *, seed: int = 0
    ) -> dict[str, Estimate | float | int]:
        of_standard, of_ours = paired("vqa", standard, ours, same)
        rate = win_rate(of_ours, of_standard, same)
        return {
            "win_rate": rate.half_tie,
            "win_rate_strict": rate.strict,
            "wins": rate.wins,
            "ties": rate.ties,
            "losses": rate.losses,
            "vqa_difference": paired_difference(of_ours, of_standard, seed=seed),
            "vqa_mean": bootstrap_mean(of_ours, seed=seed),
            "vqa_mean_standard": bootstrap_mean(of_standard, seed=seed),
        }

    def identity(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "checkpoint": self.checkpoint,
            "sha256": sha256_tree(self.folder),
            "question": self.question.template,
            "answer": self.question.answer,
            "packages": packages("torch", "transformers"),
        }


def checkpoint_folder(checkpoint: str) -> Path:
    """A checkpoint's folder; a hub id's configuration, tokenizer and safetensors are fetched into the hub's cache.

    Raises:
        UserError: there is no such folder, or the hub does not give it.
    """
    folder = Path(checkpoint)
    if folder.is_dir():
        return folder
    if checkpoint.count("/") != 1 or checkpoint.startswith((".", "/", "~")):
        raise UserError(f"there is no scorer folder {checkpoint}", "give a folder, or a hub id as owner/name")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(checkpoint, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]))
    except Exception as error:  # network, hub and cache errors share no base class
        raise UserError(
            f"cannot fetch the scorer {checkpoint} from the hub: {error}",
            "check the name and the connection, or give a folder that holds it",
        ) from error
