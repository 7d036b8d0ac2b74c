"""Our packages have common names: what to do where something else of such a name comes first on the path."""

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("common", "generators", "metrics", "miniature", "reports", "reusebench", "studies", "sweeps")
USER_ERROR = 2


def refuse_shadows() -> None:
    """End the process with one line on standard error if another module would be imported for one of our packages.

    To be called before any of them is imported; it imports none.
    """
    home = Path(__file__).resolve().parents[1]
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None:
            continue
        # a folder without __init__.py has no origin
        place = Path(spec.origin or next(iter(spec.submodule_search_locations or ()), home / package))
        if place.resolve() not in (home / package, home / package / "__init__.py"):
            root = place.parents[place.name == "__init__.py"]
            print(
                f"error: {place} hides reusebench's own package {package!r}: rename it, take {root} off "
                "PYTHONPATH, or run bench in another folder",
                file=sys.stderr,
            )
            sys.exit(USER_ERROR)
