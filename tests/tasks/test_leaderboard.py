"""The leaderboard as a site: what it shows, what it refuses, and that nothing of a stranger's text does anything."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from leaderboard_rows import a_row, write_rows

from common.errors import UserError
from tasks.card import card
from tasks.leaderboard.entries import Board, Entry, boards, found
from tasks.leaderboard.site import write_site
from tasks.row import ROW, Row

HOSTILE = [
    "</script><script>alert('script')</script>",
    "<img src=x onerror=alert('image')>",
    '"><iframe srcdoc="<script>parent.alert(1)</script>"></iframe>',
    "{{ 7 * 7 }} ${alert(1)} `</title>`",
    "javascript:alert(1)",
]
NAMES = ("ward", "a cache", "fewer steps")


class Tags(HTMLParser):
    """All tags of a page with their attributes, and its text outside of scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._in = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = tag

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        self.words += [data] if self._in not in ("script", "style") else []

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def site(tmp_path: Path) -> Path:
    write_rows(tmp_path / "rows", *NAMES, description="What it does.", url="https://example.org/paper")
    return write_site(boards(found([tmp_path / "rows"])), tmp_path / "site").page


def test_everything_that_the_page_names_lies_beside_it_and_nothing_runs(site) -> None:
    page = Tags(site)
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href"):
            link = attributes.get(name) or ""
            if link and not link.startswith("#") and not (tag == "a" and link == "https://example.org/paper"):
                assert not re.match(r"[a-z]+:|/", link)
                assert (site.parent / link).is_file()
    (policy,) = [one["content"] for _, one in page.tags if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert {path.name for path in site.parent.iterdir()} == {"index.html", "rows"}


def test_rows_stand_in_the_order_of_their_ranks_beneath_the_rule_and_the_control(site) -> None:
    text = Tags(site).text
    assert "Rows are ordered by savings at parity" in text
    assert "Seed control (A/A)" in text
    assert text.index("fewer steps sub") < text.index("a cache sub") < text.index("ward sub")
    assert "mini-sd-styles: fewer steps saves most at parity, 30.0%" in text


def test_rows_in_the_site_are_whole_and_make_the_same_site(site, tmp_path) -> None:
    again = write_site(boards(found([site.parent / "rows"])), tmp_path / "again").page
    assert again.read_text() == site.read_text()
    write_site(boards(found([site.parent / "rows"])), site.parent)  # of its own rows
    assert site.read_text() == again.read_text()


def test_a_level_without_a_point_has_a_dash(tmp_path) -> None:
    a_row("short", losses=[0.0, 0.1], levels=[0.1, 0.33], folder=tmp_path / "rows")
    page = write_site(boards(found([tmp_path / "rows"])), tmp_path / "site").page.read_text()
    cells = re.findall(r'<td class="n" data-sort="([^"]*)">([^<]*)', page)[1:6]
    assert [text.strip() for _, text in cells] == ["0.000", "–", "–", "–", "–"]
    assert [value for value, _ in cells][1:] == ["", "", "", ""]


def test_rows_of_another_version_of_the_card_are_refused_by_name(tmp_path) -> None:
    write_rows(tmp_path, "kept")
    a_row("of yesterday", folder=tmp_path / "old", changes={"card_sha256": "0" * 64})
    with pytest.raises(UserError, match=r"another version of the card reusebench-v1/mini-sd-styles .*: of yesterday"):
        boards(found([tmp_path]))


def test_a_row_that_was_edited_is_refused(tmp_path) -> None:
    write_rows(tmp_path, "honest")
    path = next(tmp_path.rglob(ROW))
    path.write_text(path.read_text().replace('"identical": 72', '"identical": 180'))
    with pytest.raises(UserError, match="was changed since it was written"):
        found([tmp_path])


def test_scores_that_are_not_the_rows_are_refused(tmp_path) -> None:
    write_rows(tmp_path, "honest")
    next(tmp_path.rglob(ROW)).with_name("scores.parquet").write_bytes(b"others")
    with pytest.raises(UserError, match=r"is not what .* was computed from"):
        boards(found([tmp_path]))


def test_two_rows_of_one_name_are_refused_and_one_given_twice_is_one(tmp_path) -> None:
    write_rows(tmp_path / "a", "twin")
    assert len(found([tmp_path, tmp_path / "a"])) == 1
    a_row("twin", (0.5, 0.4, 0.6), folder=tmp_path / "b")
    with pytest.raises(UserError, match=r"two rows of .* are called 'twin'"):
        found([tmp_path])


def test_a_folder_without_rows_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"holds no row\.json"):
        found([tmp_path])


