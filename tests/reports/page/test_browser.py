"""The page as its readers have it: opened from disk in headless Chromium."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from reports.base import RunView, tables
from reports.page.write import write_page

HOSTILE = [
    "</script><script>alert('script')</script>",
    "<img src=x onerror=alert('image')>",
    "--><svg/onload=alert('svg')>",
    '"><iframe srcdoc="<script>parent.alert(1)</script>"></iframe>',
    "{{ 7 * 7 }} ${alert(1)} `</title>`",
    "line\u2028and paragraph\u2029 separators &lt;b&gt; &amp;",
    "]]><!--<script>",
    "javascript:alert(1)",
]


@pytest.fixture(scope="module")
def kept():
    return {}


@pytest.fixture
def page(new_run, kept):
    """The page of a run with two series, four taus, 60 prompts; all tests look at the same."""
    if not kept:
        run = new_run(n=60, taus=("0", "0.5", "1", "2"), series=[{"model": "model-a"}, {"model": "model-b"}], side=32)
        kept["page"] = written(run)
    return kept["page"]


def written(run):
    """A run's page with its tables, as `bench report` writes it; figures would take their time."""
    view = RunView.of(run)
    sheets = {name: table().sheet(view) for name, table in tables().items()}
    sheets = {name: sheet for name, sheet in sheets.items() if sheet}
    return write_page([view], run / "report/index.html", sheets).path


def until(tab, holds):
    """Waits for a JavaScript expression to hold; polling within the page would be the eval that its policy forbids."""
    for _ in range(300):
        if tab.evaluate(holds):
            return
        tab.wait_for_timeout(100)
    raise AssertionError(f"never so: {holds}")


def shown(tab):
    """The prompts in the list, first to last, and what each says of its scores."""
    tab.wait_for_selector("#rows .card")
    cards = tab.locator("#rows .card")
    return [(card.locator(".prompt").text_content(), card.locator(".scores").inner_text()) for card in cards.all()]


def gains(tab):
    """Ours less standard, as the cards in sight say it."""
    texts = [text.rpartition(" ")[2].replace("\u2212", "-") for _, text in shown(tab)]
    return [0.0 if text == "same" else float(text) for text in texts]


def painted(tab, of="#rows .thumb"):
    return tab.locator(of).evaluate_all("all => all.filter(one => one.style.backgroundImage.startsWith('url(')).length")


def test_it_opens_says_the_answer_and_shows_pictures(page, visit, artifact) -> None:
    tab = visit(page)
    assert "?" in tab.locator("h1").inner_text()
    assert 1 <= tab.locator(".lines p").count() <= 4
    tab.locator("#pictures").scroll_into_view_if_needed()
    until(tab, "document.querySelectorAll('#rows .thumb').length > 8")
    until(tab, "document.querySelector('#rows .thumb').style.backgroundImage")
    assert painted(tab) >= 8
    assert tab.locator("#curve-charts svg").count() == 2
    shot = artifact("report-desktop-light.png")
    tab.screenshot(path=shot, full_page=True)
    with Image.open(shot) as picture:
        assert len(picture.convert("RGB").resize((200, 200)).getcolors(40_000)) > 50  # not an empty page


def test_pictures_are_those_of_their_prompt(page, visit, tmp_path) -> None:
    """A thumbnail is nearest to its own file, from whichever sprite and place it comes."""
    tab, run = visit(page), page.parents[1]
    (record,) = [
        each for each in RunView.of(run).records if each.config.model == "model-a" and float(each.config.tau) == 0.5
    ]
    real = record.pictures(run)
    tab.locator("#sort").select_option("prompt")
    tab.locator("#tau").fill("1")
    for prompt in (0, 17, 59):
        tab.evaluate(f"list.scrollTop = Math.floor({prompt} / columns) * cardHeight")
        thumb = tab.locator(f"#rows .card[data-prompt='{prompt}'] .thumb").nth(1)
        thumb.scroll_into_view_if_needed()
        until(tab, f"document.querySelectorAll(\"[data-prompt='{prompt}'] .thumb\")[1]?.style.backgroundImage")
        tab.wait_for_timeout(100)
        shot = tmp_path / "thumb.png"
        thumb.screenshot(path=shot)
        with Image.open(shot) as seen:
            near = np.array(seen.convert("RGB").resize((32, 32)), float)
        far = [np.abs(near - np.array(Image.open(path).convert("RGB").resize((32, 32)), float)).mean() for path in real]
        assert int(np.argmin(far)) == prompt
        assert min(far) < 15


