"""`bench generate`: where pictures go, what their files are called and say, and what lies beside them."""

import json
import sys
from collections.abc import Iterator
from xml.etree import ElementTree

import boto3
import fsspec
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from generators.sharing.plan import SharingPlan

COMMENT, EXIF, DESCRIPTION = 0x9286, 0x8769, 0x010E
DC = "{http://purl.org/dc/elements/1.1/}"
OURS = "{https://github.com/reusebench/reusebench/ns/1.0/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
ROWS = [("F-1", "a red fox"), ("F-2", "ein 水彩 füchs"), ("C-1", "a blue car"), ("C-2", "a blue car")]
TABLE = "\n".join(["sku,prompt,negative_prompt", *(f"{sku},{prompt},snow" for sku, prompt in ROWS), ""])


@pytest.fixture
def arguments(tiny, tmp_path):
    (tmp_path / "mine.csv").write_text(TABLE, encoding="utf-8")
    given = ["generate", "--model", tiny.model, "--steps", 3, "--prior-steps", 2, "--guidance", 2, "--tau", 0.8]
    return [*given, "--prompts", "mine.csv", "--name-by", "SKU", "--name", "night"]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server on this machine, with a bucket called ``shop``."""
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def shop(server, monkeypatch):
    """The bucket, as its owner sees it without us."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    bucket = boto3.resource("s3").Bucket("shop")
    bucket.create()
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()
    fsspec.filesystem("s3").clear_instance_cache()


def objects(bucket) -> dict[str, bytes]:
    return {one.key: one.get()["Body"].read() for one in bucket.objects.all()}


def pictures(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "images").iterdir())}


def steps_in_common(plan: SharingPlan, one: int, other: int) -> int:
    """At how many steps the paths of two prompts are the same nodes."""

    def path(prompt: int) -> set[int]:
        nodes, node = set(), int(plan.output[prompt])
        while node >= 0:
            nodes.add(node)
            node = int(plan.source[node])
        return nodes

    return sum(int(plan.stop[node] - plan.first[node]) for node in path(one) & path(other))


def test_files_are_named_by_a_column_say_how_they_were_made_and_are_told_in_a_table(bench, arguments, tmp_path):
    result = bench(*arguments)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "generated/night"
    assert list(pictures(folder)) == ["C-1.png", "C-2.png", "F-1.png", "F-2.png"]
    assert "(images/, manifest.parquet, grid.png, dendrogram.png)" in result.stdout
    plan, identity = SharingPlan.load(folder / "plan.npz"), json.loads((folder / "identity.json").read_text())
    with Image.open(folder / "images/F-2.png") as picture:
        picture.load()
        text = picture.text
    prompt, negative, last = text["parameters"].split("\n")
    assert (prompt, negative) == ("ein 水彩 füchs", "Negative prompt: snow")
    assert last.startswith("Steps: 3, Sampler: DDPMScheduler, CFG scale: 2, Seed: 42, Size: 32x32, Model: ")
    said = json.loads(text["reusebench"])
    assert (said["tau"], said["weights"], said["prompt"]) == ("0.8", identity["weights"], prompt)
    assert said["path"].endswith("(alone)")
    assert text["Description"] == prompt
    assert text["Software"].startswith("reusebench ")
    assert ElementTree.fromstring(text["XML:com.adobe.xmp"]).find(f".//{DC}description//{RDF}li").text == prompt

    rows = pq.read_table(folder / "manifest.parquet")
    by_id = {row["id"]: row for row in rows.to_pylist()}
    assert rows.column("id").to_pylist() == ["F-1", "F-2", "C-1", "C-2"]
    assert by_id["F-2"]["file"] == "images/F-2.png"
    assert by_id["F-2"]["negative_prompt"] == "snow"
    assert sum(rows.column("steps_shared").to_pylist()) == pytest.approx(plan.node_steps)
    assert set(rows.column("steps_alone").to_pylist()) == {3}
    ids = rows.column("id").to_pylist()
    for number, name in enumerate(ids):
        told = {one["id"]: one["steps"] for one in by_id[name]["siblings"]}
        shared = {other: steps_in_common(plan, number, place) for place, other in enumerate(ids) if other != name}
        assert told == {other: steps for other, steps in shared.items() if steps}
        assert list(told.values()) == sorted(told.values(), reverse=True)
    assert any(by_id[name]["siblings"] for name in ids)
    assert set(rows.column("duplicate_of").to_pylist()) == {None}
    assert json.loads(rows.schema.metadata[b"reusebench"])["run"] == said["run"]


