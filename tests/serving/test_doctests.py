"""The examples in docstrings of the server and its engine give what they say."""

from docstrings import failed_examples

MODULES = ("serving.engine", "serving.server", "serving.shelf")


def test_every_example_gives_what_it_says() -> None:
    assert not failed_examples(MODULES, at_least=5)
