"""Addresses that may hold a password: shown without it wherever one is printed."""

import re
from urllib.parse import quote, unquote

MASK = "***"
IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>`]+")
WITHOUT_USER = ("sqlite", "file")  # their addresses are paths, in which an @ is a letter
QUERY = re.compile(r"([?&](?:[^=&]*(?:pass|pwd|secret|token|key|sig)[^=&]*)=)([^&#]+)", re.IGNORECASE)
MASKED = rf"\g<1>{MASK}"
SHORTEST = 4  # a password shorter than this is masked where it stands in an address, not in all text

_secrets: set[str] = set()


def shown(address: str) -> str:
    """Return an address without user, password and secrets in its query; `without_secrets` knows them from now on.

    All before the last ``@`` is taken for a user and password, since people write passwords that hold ``@``, ``/``,
    ``#`` or ``?`` as they are.

    Examples:
        >>> shown("https://user:p@ss/word@server:5000/path")
        'https://***@server:5000/path'
        >>> shown("sqlite:////home/me@work/mlflow.db"), shown("http://server:5000")
        ('sqlite:////home/me@work/mlflow.db', 'http://server:5000')
    """
    scheme, separator, rest = address.partition("://")
    if not separator or scheme.partition("+")[0].lower() in WITHOUT_USER:
        return address
    user, at, host = rest.rpartition("@")
    if at:
        name, _, password = user.partition(":")
        _remember(f"{user}@", password or name)
    for _, value in QUERY.findall(host):
        _remember("", value)
    return f"{scheme}://" + (f"{MASK}@" if at else "") + QUERY.sub(MASKED, host)


def escaped(address: str) -> str:
    """Return an address that libraries read as it is meant: with what its user and password hold percent-encoded.

    Examples:
        >>> escaped("http://user:p@ss/word@server")
        'http://user:p%40ss%2Fword@server'
    """
    scheme, separator, rest = address.partition("://")
    user, at, host = rest.rpartition("@")
    if not at or scheme.partition("+")[0].lower() in WITHOUT_USER:
        return address
    name, colon, password = (quote(part, safe=":%") for part in user.partition(":"))
    escaped_user = f"{name}{colon}{password.replace(':', '%3A')}"
    _remember(f"{escaped_user}@", password or name)
    return f"{scheme}{separator}{escaped_user}@{host}"


def without_secrets(text: str) -> str:
    """Return a text, a traceback say, without the secrets of addresses: of those that were shown, and of any in it.

    Examples:
        >>> without_secrets("no answer from postgresql://me:secret@server/db: see https://hub/me/model@main")
        'no answer from postgresql://***@server/db: see https://hub/me/model@main'
    """
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, f"{MASK}@" if secret.endswith("@") else MASK)
    return IN_TEXT.sub(lambda found: _strictly(found.group()), text)


def _strictly(address: str) -> str:
    """Return an address found in a text, where an ``@`` after the host may be a part of its path."""
    authority = re.split(r"[/?#]", address.partition("://")[2], maxsplit=1)[0]
    port = authority.partition(":")[2]
    if "@" in authority or (port and not port.isdecimal() and not authority.startswith("[")):
        return shown(address)
    return QUERY.sub(MASKED, address)


def _remember(user: str, password: str) -> None:
    if len(user) > 1:
        _secrets.update({user, unquote(user)})
    if len(password) >= SHORTEST:
        _secrets.update({password, unquote(password), quote(password, safe="")})