@pytest.mark.parametrize(("asked", "suffix"), [(["webp"], ".webp"), (["jpeg", "--quality", 97], ".jpg")])
def test_jpeg_and_webp_say_it_in_exif_and_xmp(bench, arguments, tmp_path, asked, suffix):
    result = bench(*arguments, "--format", *asked, "--no-grid")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "generated/night"
    assert list(pictures(folder)) == [f"{name}{suffix}" for name in ("C-1", "C-2", "F-1", "F-2")]
    assert not (folder / "grid.png").exists()
    with Image.open(folder / f"images/F-2{suffix}") as picture:
        exif, xmp = picture.getexif(), picture.info["xmp"]
    comment = exif.get_ifd(EXIF)[COMMENT]
    assert comment.startswith(b"UNICODE\0")
    parameters = comment[8:].decode("utf-16-be")
    assert parameters.startswith("ein 水彩 füchs\nNegative prompt: snow\nSteps: 3, ")
    described = ElementTree.fromstring(xmp.decode()).find(f".//{RDF}Description")
    assert described.get(f"{OURS}tau") == "0.8"
    assert described.get(f"{OURS}seed") == "42"
    assert described.find(f".//{RDF}li").text == "ein 水彩 füchs"


def test_equal_pictures_are_told_though_their_files_differ(bench, tmp_path):
    given = [argument for prompt in ("a fox", "a car", "a fox") for argument in ("--prompt", prompt)]
    asked = ["generate", "--model", "mini-sd", "--scheduler", "DDIMScheduler", "--steps", 2, *given, "--tau", 1]
    assert bench(*asked, "--format", "jpeg", "--name", "twice").exit_code == 0
    folder = tmp_path / "generated/twice"
    rows = pq.read_table(folder / "manifest.parquet").to_pylist()
    assert [row["duplicate_of"] for row in rows] == [None, None, "images/00000.jpg"]
    assert rows[0]["sha256"] != rows[2]["sha256"], "each says which node it ends with"
    (folder / "pictures.jsonl").write_text("damaged")
    again = bench(*asked, "--format", "jpeg", "--name", "twice")
    assert again.exit_code == 0, again.output
    assert "made again" not in again.stderr
    assert pq.read_table(folder / "manifest.parquet").to_pylist() == rows


def test_another_format_of_what_is_there_is_refused_and_nothing_is_mixed(bench, arguments, tmp_path):
    assert bench(*arguments).exit_code == 0
    before = pictures(tmp_path / "generated/night")
    numbered = [argument for argument in arguments if argument not in ("--name-by", "SKU")]
    for asked, says in (([*arguments, "--format", "webp"], "--format is png"), (numbered, "--name-by is SKU")):
        other = bench(*asked)
        assert other.exit_code == 2
        assert "differ in --" in other.stderr
        assert says in other.stderr
    assert pictures(tmp_path / "generated/night") == before
    (tmp_path / "mine.csv").write_text(TABLE.replace("F-1", "F-9"), encoding="utf-8")
    assert "the names that --name-by reads" in bench(*arguments).stderr
    assert pictures(tmp_path / "generated/night") == before


