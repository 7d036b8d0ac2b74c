"""YAML from anyone: never code, and bounded in time and memory."""

from typing import Any

import yaml

LONGEST = 16 << 20  # characters
DEEPEST = 500  # brackets
MOST = 100_000  # values, where some are written once and meant many times
LONGEST_NUMBER = 400  # characters: one in base 60 (1:30) takes time with the square of its length


def parse_yaml(text: str) -> Any:
    """Return what a YAML document holds, as plain values.

    Raises:
        ValueError: it is no YAML, too long, nested too deep, or its aliases (``*name``) multiply it beyond all bounds
            or hold themselves; in one line.

    Examples:
        >>> parse_yaml("tau: [0, 0.5]")
        {'tau': [0, 0.5]}
        >>> parse_yaml("a: &a [*a]")
        Traceback (most recent call last):
        ValueError: an alias is inside of what it stands for
    """
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text):,} characters, and {LONGEST:,} are the most")
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _refuse_large(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("it is nested too deep") from None


class _Loader(yaml.SafeLoader):
    """Stops where brackets are so deep that looking for their ends takes time with the square of the depth."""

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        if self.flow_level >= DEEPEST:
            raise yaml.YAMLError("it is nested too deep")
        super().fetch_flow_collection_start(token)


def _refuse_large(root: yaml.Node) -> None:
    """Refuse a document whose values, aliases followed, are too many to walk over."""
    meant: dict[int, int] = {}  # by node, itself and all below it, as often as they are meant
    above: set[int] = set()

    def count(node: yaml.Node) -> int:
        if id(node) in meant:
            return meant[id(node)]
        if id(node) in above:
            raise ValueError("an alias is inside of what it stands for")
        above.add(id(node))
        total = 1
        if isinstance(node, yaml.ScalarNode):
            if len(node.value) > LONGEST_NUMBER and node.tag.endswith((":int", ":float")):
                raise ValueError(f"a number has {len(node.value):,} characters")
        elif isinstance(node, yaml.MappingNode):
            total += sum(count(part) for pair in node.value for part in pair)
        else:
            total += sum(map(count, node.value))
        above.discard(id(node))
        meant[id(node)] = total
        return total

    if (total := count(root)) > MOST and total > len(meant):
        raise ValueError(f"its aliases (*name) multiply it to {total:,} values, and {MOST:,} are the most")
