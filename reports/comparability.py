"""The mismatches between several runs that matter for comparing them. Pure functions of records."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from common.files import canonical_json
from metrics.duplicates import SOURCE
from reports.frame import paired_metrics, result_names
from reports.labels import title
from sweeps.record import Record, Sample

PromptSet: TypeAlias = tuple[str | None, int | None, Sample | None]
Runs: TypeAlias = Mapping[str, Sequence[Record]]
Verdict = Literal["refused", "flagged"]

# What a record says of a scorer that does not change its scores.
NOT_THE_SCORER = {
    *("name", "metric", "packages", "device", "notes"),
    *("figures", "higher_is_better", "probability", "indifference"),
}
# Settings that are axes, or follow from one: compared there.
ON_AXES = {"steps", "guidance", "guidance_interval", "seed", "noise"}
# The axes that baseline images depend on.
OF_STANDARD = ("model", "dataset", "steps", "seed", "noise", "scheduler", "guidance", "guidance_interval")
NONE, LONGEST = "not recorded", 12


@dataclass(frozen=True)
class Mismatch:
    """Something that should be the same in all runs and is not.

    Attributes:
        what: its name.
        verdict: ``refused`` where a number that ignored it would be false; ``flagged`` where a reader must know it.
        by_run: its value in each run, in words.
        follows: its consequence, in words.
        apart: whether series that differ in nothing else must be told apart by their run's name.
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
    """Return whatever decides a metric's scores: records with equal values are on one axis."""
    about = {name: value for name, value in record.scorers.get(metric, {}).items() if name not in NOT_THE_SCORER}
    return {name: value for name, value in about.items() if name != "checkpoint"} if "sha256" in about else about


def prompt_set(record: Record) -> PromptSet:
    """Return the hash and the number of a record's prompts, and its sample: they tell apart two sets of one name."""
    return record.identity.get("prompts"), record.plan.n_prompts if record.plan else None, record.sample


def mismatches(runs: Runs) -> list[Mismatch]:
    """Return every mismatch that is checked for, the refused ones first.

    Args:
        runs: by name, the finished records of at least two.
    """
    unsorted = [*_scorers(runs), *_prompts(runs), *_made_by(runs), *_standard(runs), *_flagged(runs)]
    return sorted(unsorted, key=lambda mismatch: mismatch.verdict != "refused")


def _scorers(runs: Runs) -> Iterator[Mismatch]:
    for metric in _metrics(runs):
        scored = {run: [record for record in records if metric in record.scorers] for run, records in runs.items()}
        identities = {run: [scorer(record, metric) for record in records] for run, records in scored.items()}
        first = next(run for run, in_run in identities.items() if in_run)
        if len(_distinct(identity for in_run in identities.values() for identity in in_run)) > 1:
            shown = {key for key in ("checkpoint", *_differing(identities)) if key not in NOT_THE_SCORER}
            yield Mismatch(
                f"scorer of {title(metric)}",
                "refused",
                {run: _words([record.scorers[metric] for record in records], shown) for run, records in scored.items()},
                f"its results are not on one axis: only those of {first}'s scorer are shown; score all by one with "
                f"`bench score RUN --metric {metric.partition('@')[0]}@both=CHECKPOINT`",
            )
        if without := [run for run, in_run in identities.items() if not in_run]:
            yield Mismatch(
                f"scores by {title(metric)}",
                "flagged",
                {run: "none" if run in without else "there" for run in runs},
                f"`bench score RUN --metric {metric}` adds them without making a picture",
            )


