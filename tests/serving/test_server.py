"""The images API on loopback: what it answers, what it refuses and in which words, and how it ends."""

import base64
import io
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from served import ask, held, served

from serving.server import Limits
from serving.shelf import Shelf

STRATEGY = "cache:similarity=[-0.9, 0.9]:share=[0.34, 0.67]"


@pytest.fixture(scope="module")
def tiny_settings(tiny):
    return {"model": str(tiny.model), "steps": "3", "prior_steps": 2, "strategy": STRATEGY}


@pytest.fixture(scope="module")
def server(tiny_settings):
    with served("cache", limits=Limits(body=20_000, prompt=200), **tiny_settings) as running:
        yield running


@pytest.fixture(scope="module")
def images(server):
    return f"{server.url}/v1/images/generations"


def test_a_picture_comes_with_what_it_took(server, images):
    name, settings = server.engine.cell.source.entry.name, server.engine.cell.source.settings
    size = settings.width, settings.height
    status, headers, document = ask(images, {"prompt": "a red ball", "seed": 1, "size": "{}x{}".format(*size), "n": 1})
    assert status == 200 and headers["x-cache"] == "miss"
    (data,) = document["data"]
    picture = Image.open(io.BytesIO(base64.b64decode(data["b64_json"])))
    assert (picture.format, picture.size) == ("PNG", size)
    first = document["reuse"]
    assert (first["steps"], first["steps_run"], first["steps_skipped"], first["from_request"]) == (3, 3, 0, None)
    assert first["nfe_rows"] == 6 and first["seed"] == 1 and first["seconds"] > 0
    body = {"prompt": "a red ball", "seed": 2, "model": name, "response_format": "b64_json"}
    status, headers, document = ask(images, body)
    hit = document["reuse"]
    assert status == 200 and headers["x-cache"] == hit["cache"] == "hit"
    assert headers["x-request-id"] == hit["request"] != first["request"] == hit["from_request"]
    assert (hit["steps_run"], hit["steps_skipped"], hit["nfe_rows"]) == (1, 2, 2) and hit["similarity"] > 0.9
    off = ask(images, {"prompt": "a red ball", "seed": 2, "reuse": False})
    assert off[1]["x-cache"] == "miss" and off[2]["reuse"]["similarity"] is None


def test_what_other_servers_take_is_taken(images):
    body = {"prompt": "two dogs", "num_inference_steps": 2, "guidance_scale": 2, "negative_prompt": "a cat", "n": 2}
    body |= {"seed": 5, "output_format": "png", "user": "me", "size": "auto", "quality": "auto"}
    status, _, document = ask(images, body)
    assert status == 200 and len(document["data"]) == 2
    assert document["data"][0] != document["data"][1]
    assert document["reuse"]["steps"] == 4


