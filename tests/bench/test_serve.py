"""`bench serve` as a process of its own."""

import json
import signal

import pytest
from served import ask


def test_it_serves_on_a_free_port_and_ends_in_order(start, tiny):
    process = start(
        "serve", "--model", tiny.model, "--steps", 3, "--prior-steps", 2, "--reuse", "cache", "--port", 0, "--json"
    )
    try:
        told = json.loads(process.stdout.readline())
        url = told.pop("url")
        assert told == {"model": str(tiny.model), "reuse": "cache", "strategy": "cache"}
        assert url.startswith("http://127.0.0.1:")
        status, headers, document = ask(f"{url}/v1/images/generations", {"prompt": "a red fox", "seed": 1})
        assert status == 200 and headers["x-cache"] == "miss" and len(document["data"]) == 1
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert f"serving {tiny.model} on {url} (reuse by cache, tau 1)" in said
    assert said.rstrip().endswith("ended") and "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "--public"),
        (["--reuse", "cache", "--strategy", "ward-cosine"], "no rules for requests one by one"),
        (["--model", "mini-sd", "--reuse", "cache", "--strategy", "modm"], "PNDMScheduler cannot begin with a picture"),
        (["--reuse", "plans", "--strategy", "cache"], "plans whole streams"),
        (["--tau", "1"], "--reuse cache"),
        (["--reuse", "plans", "--tau", "0,1"], "one way to share"),
        (["--model", "mini-nothing"], "mini-nothing"),
        (["--host", "no such host.invalid", "--public"], "cannot listen"),
    ],
)
def test_what_cannot_be_served_is_refused(bench, arguments, words):
    result = bench("serve", "--port", 0, *arguments)
    assert result.exit_code == 2 and words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_port_that_is_taken_is_told(bench):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = bench("serve", "--port", taken.getsockname()[1])
    assert result.exit_code == 2 and "another --port" in result.stderr


def test_without_the_extra_it_is_named(bench, monkeypatch):
    monkeypatch.setattr("bench.serve.find_spec", lambda name: None if name == "fastapi" else object())
    result = bench("serve")
    assert result.exit_code == 2 and 'pip install "reusebench[serve]"' in result.stderr
