"""`bench setup`: environments for scorers that cannot live in this one."""

from typing import Annotated

import typer

from bench import options as o
from bench.documents import print_json
from bench.voice import voice


def setup(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The scorer: vqa is VQAScore by CLIP-FlanT5.")],
    as_json: o.Json = False,
) -> None:
    """Build the environment of a scorer that cannot run in this one, once, in the cache folder.

    The same command continues after an interruption.
    """
    from common.errors import UserError, nearest
    from metrics.environments import build
    from metrics.recipes import recipes

    known = {recipe.setup: recipe for recipe in recipes().values()}
    if name not in known:
        raise UserError(f"there is nothing to set up for {name!r}", nearest(name, known))
    recipe = known[name]
    packages = build(recipe, voice().note)
    if as_json:
        print_json({"name": name, "folder": recipe.folder, "packages": packages})
        return
    typer.echo(f"{name}: ready in {recipe.folder}")
    typer.echo(", ".join(f"{package} {version}" for package, version in packages.items()))
