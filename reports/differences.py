"""In what several runs differ that must be known to compare them, by name. Pure functions of records."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from common.files import canonical_json
from reports.frame import figure_names, paired_metrics
from reports.labels import title
from sweeps.record import Record

Runs: TypeAlias = Mapping[str, Sequence[Record]]
Verdict = Literal["refused", "flagged"]

# Of a scorer, what says where and how it was loaded and how its figures are printed, and not what it is.
NOT_THE_SCORER = {"name", "metric", "packages", "device", "notes", "figures", "higher_is_better"}
# Settings that are axes, and what follows from them.
ON_AXES = {"steps", "guidance", "seed", "noise"}
# The axes that standard images depend on.
OF_STANDARD = ("model", "dataset", "steps", "seed", "noise", "scheduler", "guidance")
NONE, LONGEST = "not recorded", 12


@dataclass(frozen=True)
class Difference:
    """Something that should be the same in all runs and is not.

    Attributes:
        what: its name.
        verdict: ``refused`` where a number that ignored it would be false; ``flagged`` where a reader must know it.
        by_run: by run, what it is there, in words.
        follows: what is done about it, or what it means, in words.
        apart: whether series that differ in nothing else must be kept apart by their run's name.
    """

    what: str
    verdict: Verdict
    by_run: Mapping[str, str]
    follows: str
    apart: bool = False

    @property
    def sentence(self) -> str:
        values = "; ".join(f"{run}: {value}" for run, value in self.by_run.items())
        return f"{self.verdict}: {self.what} ({values}): {self.follows}"


def scorer(record: Record, metric: str) -> dict[str, Any]:
    """What decides a metric's scores: two records of the same have them on one axis."""
    about = {name: value for name, value in record.scorers.get(metric, {}).items() if name not in NOT_THE_SCORER}
    return {name: value for name, value in about.items() if name != "checkpoint"} if "sha256" in about else about


def prompt_set(record: Record) -> tuple[str | None, int | None]:
    """What tells prompts apart that go by one name: their hash and number."""
    return record.identity.get("prompts"), record.plan.n_prompts if record.plan else None


def differences(runs: Runs) -> list[Difference]:
    """Everything that is checked, what is refused first.

    Args:
        runs: by name, the finished records of at least two.
    """
    found = [*_scorers(runs), *_prompts(runs), *_made_by(runs), *_standard(runs), *_flagged(runs)]
    return sorted(found, key=lambda each: each.verdict != "refused")


def _scorers(runs: Runs) -> Iterator[Difference]:
    for metric in _metrics(runs):
        scored = {run: [record for record in records if metric in record.scorers] for run, records in runs.items()}
        identities = {run: [scorer(record, metric) for record in records] for run, records in scored.items()}
        first = next(run for run, each in identities.items() if each)
        if len(_distinct(each for every in identities.values() for each in every)) > 1:
            shown = {key for key in ("checkpoint", *_differing(identities)) if key not in NOT_THE_SCORER}
            yield Difference(
                f"scorer of {title(metric)}",
                "refused",
                {run: _words([each.scorers[metric] for each in records], shown) for run, records in scored.items()},
                f"its figures are not on one axis: only those of {first}'s scorer are shown; score all by one with "
                f"`bench score RUN --metric {metric.partition('@')[0]}@both=CHECKPOINT`",
            )
        if without := [run for run, each in identities.items() if not each]:
            yield Difference(
                f"scores by {title(metric)}",
                "flagged",
                {run: "none" if run in without else "there" for run in runs},
                f"`bench score RUN --metric {metric}` adds them without making a picture",
            )


def _prompts(runs: Runs) -> Iterator[Difference]:
    def words(found: Collection[tuple[str | None, int | None]]) -> str:
        return ", ".join(f"{n or '?'} prompts" + (f", hash {text[:8]}" if text else "") for text, n in found)

    for dataset, of_run in _by(runs, lambda record: record.asked.dataset).items():
        values = {run: dict.fromkeys(map(prompt_set, records)) for run, records in of_run.items()}
        if len({one for each in values.values() for one in each}) > 1:
            yield Difference(
                f"prompts of {dataset}",
                "refused",
                {run: words(each) for run, each in values.items()},
                "other prompts are another prompt set: not in one series, and no pair of pictures is the same",
            )
    sets = {run: dict.fromkeys(record.asked.dataset for record in records) for run, records in runs.items()}
    if len({tuple(each) for each in sets.values()}) > 1:
        yield Difference(
            "prompt sets",
            "flagged",
            {run: ", ".join(each) for run, each in sets.items()},
            "savings and win rates are of different prompts; only rows of one prompt set say which run shares better",
        )


def _made_by(runs: Runs) -> Iterator[Difference]:
    """What made the pictures and is named alike."""

    def identity(name: str) -> Callable[[Record], Any]:
        return lambda record: record.identity.get(name)

    def settings(record: Record) -> dict[str, Any] | None:
        every: Mapping[str, Any] = record.identity.get("settings") or {}
        return {name: value for name, value in every.items() if name not in ON_AXES} or None

    apart = "not in one series: the run's name stands beside"
    yield from _one(runs, "algorithm version", identity("algorithm"), "refused", apart)
    for axis in ("strategy", "combiner", "schedule"):
        for name, of_run in _by(runs, lambda record, axis=axis: getattr(record.asked, axis)).items():  # type: ignore[misc]
            yield from _one(of_run, f"version or parameters of {axis} {name}", identity(axis), "refused", apart)
    for model, of_run in _by(runs, lambda record: record.asked.model).items():
        yield from _one(of_run, f"weights of {model}", identity("weights"), "refused", apart)
        yield from _one(of_run, f"model family of {model}", identity("family"), "refused", apart)
        yield from _one(of_run, f"settings of {model}", settings, "refused", apart)


