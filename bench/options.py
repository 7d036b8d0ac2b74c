"""Options of several commands; those that say what a sweep is are made of the fields of `SweepSpec`."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin
from unicodedata import category

import typer

from bench.completion import completer
from common.addresses import shown
from common.errors import UserError
from common.files import local_folder

if TYPE_CHECKING:
    from sweeps.spec import Flag

LEAVE = "What it leaves"  # the part of a command's help that is about its results
LONGEST_NAME = 200  # bytes
REFUSED = {"Cc", "Cs", "Zl", "Zp"}  # of Unicode: control characters, lone surrogates, what ends a line
UNSET: tuple[Any, ...] = (None, [], ())
Command = TypeVar("Command", bound=Callable[..., Any])

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else.")]


Column: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The column of --prompts that holds them.", show_default="prompt, or what is called alike"
    ),
]


def local(path: Path | None) -> Path | None:
    """Refuse an address where a folder to write to is given (`common.files.local_folder`), as a Typer callback."""
    return path and local_folder(path)


def folder(about: str, default: bool | str = True, panel: str | None = LEAVE) -> Any:
    """Return the option of a folder to write to; `default` is how its default is shown, True as it is."""
    return typer.Option(metavar="FOLDER", help=about, show_default=default, rich_help_panel=panel, callback=local)


def argument(about: str) -> Any:
    """Return the argument of a folder that a command reads, or fills."""
    return typer.Argument(metavar="FOLDER", help=about, show_default=False)


def name_of(what: str) -> Any:
    """Return the option of the name of a run's folder."""
    default = "model, prompts and a hash of the settings"
    return typer.Option(metavar="NAME", help=f"The {what}'s name.", show_default=default, rich_help_panel=LEAVE)


def with_secrets(uri: str | None) -> str | None:
    """Have an address's password masked from now on, whoever prints it, as a Typer callback."""
    if uri:
        shown(uri)
    return uri


Out: TypeAlias = Annotated[Path, folder("The folder of runs.")]
TrackingUri: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="An MLflow server.",
        envvar="MLFLOW_TRACKING_URI",
        show_default="a file beside the runs",
        rich_help_panel=LEAVE,
        callback=with_secrets,
    ),
]
Experiment: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The experiment of MLflow to log to.",
        envvar="MLFLOW_EXPERIMENT_NAME",
        show_default="reusebench",
        rich_help_panel=LEAVE,
    ),
]
Mlflow: TypeAlias = Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Log to MLflow.", rich_help_panel=LEAVE)]


@dataclass(frozen=True)
class _Taken:
    """The options of a command: which of the spec's flags, and which others.

    Attributes:
        own: the options that its function, or the one that it calls, declares.
        without: the flags that it has no use for, and why.
        only: the flags that it has, if those are few; () for all.
        changed: of flags that mean something else here, by name, the attributes of `Flag` that differ.
    """

    own: Sequence[inspect.Parameter]
    without: Mapping[str, str] = field(default_factory=dict)
    only: Sequence[str] = ()
    changed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def spec_options(
    like: Callable[..., Any] | None = None,
    *,
    without: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
    changed: Mapping[str, Mapping[str, Any]] | None = None,
) -> Callable[[Command], Command]:
    """Mark a command that takes the spec's settings as options, into its ``**settings``; `signed` then makes them.

    The command has its own options, and the keyword-only ones of the function `like`, if one is given; the others are
    as in `_Taken`.
    """

    def mark(command: Command) -> Command:
        own = [*inspect.signature(command).parameters.values()]
        own = [one for one in own if one.kind is one.POSITIONAL_OR_KEYWORD]
        if like:
            own += [one for one in inspect.signature(like).parameters.values() if one.kind is one.KEYWORD_ONLY]
        command.taken = _Taken(own, without or {}, only, changed or {})  # type: ignore[attr-defined]
        return command

    return mark


