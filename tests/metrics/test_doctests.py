"""The examples in docstrings of metrics give what they say."""

from importlib import import_module
from pathlib import Path

from docstrings import failed_examples

import metrics

ROOT = Path(metrics.__file__).parent
# workers' scripts run in environments of their own
MODULES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if path.parent.name != "workers"
)
AT_LEAST = 170


def test_every_example_gives_what_it_says_and_there_are_many() -> None:
    assert not failed_examples(MODULES, AT_LEAST)


def test_every_public_function_of_the_statistics_has_an_example():
    modules = ("agreement", "hypotheses", "method_comparison", "over_seeds", "parity", "pooled_similarity", "power")
    modules += ("published", "split_similarity", "statistics", "within_nodes", "flops", "memory", "paired_scores")
    missing = [
        f"{name}.{function}"
        for name, module in ((name, import_module(f"metrics.{name}")) for name in modules)
        for function, value in vars(module).items()
        if callable(value)
        and not isinstance(value, type)
        and not function.startswith("_")
        and getattr(value, "__module__", "") == module.__name__
        and ">>> " not in (value.__doc__ or "")
    ]
    assert not missing
