import re

import pytest
from run_folders import make_run

from common.errors import UserError
from reports.base import RunView
from reports.formats import to_markdown
from reports.tables.summary import Summary
from scripts.embed_report import embed, main

END = "<!-- report:end -->"


@pytest.fixture
def shown(tmp_path):
    """A view of a run named ``run`` and two of its pictures."""
    run = make_run(tmp_path / "run", n=3, taus=["0", "1"])
    figures = run / "report/figures"
    figures.mkdir(parents=True)
    for name in ("quality_savings", "dendrogram"):
        (figures / f"{name}.png").write_bytes(name.encode())
        (figures / f"{name}.svg").write_bytes(b"svg")
    return RunView.of(run), sorted(figures.iterdir())


@pytest.fixture
def readme(tmp_path):
    def written(*places: str):
        file = tmp_path / "docs" / "README.md"
        file.parent.mkdir()
        file.write_text("\n".join(["# Title", "", *places, "", "the rest", ""]))
        return file

    return written


def test_what_is_between_the_markers_is_replaced_and_nothing_else(shown, readme) -> None:
    file = readme("before", "<!-- report:begin run -->", "old", END, "after", "<!-- report:begin b -->", "theirs", END)
    view, pictures = shown
    assert embed(view, "run", pictures, file) == [file]
    text = file.read_text()
    head, _, rest = text.partition("<!-- report:begin run -->\n")
    inside, _, after = rest.partition(f"{END}\n")
    assert head == "# Title\n\nbefore\n"
    assert after == f"after\n<!-- report:begin b -->\ntheirs\n{END}\n\nthe rest\n"
    assert to_markdown(Summary().sheet(view)).strip() in inside
    assert "old" not in inside
    assert "![Win rate and mean" in inside
    assert "](../run/report/figures/quality_savings.png)" in inside
    assert "dendrogram" not in inside


def test_embedding_again_changes_nothing(shown, readme, tmp_path) -> None:
    file, keep = readme("<!-- report:begin run -->", END), tmp_path / "docs" / "pictures"
    view, pictures = shown
    assert embed(view, "run", pictures, file, keep) == [keep / "run-quality_savings.png", file]
    first, times = file.read_text(), [path.stat().st_mtime_ns for path in (file, *keep.iterdir())]
    assert embed(view, "run", pictures, file, keep) == []
    assert file.read_text() == first
    assert [path.stat().st_mtime_ns for path in (file, *keep.iterdir())] == times


def test_pictures_are_kept_beside_the_file_and_follow_the_run(shown, readme, tmp_path) -> None:
    file, keep = readme("<!-- report:begin run dendrogram -->", END), tmp_path / "docs" / "pictures"
    view, pictures = shown
    embed(view, "run", pictures, file, keep)
    assert "](pictures/run-dendrogram.png)" in file.read_text()
    assert [path.name for path in keep.iterdir()] == ["run-dendrogram.png"]
    next(path for path in pictures if path.name == "dendrogram.png").write_bytes(b"new")
    assert embed(view, "run", pictures, file, keep) == [keep / "run-dendrogram.png"]
    assert (keep / "run-dendrogram.png").read_bytes() == b"new"


def test_several_places_say_which_parts_they_want_in_which_order(shown, readme) -> None:
    file = readme(
        *("<!-- report:begin run dendrogram answer -->", END),
        *("<!-- report:begin run rows made -->", "old", END),
    )
    view, pictures = shown
    embed(view, "run", pictures, file)
    first, second = re.findall(f"report:begin run [^>]*>\n(.*?)\n{END}", file.read_text(), re.DOTALL)
    assert first.index("dendrogram.png") < first.index("Savings at parity")
    assert "|" not in first
    assert "- steps saved: the share of the denoiser" in second
    assert "- model: mini-kandinsky" in second


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ((), "has no place for run$"),
        (("<!-- report:begin other -->", END), "has no place for run; it has some for other$"),
        (("text <!-- report:begin run --> text", END), "has no place for run$"),
        (("<!-- report:begin run -->", "no end"), "line 3: <!-- report:begin run --> has no end"),
        (("<!-- report:begin run -->", "<!-- report:begin b -->", END), "line 3: .* has no end"),
        (("<!-- report:begin run dendogram -->", END), "asks for 'dendogram'"),
    ],
)
def test_a_file_that_cannot_be_filled_is_refused_and_left_as_it_is(shown, readme, places, message) -> None:
    file = readme(*places)
    before = file.read_text()
    with pytest.raises(UserError) as refused:
        embed(*(shown[0], "run", shown[1], file))
    assert re.search(message, refused.value.message)
    assert refused.value.hint
    assert file.read_text() == before


def test_a_file_that_is_not_there_is_refused(shown, tmp_path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        embed(shown[0], "run", shown[1], tmp_path / "none.md")


def test_the_command_writes_the_report_and_its_parts_again_and_again(tmp_path, capsys) -> None:
    run, file = make_run(tmp_path / "run", n=3, taus=["0", "1"]), tmp_path / "README.md"
    file.write_text(f"# Mine\n\n<!-- report:begin run table quality_savings -->\n{END}\n")
    arguments = [str(run), str(file), "--pictures", str(tmp_path / "pictures")]
    main(arguments)
    text = file.read_text()
    assert "| steps saved, % |" in text
    assert "](pictures/run-quality_savings.png)" in text
    assert (tmp_path / "pictures/run-quality_savings.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "report/index.html").exists()
    assert f"written  {file}" in capsys.readouterr().out
    main(arguments)
    assert file.read_text() == text
    assert "written" not in capsys.readouterr().out


def test_a_mistake_of_the_user_s_is_a_sentence(tmp_path) -> None:
    with pytest.raises(SystemExit, match="not a run folder"):
        main([str(tmp_path / "nowhere"), str(tmp_path / "none.md")])
