"""`bench drive` against servers on loopback: a whole drive of a tiny model, going on, the alarm, mistakes."""

import json

import pandas as pd
import pytest
from hostile_images import document, images, png, send, well
from served import served

from serving.drive import Drive
from serving.stream import Stream

CARD = "reusebench-v1/mini-sd-styles"
FEW = ("--task", CARD, "--requests", 24, "--encoder", "words", "--size", "any", "--out", "out")


def test_a_whole_drive_of_a_tiny_model_and_the_same_again(bench, tiny, tmp_path):
    scorers = ("--metric", f"vqa={tiny.vqa}", "--metric", f"clip_diversity={tiny.clip}")
    settings = {
        "model": str(tiny.model),
        "steps": "4",
        "prior_steps": 2,
        "strategy": "cache:similarity=[-0.99]:share=[0.5]",
    }
    with served("cache", **settings) as server:
        asked = ("drive", "--endpoint", server.url, *FEW, *scorers, "--order", "zipf", "--json")
        result = bench(*asked)
        assert result.exit_code in (0, 1), result.output
        made = server.engine.counts.requests
        again = bench(*asked)
        assert server.engine.counts.requests == made == 3 * 24, "what was answered is not asked again"
    found, twice = json.loads(result.stdout), json.loads(again.stdout)
    assert found == twice
    assert (found["card"], found["judged"], found["requests"]) == (CARD, 24, 24)
    assert found["loads"]["off"]["hits"] == found["loads"]["control"]["hits"] == 0
    assert found["loads"]["on"]["hits"] > 12
    assert found["loads"]["on"]["said"]["reuse.steps_skipped"] > 0.9
    assert all(load["answered"] == 24 and load["seconds"][0] <= load["seconds"][2] for load in found["loads"].values())
    assert [one["scorer"] for one in found["scores"]] == ["vqa"]
    assert found["scores"][0]["floor"] > 0, "the short audit measured it"
    assert found["audits"]["vqa"]
    assert {"fell", "copy"} <= {one["kind"] for one in found["alarm"]["signals"]}
    kept = Drive.read(tmp_path / "out")
    assert kept.model_dump(mode="json") == {name: value for name, value in found.items() if name != "folder"}
    assert Stream.read(tmp_path / "out" / "requests.jsonl").hash == found["stream_sha256"]
    table = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert len(table) == 24
    assert table["on.hit"].sum() == found["loads"]["on"]["hits"]
    difference = (table["on.vqa"] - table["off.vqa"]).mean()
    assert found["scores"][0]["on"]["difference"]["value"] == pytest.approx(difference)
    assert (tmp_path / "out" / "worst.png").stat().st_size > 100
    printed = bench(*asked[:-1]).output
    assert "with reuse" in printed
    assert "out/" in printed


def copying(handler, body, seen):
    """Answer every third request with one and the same picture where reuse is on."""
    if body.get("reuse", True) and len(seen.bodies) % 3 == 0:
        send(handler, document(png(0)))
    else:
        well(handler, body, seen)


def test_a_server_that_hands_out_others_pictures_raises_the_alarm_and_the_exit_code(bench, tmp_path):
    with images(copying) as server:
        result = bench(
            "drive", "--endpoint", server.url, *FEW[:3], 60, *FEW[4:], "--metric", "none", "--concurrency", 1
        )
    assert result.exit_code == 1, result.output
    assert "ALARM" in result.output
    assert "copies of other prompts' pictures" in result.output
    flagged = Drive.read(tmp_path / "out").alarm.flagged
    assert len(flagged) >= 15
    assert {(tmp_path / "out" / "on" / f"{one.id:05d}.png").read_bytes() for one in flagged} == {png(0)}


def test_two_servers_that_do_the_same_raise_nothing(bench, tmp_path):
    with images() as first, images() as second:
        urls = ("--endpoint", first.url, "--baseline-endpoint", second.url)
        result = bench("drive", *urls, *FEW, "--metric", "none", "--arrivals", "burst", "--rate", 500)
        assert result.exit_code == 0, result.output
        assert len(first.bodies) == 24
        assert len(second.bodies) == 48
    assert not any("reuse" in body for body in [*first.bodies, *second.bodies])
    assert "no alarm" in result.output


def test_time_that_is_over_is_said_and_the_rest_comes_later(bench):
    with images() as server:
        asked = ("drive", "--endpoint", server.url, *FEW, "--metric", "none")
        result = bench(*asked, "--at-most", 0.0001)
        assert result.exit_code == 2
        assert "it goes on" in result.output
        result = bench(*asked)
        assert result.exit_code == 0, result.output


def test_another_drive_does_not_go_on_in_the_folder_of_this_one(bench, tmp_path):
    with images() as server:
        asked = ("drive", "--endpoint", server.url, *FEW, "--metric", "none")
        assert bench(*asked).exit_code == 0
        result = bench(*asked, "--stream-seed", 1)
        assert result.exit_code == 2
        assert "differs in stream" in result.output
        replayed = bench(*asked, "--out", "other", "--replay", "out/requests.jsonl", "--json")
        assert replayed.exit_code == 0, replayed.output
    assert json.loads(replayed.stdout)["stream_sha256"] == Drive.read(tmp_path / "out").stream_sha256


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--endpoint", "localhost", "--task", CARD), "http://localhost:8000"),
        (("--endpoint", "http://localhost:1", "--task", "no-such-card"), "no-such-card"),
        (("--endpoint", "http://localhost:1", "--task", CARD, "--off", "{}"), "nothing turns reuse off"),
        (("--endpoint", "http://localhost:1", "--task", CARD, "--off", "reuse"), "no JSON object"),
        (("--endpoint", "http://localhost:1", "--task", CARD, "--size", "big"), "512x512"),
        (("--endpoint", "http://localhost:1", "--task", CARD, "--rate", "-1"), "--rate"),
        (("--endpoint", "http://localhost:1", "--task", CARD, "--concurrency", "0"), "--concurrency"),
        (("--endpoint", "http://localhost:1", "--task", CARD, "--api-key-env", "NOT_SET_ANYWHERE"), "NOT_SET_ANYWHERE"),
        (("--endpoint", "http://localhost:1", "--task", CARD, "--replay", "nothing.jsonl"), "nothing.jsonl"),
        (("--endpoint", "http://localhost:1", "--task", CARD, "--metric", "none"), "connection failed"),
    ],
)
def test_mistakes_are_told_in_a_sentence(bench, arguments, said):
    result = bench("drive", *arguments, "--encoder", "words")
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert "Traceback" not in result.output
