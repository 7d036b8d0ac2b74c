"""What the words of an answer mean, for who reads it first."""

import re
from collections.abc import Iterable

WORDS = {
    "tau": "how much prompts share: 0 is the baseline; the larger, the longer prompts of a cluster are denoised as "
    "one, on a scale that is the strategy's own",
    "baseline": "the same prompts, each denoised by itself",
    "denoiser evaluations": "calls of the denoiser for one picture each, which is where the time goes; with guidance "
    "one is two rows (NFE)",
    "VQAScore": 'how much a model that answers questions believes "yes" when it is asked whether the picture shows its '
    "prompt, 0 to 1",
    "CLIPScore": "how near CLIP finds a picture and its prompt, 0 to 2.5",
    "win rate": "how often a prompt's shared picture scores higher than its baseline picture; a tie is half a win, and "
    "50% is no difference",
    "no worse": "non-inferior: the win rate is shown to be at most this far below 50%, so many points; a rate near 50% "
    "alone does not show it",
    "parity": "where the win rate has not fallen further below 50% than is tolerated (delta)",
    "seed control": "the baseline against itself with another seed: what chance alone does",
    "draws of noise": "the initial latents that pictures of a seed begin from; prompts that share have one in common",
    "floor": "score differences that edits make too which nobody sees; what is smaller is a tie",
    "power": "how often a run of this size would show it, if it were so",
}


def words(texts: Iterable[str]) -> dict[str, str]:
    """Return the meaning of those words that stand in these texts, by word.

    Examples:
        >>> list(words(["At tau 1 the win rate is 48%"]))
        ['tau', 'win rate']
    """
    whole = " ".join(texts)
    return {word: meaning for word, meaning in WORDS.items() if re.search(rf"\b{word}", whole, re.IGNORECASE)}