def _prompts(runs: Runs) -> Iterator[Mismatch]:
    def words(prompt_sets: Collection[PromptSet]) -> str:
        return ", ".join(
            f"{n or '?'} prompts{f', hash {text[:8]}' if text else ''}{f', {sample.text}' if sample else ''}"
            for text, n, sample in prompt_sets
        )

    for dataset, of_run in _by(runs, lambda record: record.config.dataset).items():
        values = {run: dict.fromkeys(map(prompt_set, records)) for run, records in of_run.items()}
        if len({prompts_identity for of_one_run in values.values() for prompts_identity in of_one_run}) > 1:
            yield Mismatch(
                f"prompts of {dataset}",
                "refused",
                {run: words(of_one_run) for run, of_one_run in values.items()},
                "different prompts are shown as different prompt sets, in series of their own",
            )
    sets = {run: dict.fromkeys(record.config.dataset for record in records) for run, records in runs.items()}
    if len({tuple(of_one_run) for of_one_run in sets.values()}) > 1:
        yield Mismatch(
            "prompt sets",
            "flagged",
            {run: ", ".join(of_one_run) for run, of_one_run in sets.items()},
            "savings and win rates are of different prompts; compare only rows of the same prompt set",
        )


def _made_by(runs: Runs) -> Iterator[Mismatch]:
    """Yield mismatches of whatever made the pictures under one name."""

    def identity(name: str) -> Callable[[Record], Any]:
        return lambda record: record.identity.get(name)

    def settings(record: Record) -> dict[str, Any] | None:
        all_settings: Mapping[str, Any] = record.identity.get("settings") or {}
        return {name: value for name, value in all_settings.items() if name not in ON_AXES} or None

    apart = "kept in separate series, named by their run"
    yield from _one(runs, "algorithm version", identity("algorithm"), "refused", apart)
    for axis in ("strategy", "combiner", "schedule"):
        for name, of_run in _by(runs, lambda record, axis=axis: getattr(record.config, axis)).items():  # type: ignore[misc]
            yield from _one(of_run, f"version or parameters of {axis} {name}", identity(axis), "refused", apart)
    for model, of_run in _by(runs, lambda record: record.config.model).items():
        yield from _one(of_run, f"weights of {model}", identity("weights"), "refused", apart)
        yield from _one(of_run, f"model family of {model}", identity("family"), "refused", apart)
        yield from _one(of_run, f"settings of {model}", settings, "refused", apart)


def _standard(runs: Runs) -> Iterator[Mismatch]:
    """Yield mismatches of baseline pictures; of different prompts under one name, `_prompts` has said so."""
    against = "win rates are against different baseline pictures: kept in separate series"
    for _, of_run in _by(
        runs, lambda record: (*(getattr(record.config, axis) for axis in OF_STANDARD), prompt_set(record))
    ).items():
        asked = next(iter(of_run.values()))[0].config
        what = f"baseline pictures of {asked.model} on {asked.dataset}, seed {asked.seed}"
        yield from _one(of_run, what, lambda record: record.baseline, "refused", against)


def _flagged(runs: Runs) -> Iterator[Mismatch]:
    checks: dict[str, tuple[Callable[[Record], Any], str]] = {
        "K": (
            lambda record: record.plan.K if record.plan else None,
            "denoiser evaluations per picture: one that is saved is a different share, and baseline pictures differ",
        ),
        "seed": (
            lambda record: record.config.seed,
            "the noise differs: a difference between runs may be one between seeds",
        ),
        "tau": (
            lambda record: f"{record.config.tau:f}",
            "savings at parity and the correction of claims depend on which taus were tried",
        ),
    }
    for what, (value, follows) in checks.items():
        yield from _sets(runs, what, value, follows)
    yield from _parts(
        runs,
        "machine",
        lambda record: record.machine,
        "wall time saved is relative to the baseline on the same machine",
    )
    yield from _parts(
        runs,
        "library versions",
        lambda record: record.versions,
        "pictures of the same cell may differ in their last bits",
    )
    for metric in _metrics(runs):
        yield from _parts(
            runs,
            f"libraries or device of the {title(metric)} scorer",
            lambda record, metric=metric: {  # type: ignore[misc]
                **dict(record.scorers.get(metric, {}).get("packages") or {}),
                **{name: value for name, value in record.scorers.get(metric, {}).items() if name == "device"},
            },
            "scores of the same picture may differ in their last digits",
        )


