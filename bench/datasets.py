"""`bench datasets fetch|show`: prompt sets from their sources, and what is in one. `list` is with the other lists."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import options as o
from bench.completion import completer
from bench.documents import print_json
from common.errors import UserError

if TYPE_CHECKING:
    from generators.prompts import KnownPrompts

datasets = typer.Typer(help="Prompt sets: list them, fetch them, show one.", no_args_is_help=True)
ABOUT = ("source", "sha256", "licence", "template", "of", "file")
COUNTS = ("shortest", "median", "longest")


@datasets.command("fetch", epilog="Example: bench datasets fetch animals")
def fetch_datasets(
    name: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Prompt sets.",
            show_default="all that are not in the package",
            autocompletion=completer("datasets"),
        ),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Fetch prompt sets from their public sources and check their SHA-256; continue downloads that were cut off.

    They go into the cache, or into the folder that the environment variable BENCH_DATASETS names.
    """
    from generators.prompts import known_set, prompt_sets

    chosen = [known_set(one) for one in name] if name else [known for known in prompt_sets().values() if known.file]
    rows = []
    for known in chosen:
        fetched, path = known.fetch(), known.path()
        rows.append({"name": known.name, "prompts": len(known.load()), "fetched": fetched, "file": path})
        how = "comes with the package" if path is None else f"{'fetched' if fetched else 'was here already'}, {path}"
        if not as_json:
            typer.echo(f"{known.name}: {rows[-1]['prompts']:,} prompts, {how}")
    if as_json:
        print_json(rows)


@datasets.command("show", epilog="Example: bench datasets show mini_scenes --first 5")
def show_dataset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A prompt set.", autocompletion=completer("datasets"))],
    first: Annotated[
        int, typer.Option(metavar="N", help="Show so many of its prompts; --json has them all.", min=0)
    ] = 10,
    as_json: o.Json = False,
) -> None:
    """Show one prompt set: what it is, where it comes from, and its prompts, if they are here."""
    from generators.prompts import known_set

    about = _about(known_set(name))
    if as_json:
        print_json(about)
        return
    lines = {key: about[key] for key in ABOUT if about[key]}
    if about["unavailable"]:
        lines["prompts"] = about["unavailable"]
    else:
        repeated = f"{about['repeated']:,} of them repeat an earlier one" if about["repeated"] else "all different"
        lines["prompts"] = f"{about['count']:,}, {repeated}"
        for unit in ("characters", "words"):
            shortest, median, longest = (about[unit][key] for key in COUNTS)
            lines[unit] = f"{shortest} to {longest}, median {median:g}"
    typer.echo(f"{name}: {about['description']}")
    for key, value in lines.items():
        typer.echo(f"  {key:10} {value}")
    for prompt in about["prompts"][:first]:
        typer.echo(f"    {prompt}")


def _about(known: "KnownPrompts") -> dict[str, Any]:
    """Return all that is known of a set; counts are None and prompts empty where it is not here."""
    from statistics import median

    path = known.path()
    about: dict[str, Any] = {
        "name": known.name,
        "description": known.description,
        **{key: getattr(known.origin, key) for key in ("source", "sha256")},
        **{key: getattr(known, key) for key in ("licence", "template", "of")},
        "file": str(path) if path else None,
        **dict.fromkeys(("count", "repeated", "characters", "words")),
        "prompts": [],
    }
    try:
        prompts = known.load().prompts
    except UserError as error:
        return {**about, "unavailable": str(error)}
    for unit, lengths in (
        ("characters", sorted(map(len, prompts))),
        ("words", sorted(len(prompt.split()) for prompt in prompts)),
    ):
        about[unit] = dict(zip(COUNTS, (lengths[0], median(lengths), lengths[-1]), strict=True))
    repeated = len(prompts) - len(set(prompts))
    return {**about, "unavailable": None, "count": len(prompts), "repeated": repeated, "prompts": list(prompts)}
