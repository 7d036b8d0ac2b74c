"""BLIP as it was trained to answer questions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.pictures import read_picture
from metrics.transformers_checkpoints import architecture
from metrics.vqa_backends.in_process import TransformersBackend, in_equal_groups


class Blip(TransformersBackend):
    """`BlipForQuestionAnswering`: P(answer) by its decoder, which attends to the question, and that to the picture."""

    name = "blip"
    answer = "yes"

    @classmethod
    def reads(cls, place: str) -> bool:
        return architecture(place) == "BlipForQuestionAnswering"

    def load(self) -> Any:
        from transformers import BlipForQuestionAnswering, BlipProcessor

        self.processor = BlipProcessor.from_pretrained(self.folder)
        self.tokens = self.answer_tokens(self.processor.tokenizer, self.question.answer)
        return self.pretrained(BlipForQuestionAnswering)

    def check(self, prompts: Sequence[str]) -> None:
        self.check_answers(*self.asked(prompts))

    def check_answers(self, questions: Sequence[str], answers: Sequence[str]) -> None:
        self.lengths(questions)
        self._tokens(answers)

    def scores(self, images: Sequence[Path], prompts: Sequence[str], batch_size: int) -> NDArray[np.float64]:
        """Return the scores as the base has it: of an answer of several tokens, the mean of their log-probabilities."""
        whole = self.answers(images, *self.asked(prompts), batch_size)
        _ = self.model  # knows the answer's tokens
        return np.asarray(whole ** (1 / len(self.tokens)))

    def answers(
        self, images: Sequence[Path], questions: Sequence[str], answers: Sequence[str], batch_size: int
    ) -> NDArray[np.float64]:
        """Return the probabilities as the base has it; questions of one length are asked together.

        transformers (seen in 5.23) does not pass the mask to the cross-attention, so that padding would change a score.
        """
        scores = np.empty(len(images))
        lengths, tokens = self.lengths(questions), self._tokens(answers)
        keys = [(length, len(answer)) for length, answer in zip(lengths, tokens, strict=True)]
        for rows in in_equal_groups(keys, batch_size):
            pictures = [read_picture(images[row]) for row in rows]
            told = self._log_likelihood(pictures, [questions[row] for row in rows], [tokens[row] for row in rows])
            scores[rows] = np.exp(told)
        return scores

    @property
    def context(self) -> tuple[Any, int | None]:
        limit = self.model.config.text_config.max_position_embeddings  # loads the processor too
        return self.processor.tokenizer, limit

    def _tokens(self, answers: Sequence[str]) -> list[list[int]]:
        _ = self.model  # loads the processor too
        known = {answer: self.answer_tokens(self.processor.tokenizer, answer) for answer in dict.fromkeys(answers)}
        return [known[answer] for answer in answers]

    def _log_likelihood(
        self, images: Sequence[Any], questions: Sequence[str], answers: Sequence[Sequence[int]]
    ) -> NDArray[np.float64]:
        """Return the log-probability of each answer's tokens [B]; the decoder starts as in `generate`."""
        import torch

        inputs = self.processor(images=list(images), text=list(questions), return_tensors="pt").to(self.device)
        answer = torch.tensor(answers, device=self.device)
        start = answer.new_full((len(answer), 1), self.model.decoder_start_token_id)
        decoder_ids = torch.cat([start, answer[:, :-1]], dim=1)
        with torch.no_grad():
            picture = self.model.vision_model(
                pixel_values=inputs["pixel_values"].to(self.model.dtype)
            ).last_hidden_state
            question = self.model.text_encoder(
                input_ids=inputs["input_ids"], encoder_hidden_states=picture
            ).last_hidden_state
            logits = self.model.text_decoder(
                input_ids=decoder_ids, encoder_hidden_states=question, use_cache=False
            ).logits
        # in single precision answers that are all but certain would tie
        log_likelihood = logits.cpu().double().log_softmax(-1).gather(-1, answer.cpu()[..., None])
        return np.asarray(log_likelihood.squeeze(-1).sum(-1).numpy())
