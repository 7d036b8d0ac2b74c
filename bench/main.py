"""The entry point `bench`: its commands, and how a mistake is told. Imports nothing heavy."""

import atexit
import gc
import logging
import os
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bench.shadows import refuse_shadows

refuse_shadows()  # here, because these imports would already fail

from bench import (  # noqa: E402
    compare,
    doctor,
    flops,
    generate,
    listings,
    paper,
    plan,
    power,
    report,
    score,
    setup,
    show,
    sweep,
    track,
)
from common.errors import UserError  # noqa: E402

USER_ERROR, INTERRUPTED = 2, 130
DEBUG = "--debug"
# Collections of young garbage before one of all objects, for Python's 10: what torch, diffusers and MLflow load is no
# garbage, and walking it ten times while they are imported takes two seconds.
SELDOM = 1000


class Bench(TyperGroup):
    """The group of commands. A user's mistake is one line and a hint on standard error, never a traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`--debug` may stand anywhere."""
        return super().parse_args(ctx, sorted(args, key=lambda argument: argument != DEBUG))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            goes_on = ctx.invoked_subcommand in ("sweep", "compare", "score")
            say("interrupted" + (": run the same command again to continue" if goes_on else ""))
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise
        except (UserError, OSError) as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            message, hint = _told(error)
            say(f"error: {message}")
            if hint:
                say(f"hint: {hint}")
            raise typer.Exit(USER_ERROR) from None


def _told(error: UserError | OSError) -> tuple[str, str | None]:
    if isinstance(error, UserError):
        return error.message, error.hint
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}", f"check the permissions and the space left; {DEBUG} shows where it was"


def say(text: str) -> None:
    """One line on standard error."""
    print(" ".join(text.split()), file=sys.stderr)


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
    epilog="`bench sweep --tau 0..2` runs the embedded model on its prompts and says where the results are.",
)


@app.callback()
def bench(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command."""


app.command("sweep")(sweep.sweep)
app.command("compare")(compare.compare)
app.command("plan")(plan.plan)
app.command("generate")(generate.generate)
app.command("score")(score.score)
app.command("report")(report.report)
app.command("show")(show.show)
app.command("track")(track.track)
app.command("flops")(flops.flops)
app.command("power")(power.power)
app.command("doctor")(doctor.doctor)
app.command("setup")(setup.setup)
app.add_typer(paper.paper, name="paper")
for name, group in listings.GROUPS.items():
    app.add_typer(group, name=name)
for name, group in listings.FORMER.items():
    app.add_typer(group, name=name, hidden=True)


def main() -> None:
    """Run the command line."""
    gc.set_threshold(*gc.get_threshold()[:2], SELDOM)
    status = [1]
    atexit.register(_end, status)
    try:
        app()
        status[0] = 0
    except SystemExit as ended:
        status[0] = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise


def _end(status: list[int]) -> None:
    """The last of the exit handlers: end here, for taking apart a million objects that go anyway takes two seconds."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status[0] = status[0] or 1  # whoever read it is gone
    os._exit(status[0])


if __name__ == "__main__":
    main()
