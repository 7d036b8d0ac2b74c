"""`bench serve`: one model behind the images API that OpenAI's clients speak, with reuse across requests or without."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from bench import options as o
from bench.documents import print_json
from bench.voice import voice
from common.errors import NotHereError, UserError

if TYPE_CHECKING:
    from socket import socket

    from serving.engine import Reuse

EXTRA = ("fastapi", "uvicorn")
SERVE = "How it serves"
WINDOW = 0.2  # seconds, where requests are planned together


class Bounds(NamedTuple):
    """What `Engine` calls so."""

    window: float
    batch: int
    queue: int


@o.spec_options(
    only=(
        *("model", "variant", "steps", "scheduler", "guidance", "height", "width", "dtype", "prior_steps"),
        *("prior_guidance", "tau", "strategy", "features", "schedule", "combiner", "device", "threads"),
    ),
    changed={
        "tau": {"help": "How much to share: 1 is a cache's own table.", "metavar": "X", "default": "1"},
        "strategy": {
            "help": "By whose rules: of a cache (cache, chorus, modm, vllm-omni), or of plans.",
            "default": "cache, or ward-cosine for plans",
        },
        "steps": {"help": "Of a picture, where a request does not say.", "metavar": "N"},
        "guidance": {"help": "Of a picture, where a request does not say.", "metavar": "X"},
    },
)
def serve(
    reuse: Annotated[
        Literal["none", "cache", "plans"],
        typer.Option(
            metavar="none|cache|plans",
            help="What requests share: what earlier ones left in a cache, or the early steps of a plan of those that "
            "wait at the same time.",
            rich_help_panel="How prompts share",
        ),
    ] = "none",
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on.", rich_help_panel=SERVE)
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=65535, help="The port; 0: a free one.", rich_help_panel=SERVE),
    ] = 8000,
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="Allow an --host that other machines reach: whoever reaches it may use it, there are no keys.",
            rich_help_panel=SERVE,
        ),
    ] = False,
    batch: Annotated[
        int, typer.Option(metavar="N", min=1, max=1024, help="Pictures made together, at most.", rich_help_panel=SERVE)
    ] = 8,
    window: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=60,
            help="How long the first of a batch waits for others.",
            show_default=f"{WINDOW:g} for plans, else 0",
            rich_help_panel=SERVE,
        ),
    ] = None,
    queue: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=100_000,
            help="Requests that may wait; more are answered 429.",
            rich_help_panel=SERVE,
        ),
    ] = 64,
    as_json: o.Json = False,
    **settings: Any,
) -> None:
    """Serve one model over HTTP as OpenAI's images API, with reuse across requests.

    Answers say whether they were a hit, from which request, and how many steps that skipped. SIGTERM or Ctrl-C ends it:
    what is being made is finished, what waits is refused. An example of integration, and what drivers are tried on.
    """
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        raise NotHereError(f"bench serve needs {' and '.join(missing)}", 'pip install "reusebench[serve]"')
    from serving.server import is_loopback, listening

    if not is_loopback(host) and not public:
        hint = "leave it out, or add --public: whoever reaches it may use it, there are no keys"
        raise UserError(f"--host {host} is not this machine alone", hint)
    waits = WINDOW if window is None and reuse == "plans" else window or 0.0
    with listening(host, port) as bound:
        _serve(reuse, bound, host, Bounds(waits, batch, queue), settings, prints=port == 0, as_json=as_json)


def _serve(
    reuse: "Reuse",
    bound: "socket",
    host: str,
    bounds: Bounds,
    settings: dict[str, Any],
    *,
    prints: bool,
    as_json: bool,
) -> None:
    """Load the model, and serve it until it is told to end; `prints` says whether the address is a result."""
    from bench.screen import screen
    from serving.engine import STRATEGY, Engine, engine_cell
    from serving.server import Server, address_of, make_app
    from sweeps.machine import checked_device
    from sweeps.spec import make_spec

    flags = o.given(settings)
    if reuse == "none" and (idle := sorted({"strategy", "tau", "features", "schedule", "combiner"} & flags.keys())):
        raise UserError(f"--{idle[0]} says how requests share, and they do not", "add --reuse cache or --reuse plans")
    spec = make_spec([{"strategy": STRATEGY[reuse], "tau": "1"}, flags])
    device, said = checked_device(spec.device), voice()
    with screen() as seen, seen.stage("load"):
        cell = engine_cell(spec, device)
        acceleration = spec.acceleration(device)
        engine = Engine(cell, device, reuse=reuse, acceleration=acceleration, tell=said.note, **bounds._asdict())
        engine.start()
    server = Server(make_app(engine, host=host), engine)
    bound.listen()  # whoever reads the address may come at once
    url = address_of(bound)
    how = "nothing reused" if reuse == "none" else f"reuse by {cell.config.strategy}, tau {cell.config.tau:f}"
    said.note(f"serving {cell.source.entry.name} on {url} ({how}); Ctrl-C ends it")
    if as_json:
        print_json({"url": url, "model": cell.source.entry.name, "reuse": reuse, "strategy": cell.config.strategy})
    elif prints:
        typer.echo(url)
    server.run(sockets=[bound])
    said.note("ended")
