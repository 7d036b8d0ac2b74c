"""What a pipeline's text encoders are given and answer while it encodes prompts: what `encode_prompt` does not return.

By these prompts can be clustered, and prompts that a text encoder cuts are counted.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from generators.families.encoding import cut_lengths, cut_sentence
from generators.families.prompt_returns import POOLED, TOKENS


@dataclass
class Listener:
    """Hears a loaded pipeline encode, batch by batch.

    Attributes:
        memo: what it knows of the batches heard, as JSON has it: ``cut``, the prompts that a text encoder cuts and
            their tokens, by its name, what a text is called and how many tokens it reads; ``unread``, whether a text
            encoder was given something else than the prompts' own tokens (a chat, say), so that what it cuts is not
            known.
    """

    pipeline: Any
    memo: dict[str, Any] = field(default_factory=dict)
    _calls: dict[str, list[tuple[Tensor | None, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.memo.setdefault("cut", {})
        self.memo.setdefault("unread", False)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Listen while the block encodes one batch."""
        names = [name for name in self.pipeline.components if name.startswith("text_encoder")]
        self._calls, hooks = {}, []
        for name in names:
            module = getattr(self.pipeline, name)
            if isinstance(module, torch.nn.Module):
                hooks.append(module.register_forward_hook(self._hearing(name), with_kwargs=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hearing(self, name: str) -> Any:
        def hear(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            ids = kwargs.get("input_ids", args[0] if args else None)
            self._calls.setdefault(name, []).append((ids if isinstance(ids, Tensor) else None, output))

        return hear

    def note(self, texts: Sequence[Sequence[str]], first: int) -> None:
        """Count what was cut.

        Args:
            texts: the batch's prompts and, where they are encoded, its negative prompts.
            first: the number of the batch's first prompt, from 1.
        """
        for name, calls in self._calls.items():
            for kind, batch, (ids, _) in zip(("prompt", "negative prompt"), texts, calls, strict=False):
                if ids is None or self._tokens(name, batch, ids) is None:
                    self.memo["unread"] |= kind == "prompt"
                    continue
                tokenizer, limit = self._tokenizer(name), ids.shape[1]
                known = self.memo["cut"].setdefault(f"{name}/{kind}/{limit}", [])
                if kind == "prompt":
                    known += [[first + place, length] for place, length in cut_lengths(tokenizer, batch, limit)]
                elif not known:
                    known += [[1, length] for _, length in cut_lengths(tokenizer, batch[:1], limit)]

    def notes(self, prompts: int) -> list[str]:
        """Return a sentence for each text encoder that cut some."""
        sentences = []
        for key, cut in self.memo["cut"].items():
            if cut:
                name, kind, limit = key.split("/")
                total = prompts if kind == "prompt" else 1
                sentences.append(cut_sentence(kind, total, int(limit), cut, f"the {name.replace('_', ' ')}"))
        return sentences

    def rows(self, prompts: Sequence[str], length: int) -> dict[str, Tensor]:
        """Return what prompts can be clustered by, as far as it was heard, a row a prompt.

        Args:
            prompts: of the batch.
            length: of the sequence of states that `encode_prompt` returns.

        Returns:
            `POOLED` [b, D], what the first text encoder pools, and `TOKENS` [b, length] of the text encoder that made
            the states, 1 for a token of the prompt and 0 for padding.
        """
        found: dict[str, Tensor] = {}
        for name, ((ids, output), *_) in self._calls.items():
            pooled = getattr(output, "pooler_output", None)
            if POOLED not in found and isinstance(pooled, Tensor) and len(pooled) == len(prompts):
                found[POOLED] = pooled.cpu()
            if ids is not None and ids.shape[1] == length and (mask := self._tokens(name, prompts, ids)) is not None:
                found[TOKENS] = mask.float()
        return found

    def _tokenizer(self, name: str) -> Any:
        return getattr(self.pipeline, name.replace("text_encoder", "tokenizer"), None)

    def _tokens(self, name: str, texts: Sequence[str], ids: Tensor) -> Tensor | None:
        """Return which of the ids [b, L] are tokens of these texts; None if they are not these texts and padding."""
        tokenizer = self._tokenizer(name)
        if not callable(tokenizer) or not getattr(tokenizer, "pad_token", None):
            return None
        own = tokenizer(
            list(texts), padding="max_length", max_length=ids.shape[1], truncation=True, return_tensors="pt"
        )
        return own.attention_mask if torch.equal(own.input_ids, ids.cpu()) else None
