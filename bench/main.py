"""The entry point `bench`: its commands, and how a mistake is told. Imports nothing heavy.

A command's options are made when it is the one that runs, so that `bench --help` needs neither them nor the spec.
"""

import atexit
import gc
import logging
import os
import traceback
from collections.abc import Callable, Sequence
from inspect import getdoc
from pathlib import Path
from typing import Annotated, Any

from bench.endings import ending, flushed, listen, open_closed_streams, signals

if __name__ == "__main__":
    listen()  # here, because importing takes long enough to be interrupted

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from bench.shadows import refuse_shadows

refuse_shadows()  # here, because these imports would already fail

from bench import (  # noqa: E402
    audit,
    cards,
    compare,
    compose,
    doctor,
    drive,
    flops,
    generate,
    leaderboard,
    listings,
    paper,
    plan,
    power,
    report,
    score,
    serve,
    setup,
    show,
    submit,
    sweep,
    track,
    tune,
)
from bench.options import signed  # noqa: E402
from bench.voice import Voice, speaking, voice  # noqa: E402
from common.errors import UserError  # noqa: E402
from common.plugins import no_exit  # noqa: E402

USER_ERROR = 2
DEBUG = "--debug"
PANEL = "How it tells"
EVERYWHERE = ("quiet", "verbose", "log_file", "debug")  # options that may stand before a command and after it
# Collections of young garbage before one of all objects, for Python's 10: what torch, diffusers and MLflow load is no
# garbage, and walking it ten times while they are imported takes two seconds.
SELDOM = 1000


RUN, LOOK, COMPARE, RANK, SET_UP = "Run", "Look", "Compare", "Rank", "Set up"
# By their names, the panel of the help that shows a command, the command, and an example.
COMMANDS: dict[str, tuple[str, Callable[..., None] | typer.Typer, str]] = {
    "sweep": (RUN, sweep.sweep, "bench sweep --model mini-sd --tau 0..2 --limit 16"),
    "generate": (RUN, generate.generate, 'bench generate --prompt "a red fox" --prompt "a red wolf" --tau 0.8'),
    "tune": (RUN, tune.tune, "bench tune --prompts prompts.txt --tau 0.25,0.5,1 --sample 100 --gpu h100"),
    "score": (RUN, score.score, "bench score runs/NAME --metric clip_score"),
    "audit": (RUN, audit.audit, "bench audit runs/NAME --metric vqa"),
    "serve": (RUN, serve.serve, "bench serve --model mini-sd --reuse cache --port 8000"),
    "paper": (RUN, paper.paper, "bench paper run table1 --miniature"),
    "drive": (
        RUN,
        drive.drive,
        "bench drive --endpoint http://localhost:8000 --task reusebench-v1/mini-sd-scenes",
    ),
    "plan": (LOOK, plan.plan, "bench plan --dataset mini_scenes --steps 20 --target-savings 0.5"),
    "flops": (LOOK, flops.flops, "bench flops --model mini-sd --steps 20"),
    "show": (LOOK, show.show, "bench show runs/NAME --time"),
    **{name: (LOOK, group, f"bench {name} list") for name, group in listings.GROUPS.items()},
    "cards": (RANK, cards.cards, "bench cards show mini-sd-styles"),
    "submit": (RANK, submit.submit, "bench submit check mine"),
    "leaderboard": (RANK, leaderboard.leaderboard, "bench leaderboard rows"),
    "compare": (COMPARE, compare.compare, "bench compare --strategy ward-cosine,average --savings 0.3,0.5 --seed 1,2"),
    "compose": (
        COMPARE,
        compose.compose,
        "bench compose --with steps=10,scheduler=DDIMScheduler --savings 0.5 --seed 1,2",
    ),
    "report": (COMPARE, report.report, "bench report runs/ONE runs/ANOTHER --open"),
    "power": (COMPARE, power.power, "bench power --prompts 500 --difference 0.05"),
    "doctor": (SET_UP, doctor.doctor, "bench doctor"),
    "setup": (SET_UP, setup.setup, "bench setup vqa"),
    "track": (SET_UP, track.track, "bench track runs/NAME --tracking-uri http://localhost:5000"),
}


