"""Probe of the Hugging Face hub."""

import os

HUB, SECONDS = "https://huggingface.co", 5


def hub_answers() -> bool:
    """Return True where the hub answers; otherwise keep libraries from trying. Call it before any of them loads."""
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    if os.environ.get("HF_HUB_OFFLINE"):
        return False
    try:
        with urlopen(Request(os.environ.get("HF_ENDPOINT", HUB), method="HEAD"), timeout=SECONDS):
            return True
    except (URLError, OSError, ValueError):
        os.environ["HF_HUB_OFFLINE"] = "1"
        return False