def test_the_slider_changes_what_is_shown_and_the_keyboard_moves_it(page, visit) -> None:
    tab = visit(page)
    before = tab.locator("#tau-says").inner_text()
    tab.locator("#tau").focus()
    tab.keyboard.press("End")
    assert tab.locator("#tau-value").inner_text() == "2"
    at_two = shown(tab)
    tab.keyboard.press("ArrowLeft")
    assert tab.locator("#tau-value").inner_text() == "1"
    assert shown(tab) != at_two
    tab.keyboard.press("Home")
    assert tab.locator("#tau-value").inner_text() == "0"
    assert tab.locator("#tau-says").inner_text() != before
    assert "0.0% of steps saved" in tab.locator("#tau").get_attribute("aria-valuetext")
    assert set(gains(tab)) == {0.0}


def test_sorting_by_the_difference_puts_the_worst_or_the_best_first(page, visit) -> None:
    tab = visit(page)
    tab.locator("#tau").fill("3")
    worst = gains(tab)
    assert worst == sorted(worst)
    assert worst[0] < 0
    tab.locator("#sort").select_option("best")
    best = gains(tab)
    assert best == sorted(best, reverse=True)
    assert best[0] > 0
    tab.locator("#sort").select_option("prompt")
    first = json.loads(tab.evaluate("JSON.stringify(DATA.prompts[0].slice(0, 4))"))
    assert [prompt for prompt, _ in shown(tab)][:4] == first


def test_the_worst_failures_are_one_click_away(page, visit) -> None:
    tab = visit(page)
    tab.locator("#sort").select_option("best")
    tab.locator("#to-worst").click()
    assert tab.locator("#sort").input_value() == "worst"
    assert gains(tab)[0] < 0


def test_a_search_keeps_the_prompts_that_have_every_word(page, visit) -> None:
    tab = visit(page)
    tab.locator("#search").fill("PENGUIN glossy")
    found = [prompt for prompt, _ in shown(tab)]
    assert found
    assert all("penguin" in prompt and "glossy" in prompt for prompt in found)
    assert tab.locator("#count").inner_text().startswith(f"{len(found)} of 60 prompts")
    tab.locator("#search").fill("no such prompt")
    assert tab.locator("#rows .card").count() == 0


def test_a_select_changes_the_series(page, visit) -> None:
    tab = visit(page)
    tab.locator("#tau").fill("3")
    before = tab.locator("#tau-says").inner_text()
    tab.locator("select[data-axis=model]").select_option("model-b")
    assert tab.evaluate("series().axes.model") == "model-b"
    assert tab.locator("#tau-value").inner_text() == "2"
    assert tab.locator("#tau-says").inner_text() != before


def test_one_prompt_is_shown_at_every_tau_and_the_keyboard_walks_on(page, visit) -> None:
    tab = visit(page)
    tab.locator("#rows .card button").first.focus()
    tab.keyboard.press("Enter")
    dialog = tab.locator("#one")
    assert dialog.is_visible()
    assert tab.locator("#film li").count() == 5
    first = tab.locator("#one-prompt").inner_text()
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#one-prompt").inner_text() != first
    tab.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert tab.evaluate("document.activeElement.closest('.card')?.dataset.prompt") is not None


def test_a_finger_walks_from_prompt_to_prompt(page, visit, artifact) -> None:
    tab = visit(page, width=390, height=800, has_touch=True, is_mobile=True)
    tab.locator("#rows .card button").first.tap()
    first = tab.locator("#one-prompt").inner_text()
    assert tab.locator("#one-before").is_disabled(), "there is none before the first"
    tab.locator("#one-after").tap()
    assert tab.locator("#one-prompt").inner_text() != first
    tab.screenshot(path=artifact("report-phone-dialog.png"))
    sides = [tab.locator(f"#{name}").bounding_box() for name in ("one-before", "one-after")]
    assert all(min(side["width"], side["height"]) >= 44 for side in sides)
    tab.locator("#one-before").tap()
    assert tab.locator("#one-prompt").inner_text() == first


def test_a_number_is_rounded_as_the_tables_round_it(page, visit) -> None:
    values = [0.125, 42.25, 42.35, 0.5, 1.5, 2.5, -0.25, -0.75, 0.00005, 33.333, 0.0]
    found = visit(page).evaluate(f"{values}.map((value) => [0, 1, 4].map((digits) => fixed(value, digits)))")
    assert found == [[f"{value:.{digits}f}" for digits in (0, 1, 4)] for value in values]


