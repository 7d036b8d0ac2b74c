"""What every page of the benchmark is made with: its parts of style and script, its template, its policy."""

import base64
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent
WITHIN = "data: blob:"  # where the pictures of a page are that holds all of them


def part(name: str, folder: Path = HERE) -> str:
    """Return the text of a page's part, such as ``page.css``."""
    return (folder / name).read_text(encoding="utf-8")


def template(folder: Path, name: str) -> "Template":
    """Return a template that escapes all that it is given, and refuses what it is not given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def policy(style: str, script: str, pictures: str = WITHIN) -> str:
    """Return a policy under which nothing but pictures is fetched, from these sources, and only this script runs."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            f"img-src {pictures}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"
