"""The client against a loopback server that is well or ill: what is kept, what fails and why, what is bounded."""

import itertools
import json
import socket
import threading
import time

import pytest
from hostile_images import document, images, png, send, well

from common.errors import UserError
from serving.client import Answer, Client, Limits, Server, api_key, endpoint, hit, json_fields
from serving.stream import Stream, StreamSpec

KEY = "sk-very-secret-0123456789"


def stream(n=4, **settings):
    return Stream.of(["a red fox", "a red wolf", "a blue car"], StreamSpec(requests=n, **settings)).requests


def ask(folder, url, requests=None, *, key=None, size=(16, 16), seed_field="seed", fields=None, until=None, **limits):
    requests = requests or stream()
    server = Server(url=endpoint(url), size=size, seed_field=seed_field, fields=fields or {})
    client = Client(server, folder, Limits(**{"timeout": 5, **limits}), key)
    return client.ask(requests, [one.seed for one in requests], until=until)


def test_answers_are_kept_with_pictures_hits_and_times(tmp_path):
    with images() as server:
        requests = stream(6)
        answers = ask(tmp_path, server.url, requests, concurrency=1, fields={"steps": 3})
    assert [one.id for one in answers] == list(range(6))
    assert [one.hit for one in answers] == [False, False, True] * 2
    assert all(0 <= one.at <= one.sent <= one.done and not one.failed for one in answers)
    for one, request in zip(answers, requests, strict=True):
        assert (tmp_path / one.file).read_bytes() == png(request.seed)
        assert Answer.read(tmp_path, one.id) == one
    body = server.bodies[0]
    assert body["prompt"] == requests[0].prompt
    assert (body["seed"], body["size"], body["steps"], body["n"]) == (requests[0].seed, "16x16", 3, 1)


def test_fields_can_be_taken_away_and_seeds_left_out(tmp_path):
    with images() as server:
        ask(tmp_path, server.url, seed_field=None, fields={"response_format": None, "quality": "low"})
    assert all({"prompt", "n", "size", "quality"} == body.keys() for body in server.bodies)


def test_a_second_run_asks_for_what_is_missing_alone(tmp_path):
    with images() as server:
        requests = stream(6)
        first = ask(tmp_path, server.url, requests)
        (tmp_path / "00002.json").unlink()
        (tmp_path / "00003.json").write_text(
            (tmp_path / "00003.json").read_text().replace('"attempts": 1', '"attempts": 2')
        )
        (tmp_path / "00004.png").write_bytes(png(99))
        before = len(server.bodies)
        again = ask(tmp_path, server.url, requests)
    assert sorted(body["seed"] for body in server.bodies[before:]) == sorted(requests[i].seed for i in (2, 3, 4))
    assert [one.id for one in again] == list(range(6))
    assert [one.begun for one in again] == [0, 0, 1, 1, 1, 0]
    assert again[0] == first[0]


def test_no_more_requests_than_said_are_under_way(tmp_path):
    def slow(handler, body, seen):
        time.sleep(0.05)
        well(handler, body, seen)

    with images(slow) as server:
        ask(tmp_path, server.url, stream(9), concurrency=3)
    assert server.most_at_once == 3


def test_an_open_loop_sends_on_time_and_counts_waiting_for_a_slow_server(tmp_path):
    def slow(handler, body, seen):
        time.sleep(0.2)
        well(handler, body, seen)

    requests = stream(5, arrivals="poisson", rate=50)
    with images(slow) as server:
        answers = ask(tmp_path, server.url, requests, concurrency=1)
    for one, request in zip(answers, requests, strict=True):
        assert one.at == pytest.approx(request.at, abs=0.05)
    assert answers[-1].seconds > 0.7, "the last one waited for those before it"
    assert answers[-1].sent > answers[-1].at


def test_a_busy_server_is_asked_again(tmp_path):
    def busy(handler, body, seen):
        if len(seen.bodies) < 3:
            send(handler, b"{}", 429 if len(seen.bodies) == 1 else 503, {"Retry-After": "0"})
        else:
            well(handler, body, seen)

    with images(busy) as server:
        answers = ask(tmp_path, server.url, concurrency=1)
    assert [one.attempts for one in answers] == [3, 1, 1, 1]
    assert not any(one.failed for one in answers)


def test_a_server_that_stays_busy_fails_with_its_own_words(tmp_path):
    content = json.dumps({"error": {"message": f"queue is full,\nkey {KEY}"}}).encode()
    with images(lambda handler, body, seen: send(handler, content, 429, {"Retry-After": "0"})) as server:
        answers = ask(tmp_path, server.url, attempts=2, key=KEY)
    assert {one.attempts for one in answers} == {2}
    assert {one.failed for one in answers} == {"the server answered 429: queue is full, key ***"}


def bad_base64(handler, body, seen):
    send(handler, json.dumps({"data": [{"b64_json": "!!!"}]}).encode())


def elsewhere(status):
    def answer(handler, body, seen):
        send(handler, b"", status, {"Location": "http://169.254.1.1/steal"})

    return answer


def url_elsewhere(handler, body, seen):
    send(handler, json.dumps({"data": [{"url": "http://169.254.1.1/picture.png"}]}).encode())


def dribble(handler, body, seen):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def endless(handler, body, seen):
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65536)


def hang_up(handler, body, seen):
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def compressed(handler, body, seen):
    send(handler, b"\x1f\x8b" + b"\0" * 50, headers={"Content-Encoding": "gzip"})


def loop(handler, body, seen):
    send(handler, b"", 307, {"Location": seen.url + "/v1/again"})


