import base64
import re
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from PIL import Image

from reports.answer import answer
from reports.base import RunView
from reports.page.write import write_page
from reports.render import write_report
from reports.run_comparison import compare


class Reader(HTMLParser):
    """The contents of a page: attributes by tag, and text outside scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.text, self.scripts, self._in = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._in = tag

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in in ("script", "style"):
            self.scripts.append((self._in, data))
        else:
            self.text.append(data)

    def says(self, text: str) -> bool:
        return " ".join(text.split()) in " ".join(" ".join(self.text).split())


@pytest.fixture
def view(new_run):
    run = new_run(n=8, taus=("0", "1"), side=8)
    (run / "sweep.yaml").write_text("schema_version: 1\nmodel: [mini-kandinsky]\ntitle: <b>a title</b>\n")
    return RunView.of(run)


def read(path) -> Reader:
    return Reader(path.read_text())


def test_a_report_writes_the_page_beside_tables_and_figures(new_run) -> None:
    run = new_run(n=4, taus=("0", "1"), side=8)
    report = write_report(run)
    assert report.page == run / "report/index.html"
    page = read(report.page)
    for sheet in report.every.values():
        for column in sheet.columns:
            assert page.says(column.heading)


def test_a_page_with_a_bug_costs_no_other_file(new_run, monkeypatch) -> None:
    def broken(*_):
        raise ZeroDivisionError("by the page's own fault")

    monkeypatch.setattr("reports.page.data.Payload.gathered", broken)
    report = write_report(new_run(n=4, taus=("0", "1"), side=8))
    assert report.page is None
    assert report.tables
    assert report.notes == ["no index.html: ZeroDivisionError: by the page's own fault"]


def test_it_holds_all_that_it_shows_and_asks_for_nothing(view) -> None:
    page = read(write_page([view], view.path / "index.html").path)
    assert not [one for _, one in page.tags if "src" in one]
    assert [one["href"] for tag, one in page.tags if tag in ("a", "link") and not one["href"].startswith("#")] == []
    assert not [name for _, one in page.tags for name in one if name.startswith("on") or name == "style"]


def test_the_policy_names_the_very_script_and_style(view) -> None:
    page = read(write_page([view], view.path / "index.html").path)
    (policy,) = [one["content"] for _, one in page.tags if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for kind, content in (page.scripts[-1], page.scripts[0]):
        digest = base64.b64encode(sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_the_answer_and_the_whole_provenance_are_text(view) -> None:
    page = read(write_page([view], view.path / "index.html").path)
    found = answer(view)
    record = view.records[0]
    for text in (found.question, *found.lines, "<b>a title</b>", record.identity["weights"], *record.versions.values()):
        assert page.says(text)
    assert page.says("mini-vqa")
    assert page.says("2 cores")
    assert page.says("model: [mini-kandinsky]")


def test_notes_say_what_is_left_out(view) -> None:
    for path in view.path.glob("cells/*/images/00001.png"):
        path.write_bytes(b"damaged")
    written = write_page([view], view.path / "index.html", notes=["a note <i>of</i> the caller's"])
    assert any("missing or damaged" in note for note in written.notes)
    page = read(written.path)
    assert all(page.says(note) for note in written.notes)


def test_a_comparison_tells_in_what_its_runs_differ(new_run, tmp_path) -> None:
    one, other = new_run(name="one", n=6, taus=("0", "1"), side=8), new_run(name="other", n=8, taus=("0", "1"), side=8)
    joint = compare([one, other], tmp_path / "both")
    page = read(write_page([joint], tmp_path / "both/index.html").path)
    assert joint.mismatches
    assert all(page.says(each.sentence) for each in joint.mismatches)
    assert page.says((one / "sweep.yaml").read_text())


def test_a_run_without_a_finished_cell_has_a_page_too(new_run) -> None:
    run = new_run(n=4, taus=("1",), fail=("1",))
    page = read(write_page([RunView.of(run)], run / "index.html").path)
    assert page.says("Nothing was shared")


def test_the_mean_of_a_cluster_is_shown_where_it_was_made(view) -> None:
    from generators.sharing.tree import Tree
    from reports.page.data import Payload
    from studies.manifest import MeanEmbedding, MeanNode

    record = view.records[-1]
    tree = Tree.load(record.folder(view.path) / "tree.npz")
    node = int(tree.parent[0])
    folder = view.path / "studies/mean-embedding/made"
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(folder / "node.png")
    members = tree.leaf_order[tree.lo[node] : tree.hi[node]].tolist()
    common = {"score": 0.1, "height": 1.0, "image": "node.png"}
    asked = record.config
    manifest = MeanEmbedding(
        version=1,
        identity={},
        model=asked.model,
        dataset=asked.dataset,
        seed=asked.seed,
        scheduler=asked.scheduler,
        K=20,
        standard=record.baseline,
        strategy=asked.strategy,
        features=asked.features,
        combiner=asked.combiner,
        prompts=record.prompts(view.path),
        nodes=[
            MeanNode(node=node, members=members, **common),
            MeanNode(node=node + 1, members=[0], **common),  # of another tree
        ],
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    (drawn,) = Payload([view]).gathered()["trees"]
    assert list(drawn["means"]) == [node]
    assert re.match("data:image/webp;base64,", drawn["means"][node])