def _one(runs: Runs, what: str, value: Callable[[Record], Any], verdict: Verdict, follows: str) -> Iterator[Mismatch]:
    """Yield a mismatch of a value that should be one in all records; records without it are not compared."""
    values = {run: [v for record in records if (v := value(record)) is not None] for run, records in runs.items()}
    values = {run: in_run for run, in_run in values.items() if in_run}
    all_values = [v for in_run in values.values() for v in in_run]
    if len(values) > 1 and len(_distinct(all_values)) > 1:
        if all(isinstance(v, Mapping) for v in all_values):
            keys = _differing(values)
            by_run = {run: _words(in_run, keys) for run, in_run in values.items()}
        else:
            by_run = {run: ", ".join(dict.fromkeys(map(_short, in_run))) for run, in_run in values.items()}
        yield Mismatch(what, verdict, by_run, follows, apart=True)


def _sets(runs: Runs, what: str, value: Callable[[Record], Any], follows: str) -> Iterator[Mismatch]:
    """Yield a mismatch of a value of which one run may have several."""
    values = {run: sorted({value(record) for record in records} - {None}) for run, records in runs.items()}
    if len(_distinct(values.values())) > 1:
        by_run = {run: ", ".join(map(str, run_values)) or NONE for run, run_values in values.items()}
        yield Mismatch(what, "flagged", by_run, follows)


def _parts(runs: Runs, what: str, value: Callable[[Record], Mapping[str, Any]], follows: str) -> Iterator[Mismatch]:
    """Yield a mismatch of a mapping, naming only those keys that differ."""
    values = {run: [parts for record in records if (parts := value(record))] for run, records in runs.items()}
    values = {run: parts for run, parts in values.items() if parts}
    if keys := _differing(values):
        yield Mismatch(what, "flagged", {run: _words(parts, keys) for run, parts in values.items()}, follows)


def _metrics(runs: Runs) -> list[str]:
    """Return the metrics that have results in some run, the paired ones first."""
    names = result_names([record for records in runs.values() for record in records])
    metrics = dict.fromkeys([*paired_metrics(names), *(name.partition(".")[0] for name in names)])
    return [metric for metric in metrics if metric != SOURCE]  # results of files alone have no scorer


def _by(runs: Runs, key: Callable[[Record], Any]) -> dict[Any, dict[str, list[Record]]]:
    """Group the records of each run by a key; keep the groups that at least two runs have."""
    groups: dict[Any, dict[str, list[Record]]] = {}
    for run, records in runs.items():
        for record in records:
            groups.setdefault(key(record), {}).setdefault(run, []).append(record)
    return {value: of_run for value, of_run in groups.items() if len(of_run) > 1}


def _distinct(values: Iterable[Any]) -> set[str]:
    return {canonical_json(value) for value in values}


def _differing(values: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return the keys that do not have the same value everywhere."""
    mappings = [mapping for of_run in values.values() for mapping in of_run]
    keys = dict.fromkeys(key for mapping in mappings for key in mapping)
    return [key for key in keys if len(_distinct(mapping.get(key) for mapping in mappings)) > 1]


def _words(mappings: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> str:
    """Return the values of these keys in one run as text: ``torch 2.13.0, device cpu``."""
    chosen = list(keys)
    texts = [
        ", ".join(f"{key} {_short(mapping[key])}" for key in chosen if mapping.get(key) is not None)
        for mapping in mappings
    ]
    return " and ".join(dict.fromkeys(text for text in texts if text)) or NONE


def _short(value: Any) -> str:
    return shorten_hash(value if isinstance(value, str) else canonical_json(value))


def shorten_hash(text: str) -> str:
    """Return the start of a hash; any other text as it is."""
    whole = text.rpartition("/")[2]
    is_hash = len(whole) > LONGEST and set(whole) <= set("0123456789abcdef")
    return f"{whole[:LONGEST]}…" if is_hash else text
