from pathlib import Path

import pytest

REPOSITORY = "https://example.org/us/bench"

pytest.importorskip("mkdocs")


@pytest.mark.parametrize(
    ("source", "link", "expected"),
    [
        ("README.md", "docs/metrics.md#win-rate", "metrics.md#win-rate"),
        ("README.md", "docs/pictures/page.png", "pictures/page.png"),
        ("docs/architecture.md", "../CONTRIBUTING.md", "contributing.md"),
        ("docs/api/plugins.md", "../../CONTRIBUTING.md", "../contributing.md"),
        ("docs/api/plugins.md", "../metrics.md", "../metrics.md"),
        ("miniature/README.md", "contact_sheet.png", "pictures/contact_sheet.png"),
        ("miniature/README.md", "../NOTICE", f"{REPOSITORY}/blob/main/NOTICE"),
        ("README.md", "https://arxiv.org/abs/2508.21032", "https://arxiv.org/abs/2508.21032"),
        ("docs/metrics.md", "#power", "#power"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(source: str, link: str, expected: str) -> None:
    from scripts.site_pages import relinked

    assert relinked(f"see [it]({link}).", Path(source), REPOSITORY) == f"see [it]({expected})."


def test_lists_are_read_as_on_github() -> None:
    from markdown import markdown

    from scripts.site_pages import GitHubLists

    page = markdown("What follows:\n- one\n  - nested\n- two\n  goes on", extensions=[GitHubLists()])
    assert page.count("<ul>") == 2
    assert page.startswith("<p>What follows:</p>")
    assert page.count("<li>") == 3