class Bench(TyperGroup):
    """The group of commands. A user's mistake is one line and a hint on standard error, never a traceback."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Run with a voice that says what is usual, which options anywhere change."""
        with speaking():
            return super().main(*arguments, **settings)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Put the command that is called, with its options, in the place of what only its help line is known of."""
        if args and (name := listings.FORMER.get(args[0], args[0])) in COMMANDS:
            self.commands[args[0]] = _heard(built(name), [one for one in self.params if one.name in EVERYWHERE])
            signals.command = name
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        said = voice()
        try:
            if said.file:
                said.open(said.file)
            with ending(), no_exit():
                return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (UserError, OSError, MemoryError, RecursionError) as error:
            said.trace()
            tell(error, said)
            raise typer.Exit(USER_ERROR) from None
        except Exception:
            said.log(traceback.format_exc())
            raise


def tell(error: UserError | OSError | MemoryError | RecursionError, said: Voice) -> None:
    """Say on standard error what was wrong, and what to do."""
    message, hint = _told(error)
    said.error(f"error: {message}")
    if hint:
        said.error(f"hint: {hint}")


def _told(error: UserError | OSError | MemoryError | RecursionError) -> tuple[str, str | None]:
    if isinstance(error, UserError):
        return error.message, error.hint
    if isinstance(error, MemoryError):
        what = f" ({str(error).rstrip('.')})" if str(error) else ""
        return f"memory ran out{what}", f"take fewer prompts or smaller batches; {DEBUG} shows where it was"
    if isinstance(error, RecursionError):
        return "a file or a setting is nested too deep", f"write it flatter; {DEBUG} shows where it was read"
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}", f"check the permissions and the space left; {DEBUG} shows where it was"


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"reusebench {version('reusebench')}")
        raise typer.Exit


app = typer.Typer(
    name="bench",
    cls=Bench,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Benchmark computation reuse across prompts in text-to-image diffusion: what it saves, what it costs.",
    epilog="Begin with `bench sweep --tau 0..2`: it runs the packaged model and says where the results are.",
)


def _said(**how: bool) -> Callable[[bool], None]:
    """Return what an option does to the voice of its command, wherever it stands."""

    def change(asked: bool) -> None:
        said = voice()
        for name, value in how.items() if asked else ():
            setattr(said, name, value)
        if said.quiet and said.verbose:
            raise typer.BadParameter("--quiet and --verbose ask opposite things: give one of them")

    return change


def _logged(context: typer.Context, path: Path | None) -> Path | None:
    """Open the log file; one that is named before the command is opened when that begins, which tells mistakes."""
    said = voice()
    if path and context.parent:
        said.open(path)
    elif path:
        said.file = path
    return path


def _everywhere(*names: str, about: str, change: Any, **more: Any) -> Any:
    return typer.Option(*names, help=about, callback=change, expose_value=False, rich_help_panel=PANEL, **more)


@app.callback()
def bench(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Annotated[
        bool, _everywhere("--quiet", "-q", about="Say errors and results only.", change=_said(quiet=True))
    ] = False,
    verbose: Annotated[
        bool,
        _everywhere(
            "--verbose",
            "-v",
            about="Also say what libraries say, versions, the device, and tracebacks.",
            change=_said(verbose=True),
        ),
    ] = False,
    log_file: Annotated[
        Path | None,
        _everywhere(
            "--log-file",
            about="Append everything that is said to this file, with the time; also what --quiet hides.",
            change=_logged,
            metavar="FILE",
        ),
    ] = None,
    debug: Annotated[
        bool, _everywhere(DEBUG, about="Show the traceback of an error.", change=_said(debug=True))
    ] = False,
) -> None:
    """Options of every command."""


def _heard(command: Any, options: Sequence[Any]) -> Any:
    """Return a command, and those of its group, with the options of every command."""
    for one in getattr(command, "commands", {}).values():
        _heard(one, options)
    command.params.extend(options)
    return command


def built(name: str) -> Any:
    """Return the command or group of that name, ready to parse."""
    _, command, example = COMMANDS[name]
    if isinstance(command, typer.Typer):
        for registered in command.registered_commands:
            if registered.callback:
                registered.callback = signed(registered.callback)
        return get_group(command)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(name, epilog=f"Example: {example}")(signed(command))
    return get_command(alone)


def _listed(name: str, panel: str, command: Callable[..., None] | typer.Typer, *, hidden: bool = False) -> None:
    """Have a command in the help, by its first line alone."""
    text = str(command.info.help) if isinstance(command, typer.Typer) else (getdoc(command) or "").partition("\n")[0]
    app.command(name, help=text, rich_help_panel=panel, hidden=hidden)(lambda: None)


for name, (panel, command, _) in COMMANDS.items():
    _listed(name, panel, command)
for former, name in listings.FORMER.items():
    _listed(former, *COMMANDS[name][:2], hidden=True)


def main() -> None:
    """Run the command line."""
    open_closed_streams()
    listen()
    gc.set_threshold(*gc.get_threshold()[:2], SELDOM)
    status = [1]
    atexit.register(_end, status)
    try:
        app()
        status[0] = 0
    except SystemExit as ended:
        status[0] = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    except OSError as error:  # outside of any command: help or the version cannot be printed
        status[0] = USER_ERROR
        tell(error, Voice())
        raise SystemExit(USER_ERROR) from None


def _end(status: list[int]) -> None:
    """The last of the exit handlers: end here, for taking apart a million objects that go anyway takes two seconds."""
    logging.shutdown()
    os._exit(flushed(status[0]))


if __name__ == "__main__":
    main()