ILL = {
    "garbage": (lambda h, b, s: send(h, b"\xff\xfe<html>"), "no JSON"),
    "deep": (lambda h, b, s: send(h, b"[" * 90_000), "no JSON"),
    "no data": (lambda h, b, s: send(h, b'{"data": {"b64_json": "x"}}'), "no data"),
    "a number": (lambda h, b, s: send(h, b"7"), "no data"),
    "no base64": (bad_base64, "no base64"),
    "no picture": (lambda h, b, s: send(h, document(b"GIF89a nothing")), "no PNG, JPEG or WebP"),
    "half a picture": (lambda h, b, s: send(h, document(png(1)[:400])), "cannot be read"),
    "another size": (lambda h, b, s: send(h, document(png(1, (16, 17)))), "16x17, 16x16 was asked for"),
    "error": (lambda h, b, s: send(h, b'{"detail": "boom"}', 500), "answered 500: boom"),
    "another server": (elsewhere(307), "another server"),
    "another server, 302": (elsewhere(302), "another server"),
    "a url elsewhere": (url_elsewhere, "another server"),
    "slow": (dribble, "within 0.5 seconds"),
    "endless": (endless, "more than 100,000 bytes"),
    "hangs up": (hang_up, "connection failed"),
    "compressed": (compressed, "compressed"),
    "redirects for ever": (loop, "more than 3 times"),
}


@pytest.mark.parametrize("name", ILL)
def test_what_is_wrong_with_an_answer_is_a_failed_request_with_its_reason(tmp_path, name):
    answer, reason = ILL[name]
    with images(answer) as server:
        answers = ask(tmp_path, server.url, stream(2), timeout=0.5 if name == "slow" else 5, most_bytes=100_000)
    assert [reason in one.failed for one in answers] == [True, True], [one.failed for one in answers]
    assert not list(tmp_path.glob("*.png"))
    assert Answer.read(tmp_path, 0) == answers[0]


def test_a_redirect_within_the_server_and_a_url_there_are_followed(tmp_path):
    def answer(handler, body, seen):
        if handler.command == "GET":
            send(handler, png(5))
        elif handler.path == "/v1/images/generations":
            send(handler, b"", 308, {"Location": "/v2/images"})
        else:
            send(handler, json.dumps({"data": [{"url": "/pictures/1.png"}]}).encode())

    with images(answer) as server:
        (one, _) = ask(tmp_path, server.url, stream(2), concurrency=1)
    assert one.failed is None
    assert (tmp_path / one.file).read_bytes() == png(5)
    assert server.paths[:3] == ["/v1/images/generations", "/v2/images", "/pictures/1.png"]
    assert server.bodies[1] == server.bodies[0]


def test_the_key_is_sent_and_is_in_no_file(tmp_path):
    def echo(handler, body, seen):
        send(handler, document(png(1), cache={"key": handler.headers["Authorization"]}))

    with images(echo) as server:
        ask(tmp_path, server.url, key=KEY)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert not any(KEY.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_a_server_that_fails_ten_times_in_a_row_is_left_alone_and_asked_anew_later(tmp_path):
    ill = True

    def answer(handler, body, seen):
        if ill and len(seen.bodies) > 2:
            send(handler, b"{}", 500)
        else:
            well(handler, body, seen)

    with images(answer) as server:
        with pytest.raises(UserError, match="one after the other: the server answered 500"):
            ask(tmp_path, server.url, stream(30), concurrency=2)
        assert len(server.bodies) < 16
        ill = False
        assert not any(one.failed for one in ask(tmp_path, server.url, stream(30)))


def test_where_nobody_listens_is_said(tmp_path):
    with images() as server:
        url = server.url
    with pytest.raises(UserError, match="connection failed"):
        ask(tmp_path, url, stream(30))


def test_the_time_is_over_and_the_rest_is_asked_later(tmp_path):
    go_on, numbers = threading.Event(), itertools.count()

    def held(handler, body, seen):
        assert next(numbers) < 3 or go_on.wait(60)
        well(handler, body, seen)

    with images(held) as server:
        first = ask(tmp_path, server.url, stream(20), concurrency=1, until=time.monotonic() + 3)
        go_on.set()
        assert 1 <= len(first) <= 3
        assert not any(one.failed for one in first)
        assert len(ask(tmp_path, server.url, stream(20), concurrency=8)) == 20


@pytest.mark.parametrize(
    "text",
    ["localhost:8000", "ftp://here", "http://", "http://me:word@here", "http://here/?key=1", "http://here:99999999"],
)
def test_what_is_no_endpoint_is_refused(text):
    with pytest.raises(UserError) as refused:
        endpoint(text)
    assert "me:word" not in str(refused.value)


def test_a_key_that_is_not_there_is_told_by_its_variable(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(UserError, match="NO_SUCH_KEY"):
        api_key("NO_SUCH_KEY")
    monkeypatch.setenv("NO_SUCH_KEY", KEY)
    assert api_key("NO_SUCH_KEY") == KEY


@pytest.mark.parametrize("text", ["[1]", "reuse=false", "{"])
def test_fields_are_a_json_object(text):
    with pytest.raises(UserError, match="--off"):
        json_fields(text, "--off")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"x-cache": "Hit from cloudfront"}, True),
        ({"cf-cache-status": "MISS"}, False),
        ({"x-cache-hits": "0"}, False),
        ({"usage.cached": "true"}, True),
        ({"reuse.cache": "miss", "reuse.steps": "20"}, False),
        ({"x-cache": "MISS, HIT"}, False),
        ({"x-cache": "miss", "meta.cache_hit": "true"}, True),
        ({"cache-control": "no-store", "reuse.seed": "17", "cache.size": "1000"}, None),
    ],
)
def test_hits_are_read_by_one_rule(said, expected):
    assert hit(said) is expected
