"""Vision-language models that continue a text about a picture: Qwen2.5-VL, PaliGemma, LLaVA, InstructBLIP, ..."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.pictures import read_picture
from metrics.transformers_checkpoints import architecture
from metrics.vqa_backends.in_process import SETTINGS, TransformersBackend, in_equal_groups

Inputs = dict[str, Any]

ONE_TOKEN = {
    "max_new_tokens": 1,
    "do_sample": False,
    "num_beams": 1,
    "return_dict_in_generate": True,
    "output_logits": True,
}


class ImageText(TransformersBackend):
    """Any model of transformers' `AutoModelForImageTextToText`: P("Yes") as the first token of its answer.

    The question goes through the processor's chat template where it has one, with the picture before it. The answer
    is one token of the model's vocabulary.
    """

    name = "image-text"
    answer = "Yes"

    @classmethod
    def reads(cls, place: str) -> bool:
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

        return architecture(place) in KNOWN.values()

    def load(self) -> Any:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.processor = AutoProcessor.from_pretrained(self.folder, trust_remote_code=False)
        self._token(self.question.answer)
        return self.pretrained(AutoModelForImageTextToText)

    def check(self, prompts: Sequence[str]) -> None:
        self.check_answers(*self.asked(prompts))

    def check_answers(self, questions: Sequence[str], answers: Sequence[str]) -> None:
        """Ask about a grey picture, so that a processor or model that cannot fails before images are made."""
        from PIL import Image

        self.lengths(questions)
        (question, *_), (answer, *_) = self.asked(["grey"])
        token, *_ = [self._token(text) for text in dict.fromkeys([answer, *answers])]
        try:
            self._likelihood([self._inputs(Image.new("RGB", (64, 64), "grey"), question)], [token])
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise UserError(
                f"cannot ask {self.place} about a picture: {error}",
                "it may lack a chat template; another way to ask can be recorded in " + SETTINGS,
            ) from error

    @property
    def context(self) -> tuple[Any, int | None]:
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)  # loads the processor too
        return self.processor.tokenizer, limit

    def scores(self, images: Sequence[Path], prompts: Sequence[str], batch_size: int) -> NDArray[np.float64]:
        return self.answers(images, *self.asked(prompts), batch_size)

    def answers(
        self, images: Sequence[Path], questions: Sequence[str], answers: Sequence[str], batch_size: int
    ) -> NDArray[np.float64]:
        """Return the probabilities as the base has it; inputs of equal shapes are asked together, none is padded."""
        _ = self.model  # loads the processor too
        known = {answer: self._token(answer) for answer in dict.fromkeys(answers)}
        scores = np.empty(len(images))
        for start in range(0, len(images), batch_size):
            chunk = range(start, min(start + batch_size, len(images)))
            inputs = [self._inputs(read_picture(images[row]), questions[row]) for row in chunk]
            shapes = [tuple((name, tuple(value.shape)) for name, value in row.items()) for row in inputs]
            for rows in in_equal_groups(shapes, batch_size):
                tokens = [known[answers[start + row]] for row in rows]
                scores[[start + row for row in rows]] = self._likelihood([inputs[row] for row in rows], tokens)
        return scores

    def _token(self, answer: str) -> int:
        tokens = self.answer_tokens(self.processor.tokenizer, answer)
        if len(tokens) != 1:
            hint = f"give an answer of one token; that of VQAScore is recorded in {SETTINGS}"
            raise UserError(f"{answer!r} is {len(tokens)} tokens to this scorer, and it takes one", hint)
        return tokens[0]

    def _inputs(self, picture: Any, question: str) -> Inputs:
        """Return the processor's tensors of one picture and one question; their first axis is 1, or patches."""
        if not getattr(self.processor, "chat_template", None):
            return dict(self.processor(images=picture, text=question, return_tensors="pt"))
        content = [{"type": "image", "image": picture}, {"type": "text", "text": question}]
        return dict(
            self.processor.apply_chat_template(
                [{"role": "user", "content": content}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        )

    def _likelihood(self, inputs: Sequence[Inputs], answers: Sequence[int]) -> NDArray[np.float64]:
        """Return P(answer) as the first token that is generated [B], from logits that no sampling setting changed."""
        import torch

        batch = {name: torch.cat([row[name] for row in inputs]).to(self.device) for name in inputs[0]}
        batch = {
            name: value.to(self.model.dtype) if value.is_floating_point() else value for name, value in batch.items()
        }
        with torch.no_grad():
            first = self.model.generate(**batch, **ONE_TOKEN).logits[0]
        # in single precision answers that are all but certain would tie
        return np.asarray(first.cpu().double().softmax(-1)[range(len(answers)), list(answers)].numpy())
