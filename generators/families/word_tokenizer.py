"""A tokenizer of words, in place of a public model's own, which does not come with this package.

It is for counting: a pipeline that pads its text is given as many tokens as ever, and plain English has about a token a
word in any large vocabulary. What it gives is never encoded.
"""

from typing import Any

# Messages as ChatML has them, which Qwen's pipelines write into their prompts too. Content is a text, or parts of one.
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKS = ["<|im_start|>", "<|im_end|>"]


def word_tokenizer(config: dict[str, Any]) -> Any:
    """Return a tokenizer of transformers with a token a word, a line's end or a sign.

    Args:
        config: of the tokenizer that it stands in for: its ``model_max_length`` and ``padding_side`` are kept.

    Examples:
        >>> tokens = word_tokenizer({"model_max_length": 6})
        >>> len(tokens("a red fox, asleep").input_ids), len(tokens("a", padding="max_length").input_ids)
        (5, 6)
        >>> message = {"role": "user", "content": "a red fox"}
        >>> len(tokens(tokens.apply_chat_template([message], tokenize=False)).input_ids)
        8
    """
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *MARKS])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = Split(Regex(r"\w+|[^\w\s]|\n"), "removed", invert=True)
    kept = {key: config[key] for key in ("model_max_length", "padding_side") if key in config}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=MARKS,
        **kept,
    )
    tokenizer.chat_template = CHAT
    return tokenizer