@pytest.mark.parametrize("file", ["../../secret.png", "/etc/passwd", "examples/../../secret.png"])
def test_examples_outside_of_the_rows_folder_are_not_copied(tmp_path, file) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    row = a_row("thief", folder=tmp_path / "rows/thief")
    examples = (row.points[0].examples[0].model_copy(update={"file": file}),)
    points = (row.points[0].model_copy(update={"examples": examples}), *row.points[1:])
    row.model_copy(update={"points": points}).write(tmp_path / "rows/thief" / ROW)
    with pytest.raises(UserError):
        write_site(boards(found([tmp_path / "rows"])), tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_an_example_that_is_no_picture_is_not_copied(tmp_path) -> None:
    write_rows(tmp_path / "rows", "script")
    next(tmp_path.rglob("*baseline.webp")).write_text("<script>alert(1)</script>")
    with pytest.raises(UserError, match="cannot be read"):
        write_site(boards(found([tmp_path / "rows"])), tmp_path / "site")


def test_an_example_that_was_exchanged_is_not_copied(tmp_path) -> None:
    row = a_row("exchanged", folder=tmp_path / "rows")
    example = row.points[0].examples[0].model_copy(update={"sha256": "0" * 64})
    points = (row.points[0].model_copy(update={"examples": (example,)}), *row.points[1:])
    row.model_copy(update={"points": points}).write(tmp_path / "rows" / ROW)
    with pytest.raises(UserError, match="its hash is another"):
        write_site(boards(found([tmp_path / "rows"])), tmp_path / "site")


def test_a_folder_with_other_things_is_not_replaced(tmp_path) -> None:
    write_rows(tmp_path / "rows", "any")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").write_text("years")
    with pytest.raises(UserError, match="has other things in it"):
        write_site(boards(found([tmp_path / "rows"])), tmp_path / "home")
    assert (tmp_path / "home/thesis.tex").read_text() == "years"


def test_rows_of_a_draft_are_shown_and_not_ranked(tmp_path) -> None:
    write_rows(tmp_path / "rows", "any")
    draft = card("mini-sd-styles").model_copy(update={"status": "draft"})
    board = Board(draft, tuple(found([tmp_path / "rows"])), None)
    text = Tags(write_site([board], tmp_path / "site").page).text
    assert "is a draft: its rows are not ranked" in text
    assert "Rows are ordered by savings at parity" not in text


def test_a_url_that_is_no_address_is_no_row(tmp_path) -> None:
    write_rows(tmp_path, "any")
    path = next(tmp_path.rglob(ROW))
    told = json.loads(path.read_text())
    told["method"]["url"] = "javascript:alert(1)"
    path.write_text(json.dumps(told))
    with pytest.raises(UserError, match="is no row"):
        Row.read(path)


def test_a_strangers_text_is_text(tmp_path, visit) -> None:
    for i, text in enumerate(HOSTILE):
        about = {"description": text, "authors": text, "hardware": text, "settings": {text: [text]}}
        a_row(text, text=text, folder=tmp_path / f"rows/{i}", **about)
    tab = visit(write_site(boards(found([tmp_path / "rows"])), tmp_path / "site").page, beside=True)
    for button in tab.locator(".open").all():
        button.click()
    assert sorted(tab.locator(".open").all_inner_texts()) == sorted(HOSTILE)
    assert tab.locator("iframe, img[src=x]").count() == 0
    assert tab.locator(".curves svg").count() == 2 * len(HOSTILE)


def test_columns_sort_by_click_and_by_key(site, visit) -> None:
    tab = visit(site, beside=True)
    names = lambda: tab.locator(".open").all_inner_texts()  # noqa: E731
    head = tab.locator(".ranking > thead th")
    assert names() == ["fewer steps", "a cache", "ward"]
    assert [cell.get_attribute("aria-sort") for cell in head.all()[:3]] == ["ascending", "none", "none"]
    head.nth(1).locator("button").click()
    assert names() == ["a cache", "fewer steps", "ward"]
    assert [cell.get_attribute("aria-sort") for cell in head.all()[:3]] == ["none", "ascending", "none"]
    head.nth(2).locator("button").focus()
    tab.keyboard.press("Enter")
    assert names() == ["fewer steps", "a cache", "ward"]
    assert head.nth(2).get_attribute("aria-sort") == "descending"
    tab.keyboard.press("Space")
    assert names() == ["ward", "a cache", "fewer steps"]


@pytest.mark.parametrize("width", [1280, 390])
def test_a_row_opens_to_its_curve_its_results_and_pictures_on_any_width(site, visit, width) -> None:
    tab = visit(site, width=width, beside=True)
    assert tab.locator(".more:visible").count() == 0
    button = tab.locator(".open").first
    button.focus()
    tab.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    more = tab.locator(".more:visible")
    assert more.locator(".curves svg .rest").count() == 2 * (len(NAMES) - 1)
    assert more.locator(".curves svg .bar").count() == 2 * 5
    assert "VQAScore win rate" in more.inner_text()
    more.locator("img:visible").first.scroll_into_view_if_needed()
    tab.wait_for_timeout(200)
    assert more.locator("img:visible").first.evaluate("one => one.naturalWidth") == 16
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    button.click()
    assert tab.locator(".more:visible").count() == 0


def test_without_a_script_every_row_is_open(site, visit) -> None:
    tab = visit(site, beside=True, java_script_enabled=False)
    assert tab.locator(".more:visible").count() == len(NAMES)


def test_entries_have_names_that_any_disk_takes(tmp_path) -> None:
    row = a_row("CON: <a/b>", folder=tmp_path)
    assert re.fullmatch(r"con-a-b-[0-9a-f]{8}", Entry(tmp_path / ROW, row).slug)