def test_no_cell_of_a_table_touches_the_next(page, visit) -> None:
    tab = visit(page)
    tab.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    gaps = tab.locator("#tables td").evaluate_all(
        """cells => cells.filter((cell) => cell.nextElementSibling).map((cell) => {
            const [one, two] = [cell, cell.nextElementSibling].map((each) => getComputedStyle(each));
            return parseFloat(one.paddingRight) + parseFloat(two.paddingLeft);
        })"""
    )
    assert min(gaps) >= 8


def test_words_are_explained_where_they_stand(page, visit) -> None:
    tab = visit(page)
    tab.get_by_text("What these words mean").click()
    words = tab.locator("#answer dfn").all_inner_texts()
    assert {"tau", "win rate", "parity", "no worse"} <= set(words)
    assert "non-inferior" in tab.locator("#answer").inner_text()


def test_the_labels_of_the_tree_are_whole_on_a_phone(page, visit) -> None:
    tab = visit(page, width=390, height=800)
    text = "a glossy 3D rendering of a lighthouse on a blue ground"
    lines = tab.evaluate(
        f"""(() => {{ const context = document.createElement("canvas").getContext("2d");
        context.font = "12px sans-serif";
        return [broken(context, {text!r}, 190, 3), broken(context, {text!r}, 190, 1)]; }})()"""
    )
    assert " ".join(lines[0]) == text
    assert lines[1][0].endswith("…")


def test_the_list_holds_only_what_is_in_sight_and_scrolls_to_the_last(new_run, visit) -> None:
    run = new_run(n=400, taus=("1",), side=8)
    tab = visit(write_page([RunView.of(run)], run / "index.html").path)
    tab.locator("#sort").select_option("prompt")
    assert tab.locator("#rows .card").count() < 60
    tab.locator("#list").focus()
    tab.keyboard.press("End")
    tab.wait_for_selector(".card[data-prompt='399']")
    assert tab.locator("#rows .card").count() < 60


def test_the_keyboard_walks_the_tree_and_leads_to_a_clusters_pictures(page, visit) -> None:
    tab = visit(page)
    tab.locator("#canvas").focus()
    tab.keyboard.press("ArrowDown")
    assert tab.locator("#node strong").inner_text() == "60 prompts"
    tab.keyboard.press("ArrowRight")
    part = int(tab.locator("#node strong").inner_text().split()[0])
    tab.keyboard.press("ArrowDown")
    rest = tab.locator("#node strong").inner_text()
    assert part + int(rest.split()[0]) == 60
    tab.keyboard.press("+")
    assert tab.evaluate("zoom") > 1
    tab.keyboard.press("0")
    assert tab.evaluate("zoom") == 1
    tab.locator("#node button").click()
    assert tab.locator("#count").inner_text().startswith(f"{60 - part} of 60 prompts")


def test_the_tree_tells_the_steps_that_the_plan_shares(page, visit) -> None:
    from generators.sharing.parting import shared_steps
    from generators.sharing.plan import SharingPlan

    tab, run = visit(page), page.parents[1]
    (record,) = [each for each in RunView.of(run).records if each.config.model == "model-a" and each.config.tau == 1]
    shared = shared_steps(SharingPlan.load(record.folder(run) / "plan.npz"))
    tab.locator("#tau").fill("2")
    told = tab.evaluate("alone(series(), cell())")
    for prompt, steps in enumerate(told):
        assert steps == max(shared[prompt, other] for other in range(60) if other != prompt)
    joined = tab.evaluate("[...parting(currentTree(), cell())]")
    spans = tab.evaluate(
        "(({ from, to, leaves }) => ({ from: [...from], to: [...to], leaves }))(laidOut(currentTree()))"
    )
    order = tab.evaluate("currentTree().order")
    for node in range(spans["leaves"], len(joined)):
        members = order[spans["from"][node] : spans["to"][node]]
        assert joined[node] == min(shared[one, other] for one in members for other in members)


def test_a_point_of_the_curve_is_a_button(page, visit) -> None:
    tab = visit(page)
    point = tab.locator("[data-point='vqa.win_rate/1']")
    assert re.search(r"tau 0.5: .*% of steps saved, .*% \[", point.get_attribute("aria-label"))
    point.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("#tau-value").inner_text() == "0.5"


