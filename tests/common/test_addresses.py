from urllib.parse import unquote, urlsplit

import pytest

from common import addresses
from common.addresses import escaped, shown, without_secrets


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_secrets", set())


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("http://user:secret@server:5000", "http://***@server:5000"),
        ("http://user:se@cret@server/path", "http://***@server/path"),
        ("http://user:se/cret@server", "http://***@server"),
        ("http://user:123/secret@server", "http://***@server"),
        ("http://user:se#c?ret@server", "http://***@server"),
        ("http://user:%73ecret@server", "http://***@server"),
        ("http://secrettoken@server", "http://***@server"),
        (f"http://user:{'secret' * 100}@server", "http://***@server"),
        ("postgresql+psycopg2://me:secret@db/mlflow?sslmode=on", "postgresql+psycopg2://***@db/mlflow?sslmode=on"),
        ("mysql://db/mlflow?user=me&password=secret&x=1", "mysql://db/mlflow?user=me&password=***&x=1"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("databricks", "databricks"),
        ("./a@b", "./a@b"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, masked: str) -> None:
    assert shown(address) == masked


def test_a_text_is_rid_of_the_secrets_of_an_address_that_was_shown() -> None:
    shown("http://user:p%40ss/wo@rd@server")
    said = "cannot reach user:p%40ss/wo@rd@server, nor http://user:p@ss/wo@rd@server; the password p@ss/wo@rd is wrong"
    assert without_secrets(said) == "cannot reach ***@server, nor http://***@server; the password *** is wrong"


def test_a_text_is_rid_of_passwords_of_addresses_that_nobody_showed_and_keeps_other_ats() -> None:
    said = "ftp://a:b@c/d and https://hub/OWNER/NAME@refs/pr/1 and s3://b?secret_key=abc and http://x:y/z@w and a@b"
    expected = "ftp://***@c/d and https://hub/OWNER/NAME@refs/pr/1 and s3://b?secret_key=*** and http://***@w and a@b"
    assert without_secrets(said) == expected


def test_a_short_password_does_not_eat_the_text() -> None:
    shown("http://a:e@server")
    assert without_secrets("the server: a:e@server") == "the server: ***@server"


def test_libraries_find_the_host_whatever_the_password_holds() -> None:
    for password in ("p@ss/wo#r?d", "a:b", "already%40escaped", "plain", ""):
        parts = urlsplit(escaped(f"https://me:{password}@server:5000/path"))
        assert (parts.hostname, parts.port, parts.path) == ("server", 5000, "/path")
        assert unquote(parts.password) == unquote(password)
    for other in ("http://server:5000", "sqlite:////a@b/c.db", "databricks"):
        assert escaped(other) == other
