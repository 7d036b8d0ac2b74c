"""The values of an axis from what a user writes: ``0..2:0.1``, ``20,40``, ``a,b``, or a YAML list of the same."""

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, Literal

from common.bounded_yaml import parse_yaml
from common.errors import UserError

TAU_STEP = Decimal("0.25")
MAX_VALUES = 1000
PARAMETER = re.compile(r"\w+=")  # begins an item that has no name before it


def items(value: Any) -> list[str]:
    """Return the comma-separated items of a text, a number, or nested lists of them; brackets keep their commas.

    Raises:
        UserError: an item is empty.

    Examples:
        >>> items("eq7, power:exponent=[1,2]")
        ['eq7', 'power:exponent=[1,2]']
        >>> items([4, "1,2"])
        ['4', '1', '2']
    """
    if isinstance(value, str):
        parts = [part.strip() for part in _split(value)]
        if not all(parts):
            raise UserError(f"{value!r} has an empty item", "separate values with single commas")
        return parts
    if isinstance(value, Iterable):
        return [item for part in value for item in items(part)]
    return [str(value)]


def ways(value: Any) -> list[str]:
    """Return the items of an axis whose values have parameters, as `items`; errors are those of both.

    Examples:
        >>> ways("ward-cosine,cache:size=200:eviction=lru")
        ['ward-cosine', 'cache:size=200:eviction=lru']
    """
    found = items(value)
    refuse_parted(found)
    return found


def refuse_parted(found: Sequence[str], named: Callable[[str], bool] = lambda name: False) -> None:
    """Refuse an item that is a parameter of the one before it, which a comma or another option parted from its name.

    Args:
        found: the items of an axis.
        named: whether a word before an equals sign is a name after all, as in ``vqa=CHECKPOINT``.

    Raises:
        UserError: there is one; the right form is named.

    Examples:
        >>> refuse_parted(["cache:size=200", "eviction=lru", "average"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        common.errors.UserError: 'eviction=lru' is a parameter without a name before it ...
    """
    alone = [bool(PARAMETER.match(item)) and not named(item.partition("=")[0]) for item in found]
    for first in (place for place, is_alone in enumerate(alone) if is_alone):
        end = next((place for place in range(first, len(found)) if not alone[place]), len(found))
        whole = ":".join(found[max(first - 1, 0) : end]) if first else f"NAME:{':'.join(found[:end])}"
        raise UserError(
            f"{found[first]!r} is a parameter without a name before it",
            f"commas part values, colons join parameters: write {whole!r}",
        )


def parse_taus(value: Any) -> tuple[Decimal, ...]:
    """Return taus, ascending and without repeats: ``0..2`` (step 0.25), ``0..2:0.1``, ``0,0.5,1``, mixtures of these.

    A range holds its end where a step lands on it.

    Raises:
        UserError: something is no number, negative, not finite, a range that runs backwards, or above 1,000 values.

    Examples:
        >>> [str(tau) for tau in parse_taus("2,0..1:0.5")]
        ['0', '0.5', '1', '2']
        >>> [str(tau) for tau in parse_taus("0..0.6")]
        ['0', '0.25', '0.5']
    """
    taus: set[Decimal] = set()
    for item in items(value):
        taus.update(_tau_range(item) if ".." in item else [_tau(item)])
        if len(taus) > MAX_VALUES:
            raise _too_many(str(value))
    if not taus:
        raise UserError("no tau was given", "write for example `--tau 0..2`")
    return tuple(sorted(taus))


def parse_savings(value: Any) -> tuple[Decimal, ...]:
    """Return shares of denoiser evaluations to save, ascending, without repeats: ``0.3,0.5``; () where none are given.

    Raises:
        UserError: something is no number from 0 to below 1.

    Examples:
        >>> parse_savings("0.5,0.30,0.5")
        (Decimal('0.3'), Decimal('0.5'))
        >>> parse_savings(None)
        ()
    """
    shares: set[Decimal] = set()
    for item in items(value) if value else ():
        try:
            share = Decimal(item)
        except InvalidOperation:
            raise UserError(f"savings {item!r} are not a number", "write for example 0.3,0.5,0.7") from None
        if not share.is_finite() or not 0 <= share < 1:
            raise UserError(f"savings must be from 0 to below 1, not {item}", "write 0.5 for 50%")
        shares.add(Decimal(canonical(share)))
    return tuple(sorted(shares))