def signed(command: Command) -> Command:
    """Return the command with the signature that Typer reads, the spec's options in it. Imports the spec."""
    taken: _Taken | None = getattr(command, "taken", None)
    if taken is None:
        return command
    from sweeps.spec import FLAGS, MAKE

    parameters: list[inspect.Parameter] = []
    for name, flag in FLAGS.items():
        if name not in taken.without and (not taken.only or name in taken.only):
            parameters += _options(name, replace(flag, **taken.changed.get(name, {})))
    if not taken.only:
        by_name = typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting that only some families have, such as super_res_steps=4 (Karlo), max_sequence_length=256 "
            "(FLUX) or noise_level=100 (Stable unCLIP); repeat the option for more.",
            rich_help_panel=MAKE,
        )
        parameters.append(_parameter("others", list[str], by_name))
    own = [one.replace(kind=one.KEYWORD_ONLY) for one in taken.own]
    command.__signature__ = inspect.Signature(parameters + own)  # type: ignore[attr-defined]
    return command


def _options(name: str, flag: "Flag") -> list[inspect.Parameter]:
    """Return the option of a flag, and hidden ones of its former names."""
    kind = _kind(name)
    default = flag.default or _shown_default(name)
    parameters = []
    for key, names in ((name, flag.names), *((old, ()) for old in flag.old)):
        dashed = key.replace("_", "-")
        option = typer.Option(
            *(names or ([f"--{dashed}/--no-{dashed}"] if kind is bool else [f"--{dashed}"])),
            help=flag.help,
            rich_help_panel=flag.panel,
            metavar=flag.metavar,
            show_default=default or False,
            hidden=key != name,
            autocompletion=completer(flag.completes) if flag.completes else None,
        )
        parameters.append(_parameter(key, kind, option))
    return parameters


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kind(name: str) -> Any:
    """Return the type of a flag's value on the command line: a list of texts for an axis; what is no number is text."""
    from sweeps.spec import SweepSpec

    if name not in SweepSpec.model_fields:
        return bool
    kinds = _types(SweepSpec.model_fields[name].annotation)
    if tuple in kinds:
        return list[str]
    return kinds.pop() if len(kinds) == 1 and kinds <= {bool, int, float, Path} else str


def _types(annotation: Any) -> set[Any]:
    """Return the types that an annotation allows beside None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _types(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return {kind for one in get_args(annotation) if one is not type(None) for kind in _types(one)}
    return {str} if origin is Literal else {origin or annotation}


def _shown_default(name: str) -> str | None:
    """Return a setting's default as one would write it; None where it has none."""
    from sweeps.spec import SweepSpec

    default = SweepSpec.model_fields[name].default if name in SweepSpec.model_fields else False
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or None
    return None if default is None else f"{default:g}" if isinstance(default, float) else str(default)


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a command's settings that were given.

    Raises:
        UserError: --set without a value, or of what has a flag that says something else.
    """
    flags = {name: value for name, value in settings.items() if name != "others" and value not in UNSET}
    others: dict[str, Any] = {}
    for text in settings.get("others") or ():
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise UserError(f"--set {text} gives no value", "write it as --set NAME=VALUE")
        if name in flags or name in others:
            raise UserError(f"{name} is given twice", "give it once")
        others[name] = value
    return {**flags, **others}


def tracking(uri: str | None, out: Path, mlflow: bool = True) -> str | None:
    """Return the address of MLflow: the server asked for, else a file beside the runs in `out`; None for nowhere."""
    return (uri or f"sqlite:///{(out / 'mlflow.db').resolve()}") if mlflow else None


def checked_name(name: str) -> str:
    """Return a folder's name that the user gave.

    Raises:
        UserError: it names something else than one folder.
    """
    if Path(name).name != name or name.startswith("."):
        raise UserError(f"{name!r} cannot be a run's name", "it names one folder; --out says where that is")
    if any(category(letter) in REFUSED for letter in name):
        raise UserError(f"{name!r} cannot be a run's name", "it is one line of printed letters")
    if (taken := len(name.encode())) > LONGEST_NAME:
        hint = f"use {LONGEST_NAME} bytes or fewer: a letter outside ASCII takes two to four"
        raise UserError(f"a run's name of {taken} bytes ({len(name)} characters) is too long", hint)
    return name
