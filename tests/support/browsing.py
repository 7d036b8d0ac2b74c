"""A browser that sees pages from disk, without a network, and remembers what went wrong in them, as fixtures."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")  # while it lives, its event loop runs in this thread, and no other may
def chromium() -> Iterator["object"]:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright, which drives a browser")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on the PATH: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium) -> Iterator[Callable[..., "object"]]:
    """Open a file in a tab of its own; at the end, nothing may have been logged, thrown, asked or fetched.

    With `beside`, files that lie beside it may be fetched.
    """
    contexts, wrong = [], []

    def opened(path: Path, width: int = 1280, height: int = 900, *, beside: bool = False, **options: object):
        context = chromium.new_context(viewport={"width": width, "height": height}, offline=True, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        tab.on("request", lambda request: wrong.append(request.url) if fetched(request.url, path, beside) else None)
        tab.goto(path.resolve().as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def fetched(url: str, path: Path, beside: bool) -> bool:
    """Return True for a request of something that is not in the page, nor, where that is allowed, beside it."""
    if beside and url.startswith(f"{path.resolve().parent.as_uri()}/"):
        return False
    return not url.startswith(("data:", "blob:")) and url.partition("#")[0] != path.resolve().as_uri()