def parse_batch_size(value: Any) -> int | Literal["auto"] | None:
    """Return a batch size from a command line or file: a number of rows, ``auto``, or None where it is not given.

    Raises:
        UserError: it is neither.

    Examples:
        >>> parse_batch_size("32"), parse_batch_size("auto"), parse_batch_size(None)
        (32, 'auto', None)
    """
    if value is None:
        return None
    if value == "auto":
        return "auto"
    try:
        if not isinstance(value, bool) and float(value) == int(value) >= 1:
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise UserError(f"batch_size {value!r} is neither a number of rows nor `auto`", "write for example 32, or auto")


def parse_integers(value: Any) -> tuple[int, ...]:
    """Return whole numbers in the order written, repeats dropped: ``42``, ``20,40``, ``0..3``.

    Raises:
        UserError: an item is no whole number, a range runs backwards, or there are above 1,000 values.

    Examples:
        >>> parse_integers("3,0..2,1")
        (3, 0, 1, 2)
    """
    numbers: dict[int, None] = {}  # a set that keeps its order
    for item in items(value):
        low, dots, high = item.partition("..")
        try:
            first, last = int(low), int(high if dots else low)
        except ValueError:
            raise UserError(f"{item!r} is not a whole number", "write for example 42, `1,2,3` or `0..3`") from None
        if last < first:
            raise UserError(f"the range {item} runs backwards", f"write {last}..{first}")
        if last - first >= MAX_VALUES:
            raise _too_many(item)
        numbers.update(dict.fromkeys(range(first, last + 1)))
    return tuple(numbers)


def parse_parameters(text: str, what: str) -> dict[str, Any]:
    """Return the values of ``parameter=value:parameter=value``, each read as YAML; none of an empty text.

    `what` is what an error calls the whole.

    Raises:
        UserError: a part is no such pair, or a value is no YAML.

    Examples:
        >>> parse_parameters("min_samples=3:soft=true", "the strategy")
        {'min_samples': 3, 'soft': True}
        >>> parse_parameters("", "the strategy")
        {}
    """
    parameters: dict[str, Any] = {}
    for setting in text.split(":") if text else ():
        parameter, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"{setting!r} in {what} is no parameter", "write name:parameter=value")
        try:
            parameters[parameter] = parse_yaml(value)
        except ValueError:
            raise UserError(f"{value!r} in {what} is no value", "write for example 3, true or [1, 2]") from None
    return parameters


def canonical(tau: Decimal) -> str:
    """Return the one text of a number: ``0.50`` and ``0.5`` are ``0.5``, ``1E+1`` is ``10``.

    Examples:
        >>> canonical(Decimal("0.50"))
        '0.5'
        >>> canonical(Decimal("1E+1"))
        '10'
    """
    return format(tau.normalize() + 0, "f")


def _split(text: str) -> list[str]:
    depth, parts = 0, [""]
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _tau(text: str) -> Decimal:
    try:
        tau = Decimal(text)
    except InvalidOperation:
        raise UserError(f"tau {text!r} is not a number", "write for example 0.5, `0,0.5,1` or `0..2:0.25`") from None
    if not tau.is_finite() or not isfinite(float(tau)):
        raise UserError(f"tau {text!r} is not a finite number", "write for example 0.5")
    if tau < 0:
        raise UserError(f"tau {text} is negative", "tau = 0 is the baseline; larger taus share more")
    return Decimal(canonical(tau))


def _tau_range(text: str) -> list[Decimal]:
    ends, colon, step_text = text.partition(":")
    low_text, _, high_text = ends.partition("..")
    low, high = _tau(low_text), _tau(high_text)
    step = _tau(step_text) if colon else TAU_STEP
    if step == 0:
        raise UserError(f"the range {text} has step 0", "write for example 0..2:0.25")
    if high < low:
        raise UserError(f"the range {text} runs backwards", f"write {canonical(high)}..{canonical(low)}")
    count = int((high - low) / step) + 1 if (high - low) < step * MAX_VALUES else MAX_VALUES + 1
    if count > MAX_VALUES:
        raise _too_many(text)
    return [Decimal(canonical(low + i * step)) for i in range(count)]


def _too_many(text: str) -> UserError:
    return UserError(f"{text} is more than {MAX_VALUES:,} values", "take a larger step")