def test_pictures_go_to_a_bucket_and_what_is_lost_there_is_made_again(bench, arguments, shop, tmp_path):
    asked = [*arguments, "--out", "s3://shop/catalogue", "--format", "webp"]
    assert bench(*arguments, "--format", "webp").exit_code == 0
    here = pictures(tmp_path / "generated/night")
    result = bench(*asked)
    assert result.exit_code == 0, result.output
    assert "s3://shop/catalogue/night/ (images/, manifest.parquet, grid.png, dendrogram.png)" in result.stdout
    there = objects(shop)
    assert {key.rpartition("/")[2]: content for key, content in there.items() if "/images/" in key} == here
    rest = {"manifest.parquet", "grid.png", "dendrogram.png", "identity.json", "delivery.json"}
    assert {key.removeprefix("catalogue/night/") for key in there if "/images/" not in key} >= rest
    state = next(line.split()[1] for line in result.stdout.splitlines() if line.startswith("state"))
    assert not list((tmp_path / state / "images").glob("*")), "pictures are there once"

    changed = {one.key: one.last_modified for one in shop.objects.filter(Prefix="catalogue/night/images/")}
    assert bench(*asked).exit_code == 0
    assert {one.key: one.last_modified for one in shop.objects.filter(Prefix="catalogue/night/images/")} == changed

    kept = {one.last_modified for one in shop.objects.filter(Prefix="catalogue/night/images/F-2")}
    shop.Object("catalogue/night/images/F-1.webp").delete()
    damaged = bytearray(there["catalogue/night/images/C-1.webp"])
    damaged[-3] ^= 1
    shop.put_object(Key="catalogue/night/images/C-1.webp", Body=bytes(damaged))
    again = bench(*asked)
    assert again.exit_code == 0, again.output
    assert "s3://shop/catalogue/night/images/F-1.webp is missing" in again.stderr
    assert objects(shop) == there
    assert {one.last_modified for one in shop.objects.filter(Prefix="catalogue/night/images/F-2")} == kept

    other = bench(*asked, "--work", "elsewhere", "--negative-prompt", "rain", "--seed", 1)
    assert other.exit_code == 2
    assert "they differ in what was asked for" in other.stderr
    assert objects(shop) == there


def test_an_interrupted_delivery_goes_on(bench, arguments, shop, monkeypatch):
    asked = [*arguments, "--out", "s3://shop/catalogue", "--work", "state"]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sweeps.generate.finish", interrupted)
        assert bench(*asked).exit_code == 130
    first = {one.key: one.last_modified for one in shop.objects.filter(Prefix="catalogue/night/images/")}
    assert len(first) == 4
    shop.Object("catalogue/night/images/F-2.png").delete()
    del first["catalogue/night/images/F-2.png"]
    result = bench(*asked)
    assert result.exit_code == 0, result.output
    after = {one.key: one.last_modified for one in shop.objects.filter(Prefix="catalogue/night/images/")}
    assert len(after) == 4
    assert {key: after[key] for key in first} == first, "what is whole there is not written again"


def test_what_a_bucket_refuses_is_told_in_a_line_before_anything_is_denoised(bench, arguments, shop, monkeypatch):
    denoised = []
    monkeypatch.setattr("generators.executor.execute", lambda *_, **__: denoised.append(1))
    missing = bench(*arguments, "--out", "s3://nowhere/catalogue")
    assert missing.exit_code == 2
    assert "cannot write s3://nowhere/catalogue/night/delivery.json" in missing.stderr
    assert "make the bucket" in missing.stderr
    shop.put_object(Key="catalogue/night/mine.txt", Body=b"mine")
    full = bench(*arguments, "--out", "s3://shop/catalogue", "--work", "full")
    assert full.exit_code == 2
    assert "s3://shop/catalogue/night is not empty" in full.stderr
    monkeypatch.setitem(sys.modules, "s3fs", None)
    absent = bench(*arguments, "--out", "s3a://shop/other", "--work", "other")
    assert absent.exit_code == 2
    assert not denoised
    for result in (missing, full, absent):
        assert result.stderr.count("\n") <= 3
        assert "Traceback" not in result.output