def test_a_hostile_prompt_is_shown_and_not_run(new_run, visit) -> None:
    """`visit` fails on any dialog, error, refusal of the policy, or request."""
    run = new_run(n=len(HOSTILE), taus=("0", "1"))
    for path in run.glob("shared/*/prompts.json"):
        path.write_text(json.dumps(HOSTILE))
    (run / "sweep.yaml").write_text(f"schema_version: 1\ntitle: {json.dumps(HOSTILE[1])}\n")
    tab = visit(written(run))
    tab.locator("#sort").select_option("prompt")
    assert [prompt for prompt, _ in shown(tab)] == HOSTILE
    tab.locator("#rows .card button").first.click()
    assert tab.locator("#one-prompt").text_content() == HOSTILE[0]
    tab.keyboard.press("Escape")
    tab.locator("#canvas").focus()
    tab.keyboard.press("ArrowDown")
    assert tab.locator("script").count() == 2 + tab.locator("script.set").count()
    assert tab.locator("main img, main iframe, main svg[onload]").count() == 0


def test_the_policy_refuses_every_other_script(page, chromium) -> None:
    tab = chromium.new_page()
    refused = []
    tab.on("console", lambda message: refused.append(message.text))
    tab.goto(page.as_uri())
    tab.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
    tab.evaluate(
        "document.head.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }))"
    )
    tab.wait_for_timeout(200)
    assert tab.evaluate("window.ran") is None
    assert any("Content Security Policy" in text for text in refused)
    tab.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_systems_colours_until_the_button_is_pressed(page, visit, artifact, scheme) -> None:
    tab = visit(page, color_scheme=scheme)
    brightness = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    assert (tab.evaluate(brightness) > 128) == (scheme == "light")
    tab.screenshot(path=artifact(f"report-{scheme}.png"))
    tab.locator("#theme").click()
    assert (tab.evaluate(brightness) > 128) == (scheme == "dark")


def test_a_phone_needs_no_sideways_scrolling(page, visit, artifact) -> None:
    tab = visit(page, width=360, height=740)
    tab.wait_for_selector("#rows .card")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.screenshot(path=artifact("report-phone.png"), full_page=True)


def test_paper_has_light_colours_whole_tables_and_the_first_pictures(page, visit) -> None:
    tab = visit(page, color_scheme="dark")
    tab.emulate_media(media="print", color_scheme="dark")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.locator("details:not([open])").count() == 0
    assert tab.locator("#rows .card").count() == 24
    assert painted(tab) == 48
    assert "first 24 of 60" in tab.locator("#printed").inner_text()
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.locator("details:not([open])").count() > 0


def test_every_picture_control_and_link_has_a_name(page, visit) -> None:
    tab = visit(page)
    tab.wait_for_selector("#rows .card")
    unnamed = tab.evaluate("""() => [
        ...document.querySelectorAll("button, a, input, select, canvas, img, [role=img], [tabindex]")
      ]
      .filter((one) => !one.closest("dialog:not([open])") && !one.hidden)
      .filter((one) => !(one.textContent.trim() || one.getAttribute("aria-label") || one.alt || one.labels?.length))
      .map((one) => one.outerHTML.slice(0, 90))""")
    assert unnamed == []
    goals = tab.locator("a[href^='#']").evaluate_all("all => all.map(one => one.getAttribute('href').slice(1))")
    assert [goal for goal in goals if not tab.locator(f"[id='{goal}']").count()] == []


def test_a_page_without_pictures_or_scores_still_opens(grid, visit) -> None:
    run = grid(taus=("0", "1"), seeds=(1,), datasets={"mini_templates": 30})
    tab = visit(write_page([RunView.of(run)], run / "report/index.html").path)
    assert tab.locator("#curve-charts svg").count() == 2
    assert tab.locator(".notes li").count() > 0
    tab.locator("select[data-axis=model]").select_option("mini-sd")


def test_several_runs_are_on_one_page(new_run, visit) -> None:
    views = [RunView.of(new_run(name=name, n=6, taus=("0", "1"))) for name in ("first", "second")]
    tab = visit(write_page(views, views[0].path / "both.html").path)
    assert "first, second" in tab.title()
    assert tab.locator("select[data-axis=run] option").all_inner_texts() == ["first", "second"]
    tab.locator("select[data-axis=run]").select_option("second")
    assert tab.evaluate("series().name").startswith("second")
