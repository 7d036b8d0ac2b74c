"""`bench drive`: sends a task's prompts to any server of the images API, with and without reuse, and judges it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bench import options as o
from bench.documents import print_json
from bench.voice import note
from common.errors import UserError

if TYPE_CHECKING:
    from serving.drive import Drive

FAILED = 1
DRIVES = Path("drives")
STREAM, SERVER, BOUNDS = "The stream of requests", "The server", "Bounds"
OFF = '{"reuse": false}'


def _stream(*names: str, about: str, **more: Any) -> Any:
    return typer.Option(*names, help=about, rich_help_panel=STREAM, **more)


def _server(*names: str, about: str, **more: Any) -> Any:
    return typer.Option(*names, help=about, rich_help_panel=SERVER, **more)


def _bound(*names: str, about: str, **more: Any) -> Any:
    return typer.Option(*names, help=about, rich_help_panel=BOUNDS, **more)


def drive(
    endpoint: Annotated[str, typer.Option(metavar="URL", help="The server, as http://localhost:8000.")],
    task: Annotated[str, typer.Option(metavar="CARD", help="The task card whose prompts are asked for.")],
    requests: Annotated[int, _stream(about="How many requests.", metavar="N")] = 500,
    order: Annotated[
        Literal["set", "drawn", "zipf", "sessions"],
        _stream(
            about="In which order: the set's own; drawn anew for each time through; a few prompts asked often (zipf); "
            "runs of prompts that share words (sessions).",
            metavar="set|drawn|zipf|sessions",
        ),
    ] = "drawn",
    arrivals: Annotated[
        Literal["closed", "poisson", "burst"],
        _stream(
            about="When: as soon as another was answered (closed), independently at a mean rate (poisson), or several "
            "at once (burst).",
            metavar="closed|poisson|burst",
        ),
    ] = "closed",
    rate: Annotated[float, _stream(about="Requests a second, of poisson and burst.", metavar="X")] = 1.0,
    burst: Annotated[int, _stream(about="Requests that come at once, of burst.", metavar="N")] = 8,
    skew: Annotated[float, _stream(about="Of zipf: 0 asks all prompts equally often.", metavar="X")] = 0.8,
    run: Annotated[float, _stream(about="The mean length of sessions.", metavar="X")] = 5.0,
    stream_seed: Annotated[int, _stream(about="Of all draws, the requests' own seeds among them.", metavar="N")] = 0,
    replay: Annotated[
        Path | None,
        _stream(about="The requests.jsonl of another drive, in place of a stream made here.", metavar="FILE"),
    ] = None,
    baseline_endpoint: Annotated[
        str | None,
        _server(about="A server without reuse, in place of turning it off.", metavar="URL", show_default="--endpoint"),
    ] = None,
    on: Annotated[
        str | None, _server(about="Fields of a request that turn reuse on.", metavar="JSON", show_default="none")
    ] = None,
    off: Annotated[
        str | None,
        _server(about="Fields of a request that turn it off.", metavar="JSON", show_default=f"{OFF}, or none"),
    ] = None,
    extra: Annotated[
        str | None,
        _server(about="Fields of every request; null takes one of ours away.", metavar="JSON", show_default="none"),
    ] = None,
    model: Annotated[str | None, _server(about="The model's name in requests.", metavar="NAME")] = None,
    size: Annotated[
        str | None,
        _server(
            about="Width and height of the pictures; any: whatever comes.", metavar="WxH|any", show_default="the card's"
        ),
    ] = None,
    seed_field: Annotated[str, _server(about="The field of a request that takes its seed.", metavar="NAME")] = "seed",
    no_seeds: Annotated[bool, _server("--no-seeds", about="The server takes no seeds.")] = False,
    api_key_env: Annotated[
        str | None,
        _server(about="The environment variable that holds the API's key; the key is written nowhere.", metavar="NAME"),
    ] = None,
    baseline_api_key_env: Annotated[
        str | None,
        _server(
            about="The same of --baseline-endpoint.",
            metavar="NAME",
            show_default="none: no server gets another's key",
        ),
    ] = None,
    concurrency: Annotated[int, _bound(about="Requests under way at once, at most.", metavar="N")] = 4,
    timeout: Annotated[float, _bound(about="How long one attempt may take.", metavar="SECONDS")] = 120.0,
    attempts: Annotated[int, _bound(about="How often a request is sent to a server that is busy.", metavar="N")] = 5,
    at_most: Annotated[
        float | None,
        _bound(about="How long asking may take; the same command goes on later.", metavar="SECONDS"),
    ] = None,
    most_mib: Annotated[int, _bound(about="The largest answer that is read.", metavar="MIB")] = 64,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC[=CHECKPOINT]", help="What scores the pictures.", show_default="the card's"),
    ] = None,
    audit: Annotated[
        bool, typer.Option("--audit/--no-audit", help="Measure which score differences mean nothing.")
    ] = True,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|words",
            help="What tells how alike prompts are.",
            show_default="a text encoder that is here, else words",
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="DEVICE", help="Where the scorers run.")] = None,
    out: Annotated[
        Path | None, o.folder("Where it goes; run again, it goes on.", "drives/ and the card's name")
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Send a task's prompts to a server with reuse off, on, and off again with other seeds, and judge the pictures.

    Any server with the OpenAI-compatible images API will do, such as `bench serve`. Reuse is turned off by fields of
    the request, or by asking another server. The exit code is 1 where the alarm for rare wrong pictures is raised.
    """
    from bench.screen import screen
    from common.files import local_folder
    from serving.client import Limits, Server, api_key, json_fields
    from serving.client import endpoint as checked
    from serving.drive import Driving
    from serving.stream import Stream, StreamSpec
    from sweeps.axes import items
    from sweeps.machine import checked_device
    from tasks.card import card

    _check_http()
    asked = card(task)
    urls = {"on": checked(endpoint), "off": checked(baseline_endpoint or endpoint)}
    both = json_fields(extra, "--extra") | ({"model": model} if model is not None else {})
    own = {
        "on": json_fields(on, "--on"),
        "off": json_fields(off if off is not None or baseline_endpoint else OFF, "--off"),
    }
    if urls["on"] == urls["off"] and own["on"] == own["off"]:
        raise UserError(
            "nothing turns reuse off: both arms ask the same of the same server",
            "say what does with --on and --off, or give a --baseline-endpoint",
        )
    if baseline_endpoint is None and baseline_api_key_env is not None:
        raise UserError("--baseline-api-key-env is of a --baseline-endpoint", "leave it out: --api-key-env is of both")
    keys = {
        "on": api_key(api_key_env),
        "off": api_key(api_key_env if baseline_endpoint is None else baseline_api_key_env),
    }
    if replay is not None:
        stream = Stream.read(replay)
        texts = asked.prompt_set.prompts
        if any(one.prompt_id >= len(texts) or texts[one.prompt_id] != one.prompt for one in stream.requests):
            raise UserError(f"{replay} asks for prompts that the card {asked.name} has not", "name its own card")
    else:
        settings = {"requests": requests, "order": order, "arrivals": arrivals, "rate": rate, "burst": burst}
        made = StreamSpec.made(**settings, skew=skew, run=run, seed=stream_seed)
        stream = Stream.of(asked.prompt_set.prompts, made)
    driving = Driving(
        card=asked,
        stream=stream,
        servers={
            arm: Server(
                url=urls[arm],
                fields=both | own[arm],
                seed_field=None if no_seeds else seed_field,
                size=_size(size, (asked.width, asked.height)),
            )
            for arm in ("off", "on")
        },
        keys=keys,
        limits=_limits(
            Limits,
            concurrency=concurrency,
            timeout=timeout,
            attempts=attempts,
            at_most=at_most,
            most_bytes=most_mib << 20,
        ),
        metrics=tuple(items(metric or [])) or asked.scorers,
        out=local_folder(out or DRIVES / asked.name.replace("/", "-")),
        device=checked_device(device),
        audited=audit,
        encoder=encoder,
    )
    with screen() as seen:
        found = driving.run(seen)
    for line in found.notes:
        note(line)
    if as_json:
        print_json({"folder": driving.out, **found.model_dump(mode="json")})
    else:
        _print(found, driving.out)
    if found.alarm.raised:
        raise typer.Exit(FAILED)


