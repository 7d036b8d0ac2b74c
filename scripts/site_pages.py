"""A hook of MkDocs: pages from files outside ``docs/``, and links that hold on the site as they do in the repository.

In the repository a page links to files by relative paths (``../CONTRIBUTING.md``, ``docs/metrics.md``), so that every
Markdown viewer follows them. On the site those that are pages become links between pages, and other files of the
repository links to its host.
"""

import os
import re
from pathlib import Path
from typing import Any

from markdown import Markdown
from markdown.blockprocessors import build_block_parser
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "miniature/README.md": "miniature.md",
}
PICTURES = {"miniature/contact_sheet.png": "pictures/contact_sheet.png"}
ITEM = re.compile(r" *([-*+]|\d+\.) ")
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


class GitHubLists(Extension):
    """Lists as on GitHub: they nest at two spaces, and may follow a paragraph without a blank line."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - the library's name
        md.tab_length = 2
        md.parser = build_block_parser(md)  # its processors have read the length already
        md.preprocessors.register(_BlankBeforeLists(md), "blank_before_lists", 10)  # after fenced code is taken out


class _BlankBeforeLists(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        spaced: list[str] = []
        within = False  # a block that a list item began
        for line in lines:
            item = ITEM.match(line)
            if item and not within and spaced and spaced[-1].strip():
                spaced.append("")
            within = bool(line.strip()) and (within or bool(item))
            spaced.append(line)
        return spaced


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Have lists read as GitHub reads them."""
    # first, as it builds the parser anew; an instance, which Python-Markdown takes as well as a name
    config.markdown_extensions.insert(0, GitHubLists())  # type: ignore[arg-type]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that lie outside the site's folder."""
    for source, page in (PAGES | PICTURES).items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Return a page's Markdown with its links mended."""
    source = Path(page.file.abs_src_path or "").relative_to(ROOT)
    return relinked(markdown, source, config.extra["repository"])


def relinked(markdown: str, source: Path, repository: str) -> str:
    """Return the Markdown of a file, its links to other files of the repository made links of the site.

    Args:
        markdown: its text.
        source: its path within the repository.
        repository: the address under whose ``blob/main/`` files are that are no pages.
    """
    here = _on_site(source.as_posix())

    def link(match: re.Match[str]) -> str:
        path = os.path.normpath(source.parent / match["path"])
        page = _on_site(path)
        target = os.path.relpath(page, Path(here or "").parent) if page else f"{repository}/blob/main/{path}"
        return target + (match["anchor"] or "")

    return LINK.sub(link, markdown)


def _on_site(path: str) -> str | None:
    """Return a repository's file's path on the site; None where it is not there."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return (PAGES | PICTURES).get(path)