def test_a_password_in_an_address_is_never_printed(bench, arguments, tmp_path):
    result = bench(*arguments, "--out", "nosuch://me:hunter2pass@host/pictures", "--work", "state")
    assert result.exit_code == 2
    assert "nosuch://***@host/pictures/night" in result.stderr
    assert "hunter2pass" not in result.output
    held = [path.read_text(errors="replace") for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert not any("hunter2pass" in text for text in held)


def test_memory_takes_them_too_and_a_store_without_hashes_is_read_back(bench, arguments):
    asked = [*arguments, "--out", "memory://shop"]
    memory = fsspec.filesystem("memory")
    memory.rm("/shop", recursive=True) if memory.exists("/shop") else None
    assert bench(*asked).exit_code == 0
    whole = {path: memory.cat_file(path) for path in memory.find("/shop")}
    assert "/shop/night/images/C-1.png" in whole
    memory.pipe_file("/shop/night/images/C-1.png", whole["/shop/night/images/C-1.png"][:-1] + b"?")
    again = bench(*asked)
    assert "memory://shop/night/images/C-1.png is damaged: made again" in again.stderr
    assert {path: memory.cat_file(path) for path in memory.find("/shop")} == whole
    memory.rm("/shop", recursive=True)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--format", "gif"], "--format gif is no format"),
        (["--quality", 90], "--quality 90 is for webp and jpeg"),
        (["--format", "jpeg", "--quality", 101], "out of range"),
        (["--work", "state"], "--work is for pictures that go to an address"),
        (["--name-by", "colour"], "colour"),
        (["--name-by", "negative_prompt"], "line 3 has 'snow', and so has line 2"),
    ],
)
def test_mistakes_end_before_anything_is_made(bench, arguments, tmp_path, more, says):
    result = bench(*arguments, *more)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (tmp_path / "generated").exists()


def test_a_long_prompt_that_a_jpeg_file_has_no_room_for_is_refused_first(bench, arguments, tmp_path):
    row = json.dumps({"sku": "L", "prompt": "狐" * 9_000, "negative_prompt": "雪" * 9_999}, ensure_ascii=False)
    (tmp_path / "mine.jsonl").write_text(f"{row}\n", encoding="utf-8")
    asked = [{"mine.csv": "mine.jsonl"}.get(argument, argument) for argument in arguments]
    result = bench(*asked, "--format", "jpeg")
    assert result.exit_code == 2, result.output
    assert "prompt 1 and its negative prompt take" in result.stderr
    assert bench(*asked, "--format", "webp", "--name", "webp").exit_code == 0


def test_what_an_earlier_version_made_is_kept_and_gets_a_table(bench, arguments, tmp_path):
    asked = [argument for argument in arguments if argument not in ("--name-by", "SKU")]
    assert bench(*asked).exit_code == 0
    folder = tmp_path / "generated/night"
    for name in ("delivery.json", "pictures.jsonl", "manifest.parquet", "generation.json"):
        (folder / name).unlink()
    result = bench(*asked)
    assert result.exit_code == 0, result.output
    with Image.open(folder / "images/00000.png") as picture:
        picture.load()
        assert picture.text == {}
    rows = pq.read_table(folder / "manifest.parquet").to_pylist()
    assert [row["file"] for row in rows] == [f"images/{number:05d}.png" for number in range(4)]
    assert "holds pictures whose files are other ones" in bench(*asked, "--format", "jpeg").stderr


def test_pictures_are_scored_by_their_table(bench, arguments, tiny, tmp_path):
    assert bench(*arguments, "--format", "jpeg").exit_code == 0
    folder, scorer = tmp_path / "generated/night", f"vqa={tiny.vqa}"
    for name, more in (("own", []), ("given", ["--prompts", "mine.csv"])):
        result = bench("score", folder, "--metric", scorer, "--out", f"scores-{name}", *more)
        assert result.exit_code == 0, result.output
        assert "manifest.parquet: images/F-1.jpg 'a red fox'" in result.stderr
        lines = (tmp_path / f"scores-{name}/scores.csv").read_text(encoding="utf-8").splitlines()
        assert [line.split(",")[1] for line in lines[1:]] == [f"images/{n}.jpg" for n in ("F-1", "F-2", "C-1", "C-2")]