def _check_http() -> None:
    from importlib.util import find_spec

    if find_spec("httpx") is None:
        raise UserError("bench drive needs the package httpx", "pip install 'reusebench[drive]'")


def _limits(kind: Any, **settings: Any) -> Any:
    from pydantic import ValidationError

    try:
        return kind(**settings)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-").replace("most-bytes", "most-mib")
        raise UserError(f"--{name}: {first['msg'].lower()}", "give another number") from None


def _size(text: str | None, default: tuple[int, int]) -> tuple[int, int] | None:
    """Return the width and height that an option says; None for whatever comes."""
    if text is None:
        return default
    if text == "any":
        return None
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UserError(f"--size {text} is no size", "write it as 512x512, or any")
    return int(width), int(height)


def _print(found: "Drive", out: Path) -> None:
    from bench.results import columns, stdout
    from serving.drive import ABOUT, RESULT, SHEET, TABLE

    console = stdout()
    alike = f"nearest earlier {found.likeness.mean:.2f}"
    if found.likeness.others is not None:
        alike += f", of another prompt {found.likeness.others:.2f}"
    console.print(f"{found.card}: {found.requests} requests of {found.prompts} prompts, {found.judged} judged")
    for line in found.stream:
        console.print(f"  {line}", soft_wrap=True)
    console.print(
        f"  likeness by {found.likeness.by}: {alike}; {found.likeness.repeated:.0%} ask a prompt again\n",
        soft_wrap=True,
    )
    table = columns(("arm",), ("answered", "failed", "hits", "p50 s", "p95 s", "p99 s", "answers / s"))
    for arm, load in found.loads.items():
        hits = "-" if load.hits is None else f"{load.hits} ({load.hits / max(load.answered, 1):.0%})"
        seconds = [f"{value:.2f}" for value in load.seconds] if load.seconds else ["-"] * 3
        failed = str(sum(load.failed.values()))
        table.add_row(ABOUT[arm], str(load.answered), failed, hits, *seconds, f"{load.throughput:.2f}")
    console.print(table)
    for arm, load in found.loads.items():
        for reason, count in load.failed.items():
            console.print(f"  failed {ABOUT[arm]}, {count}: {reason}", soft_wrap=True)
    signals = columns(("the furthest falls", "by"), ("with reuse", "without", "p", "adjusted"))
    for one in found.alarm.signals:
        signals.add_row(one.kind, one.by, str(one.on), str(one.others), f"{one.p:.2g}", f"{one.adjusted:.2g}")
    console.print("")
    console.print(signals)
    console.print("")
    for line in found.verdicts:
        console.print(line, soft_wrap=True)
    for encoder, more in found.sameness.items():
        ends = "" if more.low is None or more.high is None else f" [{more.low:+.4f}, {more.high:+.4f}]"
        console.print(
            f"pictures of one prompt, by {encoder}: cosine {more.value:+.4f}{ends} with reuse", soft_wrap=True
        )
    for name in ("pictures.duplicates", "pictures.repeats"):
        if name in found.figures:
            console.print(f"{name}: {found.figures[name].value:.0f}")
    if found.alarm.flagged:
        console.print("\nlook at these first:")
        for wrong in found.alarm.flagged[:10]:
            told = {True: "hit", False: "miss", None: "-"}[wrong.hit]
            console.print(f"  on/{wrong.id:05d} {told:4} {wrong.prompt!r}: {'; '.join(wrong.why)}", soft_wrap=True)
    console.print(f"\nresults  {out}/ ({RESULT}, {TABLE}, {SHEET})", soft_wrap=True)
