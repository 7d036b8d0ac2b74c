"""`bench setup`: environments for scorers that cannot live in this one."""

from typing import Annotated

import typer


def setup(what: Annotated[str, typer.Argument(help="What to set up: vqa, for VQAScore by CLIP-FlanT5.")]) -> None:
    """Build the environment of a scorer that cannot share ours, once, into the cache folder; again, it continues."""
    from common.errors import UserError, nearest
    from metrics.environments import build
    from metrics.recipes import recipes

    known = {recipe.setup: recipe for recipe in recipes().values()}
    if what not in known:
        raise UserError(f"there is nothing to set up for {what!r}", nearest(what, known))
    recipe = known[what]
    packages = build(recipe, lambda line: typer.echo(line, err=True))
    typer.echo(f"{what}: ready in {recipe.folder}")
    typer.echo(", ".join(f"{name} {version}" for name, version in packages.items()))