def _standard(runs: Runs) -> Iterator[Difference]:
    """Prompt sets that only share a name are told apart already, so that their standard pictures are no news."""
    against = "win rates are against other standard pictures: not in one series"
    for _, of_run in _by(
        runs, lambda record: (*(getattr(record.asked, axis) for axis in OF_STANDARD), prompt_set(record))
    ).items():
        asked = next(iter(of_run.values()))[0].asked
        what = f"standard pictures of {asked.model} on {asked.dataset}, seed {asked.seed}"
        yield from _one(of_run, what, lambda record: record.standard, "refused", against)


def _flagged(runs: Runs) -> Iterator[Difference]:
    checks: dict[str, tuple[Callable[[Record], Any], str]] = {
        "K": (
            lambda record: record.plan.K if record.plan else None,
            "denoiser evaluations a picture: a step saved is another share of one, and standard pictures differ",
        ),
        "seed": (lambda record: record.asked.seed, "other noise: a difference of runs is one of seeds too"),
        "tau": (
            lambda record: f"{record.asked.tau:f}",
            "savings at parity and the correction of claims depend on which taus were tried",
        ),
    }
    for what, (value, follows) in checks.items():
        yield from _sets(runs, what, value, follows)
    yield from _parts(runs, "machine", lambda record: record.machine, "wall time saved is a share of its machine's own")
    yield from _parts(
        runs, "library versions", lambda record: record.versions, "the same cell may differ in its pictures' last bits"
    )
    for metric in _metrics(runs):
        yield from _parts(
            runs,
            f"libraries or device that scored by {title(metric)}",
            lambda record, metric=metric: {  # type: ignore[misc]
                **dict(record.scorers.get(metric, {}).get("packages") or {}),
                **{name: value for name, value in record.scorers.get(metric, {}).items() if name == "device"},
            },
            "the same picture's score may differ in its last digits",
        )


def _one(runs: Runs, what: str, value: Callable[[Record], Any], verdict: Verdict, follows: str) -> Iterator[Difference]:
    """Something of which all records have one; those that do not say are not compared."""
    values = {run: [each for record in records if (each := value(record)) is not None] for run, records in runs.items()}
    values = {run: each for run, each in values.items() if each}
    if len(values) > 1 and len(_distinct(each for every in values.values() for each in every)) > 1:
        if all(isinstance(each, Mapping) for every in values.values() for each in every):
            keys = _differing(values)
            told = {run: _words(each, keys) for run, each in values.items()}
        else:
            told = {run: ", ".join(dict.fromkeys(map(_short, each))) for run, each in values.items()}
        yield Difference(what, verdict, told, follows, apart=True)


def _sets(runs: Runs, what: str, value: Callable[[Record], Any], follows: str) -> Iterator[Difference]:
    """Something of which a run may have several."""
    values = {run: sorted({value(record) for record in records} - {None}) for run, records in runs.items()}
    if len(_distinct(values.values())) > 1:
        told = {run: ", ".join(map(str, each)) or NONE for run, each in values.items()}
        yield Difference(what, "flagged", told, follows)


def _parts(runs: Runs, what: str, value: Callable[[Record], Mapping[str, Any]], follows: str) -> Iterator[Difference]:
    """Something with named parts, of which those are told that differ."""
    values = {run: [each for record in records if (each := value(record))] for run, records in runs.items()}
    values = {run: each for run, each in values.items() if each}
    if keys := _differing(values):
        yield Difference(what, "flagged", {run: _words(each, keys) for run, each in values.items()}, follows)


def _metrics(runs: Runs) -> list[str]:
    """Those with figures somewhere, the paired ones first."""
    names = figure_names([record for records in runs.values() for record in records])
    return list(dict.fromkeys([*paired_metrics(names), *(name.partition(".")[0] for name in names)]))


def _by(runs: Runs, key: Callable[[Record], Any]) -> dict[Any, dict[str, list[Record]]]:
    """By what several runs have in common, their records."""
    found: dict[Any, dict[str, list[Record]]] = {}
    for run, records in runs.items():
        for record in records:
            found.setdefault(key(record), {}).setdefault(run, []).append(record)
    return {value: of_run for value, of_run in found.items() if len(of_run) > 1}


def _distinct(values: Iterable[Any]) -> set[str]:
    return {canonical_json(value) for value in values}


def _differing(values: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The keys whose value is not the same everywhere."""
    every = [each for of_run in values.values() for each in of_run]
    keys = dict.fromkeys(key for each in every for key in each)
    return [key for key in keys if len(_distinct(each.get(key) for each in every)) > 1]


def _words(found: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> str:
    """``torch 2.13.0, device cpu``: of these keys, what a run has."""
    chosen = list(keys)
    each = [", ".join(f"{key} {_short(one[key])}" for key in chosen if one.get(key) is not None) for one in found]
    return " and ".join(dict.fromkeys(text for text in each if text)) or NONE


def _short(value: Any) -> str:
    return shorten_hash(value if isinstance(value, str) else canonical_json(value))


def shorten_hash(text: str) -> str:
    """Of a hash, its start; any other text as it is."""
    whole = text.rpartition("/")[2]
    is_hash = len(whole) > LONGEST and set(whole) <= set("0123456789abcdef")
    return f"{whole[:LONGEST]}…" if is_hash else text