REFUSED = {
    "no prompt": ({}, 422, "prompt"),
    "a prompt that is no text": ({"prompt": 3}, 422, "prompt"),
    "several prompts": ({"prompt": ["a", "b"]}, 422, "prompt"),
    "an empty prompt": ({"prompt": "  "}, 400, "prompt"),
    "a long prompt": ({"prompt": "a" * 201}, 400, "prompt"),
    "a control character": ({"prompt": "a\u0000b"}, 400, "prompt"),
    "another model": ({"prompt": "a", "model": "dall-e-3"}, 404, "model"),
    "another size": ({"prompt": "a", "size": "1024x1024"}, 400, "size"),
    "a URL": ({"prompt": "a", "response_format": "url"}, 400, "response_format"),
    "another format": ({"prompt": "a", "output_format": "webp"}, 400, "output_format"),
    "many pictures": ({"prompt": "a", "n": 5}, 400, "n"),
    "no picture": ({"prompt": "a", "n": 0}, 422, "n"),
    "a negative seed": ({"prompt": "a", "seed": -1}, 422, "seed"),
    "a seed that is text": ({"prompt": "a", "seed": "7"}, 422, "seed"),
    "many steps": ({"prompt": "a", "num_inference_steps": 100_000}, 422, "num_inference_steps"),
    "steps that the scheduler refuses": ({"prompt": "a", "num_inference_steps": 1000, "size": "0x0"}, 400, "size"),
    "idle words": ({"prompt": "a", "negative_prompt": "b", "guidance_scale": 1}, 400, None),
    "a field that is unknown": ({"prompt": "a", "negative_promt": "b"}, 422, "negative_promt"),
    "streaming": ({"prompt": "a", "stream": True}, 422, "stream"),
    "no object": ([1], 422, None),
    "no JSON": (b"prompt=a", 400, None),
    "no number": (b'{"prompt": "a", "guidance_scale": NaN}', 422, "guidance_scale"),
    "half a character": (b'{"prompt": "\\ud800"}', 400, None),
    "deep nesting": (b'{"prompt": ' + b"[" * 9000 + b"]" * 9000 + b"}", 400, None),
    "a large body": ({"prompt": "a", "user": "x" * 30_000}, 413, None),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_request_is_told_in_the_clients_shape_and_harms_nobody(server, images, what):
    body, expected, param = REFUSED[what]
    status, _, document = ask(images, body)
    assert status == expected, document
    assert set(document) == {"error"} and set(document["error"]) == {"message", "type", "param", "code"}
    assert document["error"]["type"] == "invalid_request_error" and document["error"]["param"] == param
    assert 5 < len(document["error"]["message"]) < 500
    assert ask(f"{server.url}/health")[:1] == (200,)


def test_a_near_name_is_offered(images):
    assert (
        "did you mean 'negative_prompt'?" in ask(images, {"prompt": "a", "negative_promt": "b"})[2]["error"]["message"]
    )


def test_what_a_page_in_a_browser_could_send_is_refused(images):
    assert ask(images, {"prompt": "a"}, Content_Type="text/plain")[0] == 415
    status, _, document = ask(images, {"prompt": "a"}, Host="somewhere.example")
    assert status == 403 and document["error"]["code"] == "wrong_host"


def test_a_body_of_untold_length_is_bounded(server):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        head = "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"1000\r\n" + b"a" * 4096 + b"\r\n"
        connection.sendall(chunk * 6)
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_who_hangs_up_harms_nobody_and_is_no_error(server, caplog):
    host, port = server.url.removeprefix("http://").split(":")
    head = "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for sent in (f"{head}Content-Length: 50\r\n\r\nabc".encode(), b"\x00\xff" * 500, b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(sent)
    assert ask(f"{server.url}/health")[0] == 200
    time.sleep(0.2)  # who hung up is noticed later
    assert not [record for record in caplog.records if record.exc_info]


def test_it_tells_its_model_and_what_it_did(server, images):
    name = server.engine.cell.source.entry.name
    listed = ask(f"{server.url}/v1/models")[2]
    assert listed["object"] == "list" and [one["id"] for one in listed["data"]] == [name]
    assert ask(f"{server.url}/v1/models/{name}")[2]["object"] == "model"
    assert ask(f"{server.url}/v1/models/another")[0] == 404
    assert ask(f"{server.url}/v1/nothing")[2]["error"]["code"] == "unknown_url"
    assert ask(images)[0] == 405
    before = ask(f"{server.url}/metrics")[2]
    assert ask(images, {"prompt": "a lamp", "seed": 9})[0] == 200
    after = ask(f"{server.url}/metrics")[2]
    assert (after["requests"], after["pictures"]) == (before["requests"] + 1, before["pictures"] + 1)
    assert after["rows"] > before["rows"] and after["rows_alone"] - before["rows_alone"] == 6
    assert after["failed"] == 0 and after["reuse"] == "cache"


def test_clients_at_once_are_all_served(server, images):
    bodies = [{"prompt": f"a thing of kind {number}", "seed": number} for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda body: ask(images, body), bodies))
    assert [answer[0] for answer in answers] == [200] * 12
    assert len({answer[2]["reuse"]["request"] for answer in answers}) == 12


def test_more_than_may_wait_are_told_so_and_what_is_made_is_finished(tiny_settings):
    entered, go_on, slow = held()
    with ThreadPoolExecutor(4) as pool, served("cache", shelf=slow, queue=1, batch=1, **tiny_settings) as server:
        images, body = f"{server.url}/v1/images/generations", {"prompt": "a fox", "seed": 1}
        running = pool.submit(ask, images, body)
        assert entered.wait(60)
        waiting = pool.submit(ask, images, body)
        while not server.engine.counts.waiting:
            pass
        status, headers, document = ask(images, body)
        assert (status, headers["retry-after"], document["error"]["code"]) == (429, "1", "queue_full")
        assert ask(f"{server.url}/health")[0] == 200, "whoever waits does not hold the server"
        server.engine.close()
        assert ask(f"{server.url}/health")[0] == 503
        assert ask(images, body)[2]["error"]["code"] == "closing"
        assert waiting.result(60)[0] == 503
        threading.Timer(0.2, go_on.set).start()
    assert running.result(60)[0] == 200


def test_what_fails_inside_is_told_without_its_insides(tiny_settings):
    class Failing(Shelf):
        def arrive(self, row, name, making):
            raise RuntimeError("a path of ours: /secret")

    told = []
    with served("cache", shelf=Failing, tell=told.append, **tiny_settings) as server:
        images = f"{server.url}/v1/images/generations"
        status, _, document = ask(images, {"prompt": "a fox"})
        assert status == 500 and document["error"]["type"] == "server_error"
        assert "secret" not in json.dumps(document) and "secret" in "".join(told)
        assert ask(images, {"prompt": "a fox", "reuse": False})[0] == 200
