"""The Markdown form, read back by a Markdown parser: what it shows is the text, and nothing in it is more than text."""

import json
import re
from html import unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reports.answer import answer
from reports.base import RunView
from reports.formats import markdown_line, markdown_text
from reports.markdown import markdown
from reports.render import write_report
from reports.run_comparison import compare

HOSTILE = (
    "a|b",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "![x](http://x/y.png)",
    "`code` and **bold** and _emphasis_ and ~~gone~~",
    "&lt;b&gt; &amp; $x^2$",
    "trailing \\",
    "# a heading",
    "- an item",
    "1. a number",
    "> a quote",
    "[a]: http://x",
    "--- \n\n| a | b |\n| --- | --- |\n| c | d |",
    "<!-- report:end -->",
)
reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def shown(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", "", html)).split())


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_it_is(text) -> None:
    plain = " ".join(text.split())
    assert reader.render(markdown_line(text)) == f"<p>{escaped(plain)}</p>\n"
    assert shown(reader.render(f"- {markdown_line(text)}")) == plain
    cells = reader.render(f"| x | y |\n| --- | --- |\n| {markdown_text(text)} | z |")
    assert re.findall("<td>(.*?)</td>", cells, re.DOTALL) == [escaped(plain), "z"]


def escaped(text: str) -> str:
    for letter, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(letter, entity)
    return text


@settings(max_examples=300)
@given(st.text(alphabet="ab1 _*[]()<>!&;#`~$|\\-+=.:\"'/\n", max_size=30))
def test_any_text_is_shown_as_it_is(text) -> None:
    plain = " ".join(text.split())
    assert reader.render(markdown_line(text)).removeprefix("<p>").removesuffix("</p>\n") == escaped(plain)
    cells = reader.render(f"| x | y |\n| --- | --- |\n| {markdown_text(text)} | z |")
    assert re.findall("<td>(.*?)</td>", cells, re.DOTALL) == [escaped(plain), "z"]


@pytest.fixture
def written(new_run, monkeypatch):
    """A run and its report, of few tables and figures."""
    from reports import render
    from reports.base import figures, tables

    for every, kept in ((tables, ("summary",)), (figures, ("quality_savings", "dendrogram"))):
        few = {name: each for name, each in every().items() if name in kept}
        monkeypatch.setattr(render, every.__name__, lambda few=few: few)

    def made(**options):
        run = new_run(**{"n": 4, "taus": ["0", "1"], **options})
        return run, write_report(run)

    return made


def test_a_report_has_the_answer_the_table_the_pictures_and_what_made_it(written) -> None:
    run, report = written()
    text = report.markdown.read_text()
    told = answer(RunView.of(run))
    assert report.markdown == run / "report/report.md"
    assert text.startswith(f"# {told.question}\n\n")
    page = shown(reader.render(text))
    assert all(line in page for line in told.lines)
    assert (run / "report/tables/summary.md").read_text().strip() in text
    assert "(figures/quality_savings.png)" in text
    assert "win rate: how often" in text
    assert "equal-compute baseline:" not in text, "there is no such row"
    assert "model: mini-kandinsky, weights 000000000000…" in text
    assert "machine: cpu 2 cores" in text
    assert str(run.parent) not in text, "a report can be read elsewhere"


def test_links_follow_where_the_text_lies(written, tmp_path) -> None:
    run, report = written()
    home = tmp_path / "else where" / "deep"
    links = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", markdown(RunView.of(run), report.figures, home))
    assert links == ["../../run/report/figures/quality_savings.png", "../../run/report/figures/dendrogram.png"]
    elsewhere = [tmp_path / "a (run)" / path.name for path in report.figures]
    assert "(../../a%20%28run%29/dendrogram.png)" in markdown(RunView.of(run), elsewhere, home)


def test_series_pictures_are_named_and_those_left_out_are_told(written) -> None:
    _, report = written(series=[{"seed": seed} for seed in range(6)])
    text = report.markdown.read_text()
    assert "![seed 0: The tree of a series' prompts" in text
    assert text.count("](figures/dendrogram-") == 4
    assert "Not shown: 2 more of `dendrogram`" in text


def test_names_in_a_report_are_data(written) -> None:
    hostile = "<script>alert(1)</script>|[x](javascript:y)"
    _, report = written(series=[{"model": hostile}, {"model": "b"}])
    html = reader.render(report.markdown.read_text())
    assert "<script" not in html
    assert "javascript:y)" in html
    assert 'href="javascript' not in html
    (cells,) = {line.count("<td") for line in html.split("</tr>") if "<td" in line}
    assert cells > 5


def test_a_prompt_in_a_failure_is_data_too(written) -> None:
    run, _ = written()
    path = next(iter(sorted(run.glob("cells/*/record.json"))))
    record = json.loads(path.read_text())
    record |= {"status": "failed", "error": {"type": "UserError", "message": "prompt '<b>x</b> | `y`' is too long"}}
    path.write_text(json.dumps(record))
    html = reader.render(write_report(run).markdown.read_text())
    assert "prompt '&lt;b&gt;x&lt;/b&gt; | `y`' is too long" in html


def test_a_comparison_says_what_may_be_compared_before_the_table(new_run, tmp_path) -> None:
    view = compare([new_run("few", n=3), new_run("many", n=4)], tmp_path / "out")
    text = markdown(view, [], tmp_path)
    assert text.index("## Comparability") < text.index("## Every cell")
    assert "prompts of mini_templates, refused: " in text
    assert "run: few, many: 6 cells and references" in text


def test_a_run_of_failures_has_a_report_that_says_so(new_run) -> None:
    text = write_report(new_run(taus=["0.5"], fail=["0.5"])).markdown.read_text()
    assert "Nothing was shared" in text
    assert "00003.png is damaged" in text
