"""The judge of a card: makes a row of any method's pictures beside the baseline's, and what gives it again.

`judge` makes the card's baseline where it is not there yet, measures a submission's pictures with the card's scorers,
and writes a folder: the row (`tasks.row`), ``scores.parquet`` with everything that was measured of every picture and of
the baseline's, and examples. `verify` computes the row's results again from that file alone.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum, isclose
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from common.errors import UserError
from common.files import atomic_path, canonical_json, sha256_file, sha256_text
from common.pictures import read_picture
from generators.catalogue import model
from metrics.over_seeds import pool_outcomes
from metrics.parity import METHOD, SavingsAtParity, savings_at_parity
from metrics.scorer_audit import ScorerAudit
from reports.claims import SAME, Baseline, Claim, adjusted, inflation_warning, tested
from reports.paired_scores import indifference
from reports.pooling import noise_draws
from reusebench.external_images import OverSeeds, Pictures, Seen
from reusebench.pairing import Pairing
from sweeps.audit_file import read_audits
from sweeps.describe import with_indifference
from sweeps.events import Emit, Note
from sweeps.machine import versions
from sweeps.record import Result, Role, load_records
from sweeps.score import whole_pictures
from sweeps.scorers import Scorers, picture_notes
from sweeps.scores import Scores, as_array, as_column, read_scores
from tasks.card import Card
from tasks.card import card as card_of
from tasks.row import EXAMPLES, ROW, SCORES, Example, Kind, Point, Row
from tasks.submission import CONTROL, Submission, check
from tasks.submission import Point as Submitted

if TYPE_CHECKING:
    import pyarrow as pa

RUNS = Path("runs")
SHOWN = 7  # examples of a point
LOSSLESS = 256  # pixels of a side, up to which examples are kept as they are
QUALITY = 90  # of larger ones
OF_PICTURE = ("sha256", "pixels", "blank")
THEIRS = "baseline."
NEAR = 1e-6  # other versions of libraries compute the same figures so nearly
Verdict: TypeAlias = Literal["no worse", "worse", "undecided"]
UNDECIDED: Verdict = "undecided"
VERDICTS: dict[str, Verdict] = {  # of claims; all others decide nothing
    SAME: "no worse",
    "no worse": "no worse",
    "worse by less than delta": "no worse",
    "worse": "worse",
}


@dataclass(frozen=True)
class Set:
    """Pictures [S][N] of all seeds and prompts of a card.

    Attributes:
        files: paths; empty where only what was measured is known.
        seen: what was measured, of each seed.
        hashes: of the files.
    """

    files: list[list[Path]]
    seen: list[Seen]
    hashes: list[list[str]]


@dataclass(frozen=True)
class CardBaseline:
    """The baseline of a card, made and measured.

    Attributes:
        run: its run folder.
        card: the task.
        pictures: the baseline's.
        control: those of other seeds, as a method's (A/A).
        roots: the number of independent draws of noise that a seed's pictures begin from.
        nfe: rows of the denoiser that all pictures took.
        zones: by scorer, half the width of its zone of indifference.
        audit: of the first scorer on these pictures; None where there is none.
    """

    run: Path
    card: Card
    pictures: Set
    control: Set
    roots: int | None
    nfe: int
    zones: dict[str, float]
    audit: ScorerAudit | None

    @classmethod
    def make(cls, card: Card, runs: Path = RUNS, device: str | None = None, emit: Emit | None = None) -> "CardBaseline":
        """Return a card's baseline: of its run folder, where it is finished; else it is made, or continued.

        Args:
            card: the task.
            runs: the folder of runs; the card's is ``cards/<suite>/<card>`` in it.
            device: a torch device; the best there is unless given.
            emit: hears progress.

        Raises:
            UserError: the weights of the model or of a scorer here are not the card's, or as `reusebench.sweep`.
        """
        import reusebench

        card.check_weights()
        run = card_run(card, runs)
        made = reusebench.sweep(card.spec(), folder=run, device=device, emit=emit, reports=False)
        if made.failed:
            error = made.failed[0].error
            what, hint = (error.message, error.hint) if error else ("", None)
            raise UserError(f"the baseline of {card.name} failed: {what}", hint)
        return cls.read(card, run)

    @classmethod
    def read(cls, card: Card, run: Path) -> "CardBaseline":
        """Return the baseline that a finished run folder of the card holds.

        Raises:
            UserError: it does not.
        """
        by_seed = {(record.role, record.config.seed): record for record in load_records(run)}
        try:
            own, control = ([by_seed[role, seed] for seed in card.seeds] for role in _ROLES)
        except KeyError as error:
            raise UserError(f"{run} has no finished baseline of {card.name}: {error}", "score again") from error
        costs = [record.plan.baseline_nfe for record in own if record.plan and record.plan.baseline_nfe]
        if sum(costs) != card.rows * card.pictures:
            raise UserError(
                f"the baseline of {card.name} took {sum(costs):,} rows of the denoiser, the card says "
                f"{card.rows * card.pictures:,}",
                "remove its run folder if the card changed",
            )
        prompts = card.prompt_set.prompts
        first = own[0]
        scorer = next(iter(card_scorers(card).metrics))
        audits = [audit for audit in read_audits(run) if audit.scorer == scorer]
        return cls(
            run,
            card,
            _set([_kept(record.baseline_folder(run)) for record in own], prompts),
            _set([_kept(record.made(run)) for record in control], prompts),
            noise_draws(run, control),
            sum(costs),
            {name: indifference(first, name) for name in first.scorers},
            audits[0] if audits else None,
        )


_ROLES: tuple[Role, Role] = ("sharing", "another-seed")


def _kept(folder: Path) -> Pictures:
    """Return the pictures of a run's folder with the scores that it has."""
    manifest = whole_pictures(folder)
    images = [folder / "images" / name for name in manifest.images]
    return Pictures(folder, Pairing(images, tuple(manifest.images), "the run"), read_scores(folder, manifest.hash))


def _set(pictures: Sequence[Pictures], prompts: Sequence[str]) -> Set:
    if wrong := [one.folder for one in pictures if len(one.images) != len(prompts)]:
        raise UserError(f"{wrong[0]} has pictures of other prompts", "remove the run folder and score again")
    return Set([one.images for one in pictures], [one.seen for one in pictures], [one.hashes for one in pictures])


@dataclass(frozen=True)
class Judged:
    """A set of pictures beside the baseline's.

    Attributes:
        name: of the point.
        over: both, over all seeds.
        ours: the hashes of files [S][N].
        theirs: of the baseline's.
        nfe: rows that each picture took [S, N].
    """

    name: str
    over: OverSeeds
    ours: list[list[str]]
    theirs: list[list[str]]
    nfe: NDArray[np.float64]

    @cached_property
    def first(self) -> str:
        """The scorer that decides."""
        return next(iter(self.over.scorers.metrics))

    @cached_property
    def results(self) -> dict[str, Result]:
        return self.over.results()

    @property
    def total(self) -> int:
        """Return the rows of all pictures."""
        return round(fsum(self.nfe.ravel()))

    def notes(self, claim: Claim) -> tuple[str, ...]:
        """Return what is odd about the pictures of all seeds, and about what is claimed of them."""
        pixels = [one for seen in self.over.ours for one in seen.pixels]
        blank = [one for seen in self.over.ours for one in seen.blank]
        odd = picture_notes(pixels, blank, [*self.over.prompts] * len(self.over.ours))
        broken = f"the baseline's pictures do not show their prompts, by {self.first}: nothing is claimed"
        warned = [inflation_warning([claim]), broken if claim.broken else ""]
        return (*odd, *(sentence for sentence in warned if sentence))

    @property
    def chosen(self) -> list[tuple[int, int]]:
        """Return the places (seed, prompt) of examples: at evenly spaced ranks of the first scorer's difference."""
        theirs, ours = self.over.values(self.first)
        ranks = np.argsort((ours - theirs).ravel(), kind="stable")
        places = ranks[np.linspace(0, len(ranks) - 1, SHOWN).round().astype(int)].tolist()
        return [divmod(place, ours.shape[1]) for place in dict.fromkeys(places)]

    def savings(self, rows: int) -> float:
        """Return the share of the baseline's rows that was saved, where one picture takes so many."""
        return 1 - self.total / (rows * self.nfe.size)

    def claim(self, delta: float, audit: ScorerAudit | None) -> Claim:
        """Return the claim (`reports.claims`) that the first scorer's win rate makes, alone."""
        theirs, _ = self.over.values(self.first)
        baseline = Baseline(float(theirs.mean()), None, audit)
        outcomes = pool_outcomes(self.over.outcomes(self.first), self.over.roots)
        claim = tested(Claim((), self.first, outcomes, delta, baseline), same=bool(self.over.same.all()))
        return adjusted([claim])[0]

    def verdict(self, delta: float, audit: ScorerAudit | None) -> Verdict:
        """Return the claim's verdict in a row's words."""
        return VERDICTS.get(self.claim(delta, audit).verdict, UNDECIDED)

    def pictures_hash(self) -> str:
        """Return the hash of the hashes of all files."""
        return sha256_text(canonical_json([one for row in self.ours for one in row]))


def judge(
    submission: Submission,
    out: Path,
    *,
    runs: Path = RUNS,
    device: str | None = None,
    emit: Emit | None = None,
    kind: Kind = "submission",
) -> Row:
    """Return the row of a submission, and write it, its scores and examples into a folder.

    Args:
        submission: as `tasks.submission.check` gives it; it is checked again, beside the baseline's pictures.
        out: the folder of the row; an earlier one of the same method is replaced.
        runs: the folder of runs, in which the card's baseline is, or will be.
        device: where the baseline is made and scorers run; the best there is unless given.
        emit: hears progress and notes.
        kind: of the method.

    Raises:
        UserError: as `CardBaseline.make`, a picture cannot be what the submission says (`check`), or the folder holds
            the row of another method.
    """
    from sweeps.machine import checked_device

    emit, card = emit or (lambda _: None), submission.card
    _refuse_others(out, submission)
    baseline = CardBaseline.make(card, runs, device, emit)
    found = check(submission.folder, card, lambda _: [seen.pixels for seen in baseline.pictures.seen])
    submission = found.whole()
    for note in found.notes:
        emit(Note(note))
    scorers = card_scorers(card, checked_device(device))
    card.check_scorers(scorers.identities)
    judged = [_judged(point, submission.folder, baseline, scorers, emit) for point in submission.points]
    judged.sort(key=lambda one: (-one.total, one.name))
    whole = np.full((len(card.seeds), len(card.prompt_set)), float(card.rows))
    control = _beside(CONTROL, baseline.control, baseline, scorers, whole, baseline.roots)
    files = {point.name: point.files for point in submission.points}
    seconds = {point.name: point.seconds for point in submission.points}
    if (out / ROW).is_file():  # of an earlier submission
        for path in (out / EXAMPLES).glob("*.webp"):
            path.unlink()
    write_judged(out / SCORES, card, [*judged, control])
    about = with_indifference(scorers.described(judged[0].over.ours[0].scores.scorers), baseline.zones)
    points = tuple(
        _point(one, number, baseline, files[one.name], seconds[one.name], out) for number, one in enumerate(judged, 1)
    )
    audit = baseline.audit
    row = Row(
        card=card.name,
        card_sha256=card.hash,
        method=submission.about.method(kind),
        points=points,
        parity=parity(judged, card),
        seed_control=control.results,
        scorers=json.loads(json.dumps(about)),
        trusted=audit.trusted if audit else None,
        floor=audit.floor if audit else None,
        versions=versions(),
        scores_sha256=sha256_file(out / SCORES),
    ).sealed()
    row.write(out / ROW)
    return row


def _refuse_others(out: Path, submission: Submission) -> None:
    if (out / ROW).exists() and (name := Row.read(out / ROW).method.name) != submission.about.name:
        raise UserError(f"{out} holds the row of another method, {name}", "choose another --out, or another name")


def card_run(card: Card, runs: Path = RUNS) -> Path:
    """Return the run folder of a card's baseline, whether it is there or not."""
    return runs / "cards" / card.name


def known_pixels(card: Card, runs: Path = RUNS) -> list[list[str]] | None:
    """Return the hashes of the pixels of a card's baseline pictures [S][N], where it was made here before."""
    if not card_run(card, runs).is_dir():
        return None
    try:
        return [seen.pixels for seen in CardBaseline.read(card, card_run(card, runs)).pictures.seen]
    except UserError:
        return None


def card_scorers(card: Card, device: str = "cpu") -> Scorers:
    """Return the scorers of a card; nothing is loaded before they measure."""
    return Scorers(model(card.model), card.scorers, device)


def at_parity(judged: Sequence[Judged], card: Card) -> SavingsAtParity:
    """Return the savings at which the first scorer's win rate falls below 1/2 - delta; a card's resamples are one."""
    first = judged[0].first
    outcomes = np.stack([one.over.outcomes(first) for one in judged], axis=1)
    saved = np.stack([np.clip(1 - one.nfe.mean(axis=1) / card.rows, 0, 1) for one in judged], axis=1)
    return savings_at_parity(outcomes, saved, [one.over.roots for one in judged], delta=card.delta)


def parity(judged: Sequence[Judged], card: Card) -> Result:
    """Return the savings at parity as a row has them, with their interval."""
    found = at_parity(judged, card)
    at_least = "; the most that was submitted, so at least" if found.value.at_least else ""
    return Result(
        value=found.value.savings,
        low=found.low.savings,
        high=found.high.savings,
        n=found.pairs,
        method=f"{METHOD}{at_least}",
    )


def zones_of(row: Row) -> dict[str, float]:
    """Return by scorer half the width of its zone of indifference, as a row says it."""
    return {name: float(about.get("indifference", 0.0)) for name, about in row.scorers.items()}


def verify(folder: Path, card: Card | None = None) -> Row:
    """Return the row in a folder, where its results are those of the scores beside it.

    Args:
        folder: as `judge` writes it.
        card: the task; the one that the row names unless given.

    Raises:
        UserError: the row was changed, is of another version of its card, or the scores do not give its results.
    """
    row = Row.read(folder / ROW)
    card = card or card_of(row.card)
    if row.card_sha256 != card.hash:
        raise UserError(
            f"{folder / ROW} is of another version of the card {card.name}: its hash was {row.card_sha256[:12]}...",
            "score the pictures again",
        )
    path = folder / SCORES
    first = next(iter(card_scorers(card).metrics))
    if row.floor is not None and row.scorers.get(first, {}).get("indifference") != row.floor:
        raise UserError(f"{folder / ROW}: the zone of indifference of {first} is not the floor", "score again")
    if not path.is_file() or sha256_file(path) != row.scores_sha256:
        raise UserError(f"{path} is missing, or not what {ROW} was computed from", "score the pictures again")
    judged = {one.name: one for one in read_judged(path, card, zones_of(row))}
    control = judged.pop(CONTROL, None)
    wrong = [] if control and _alike(control.results, row.seed_control) else ["seed_control"]
    wrong += [] if judged.keys() == {point.name for point in row.points} else ["points"]
    for point in row.points if not wrong else ():
        one = judged[point.name]
        untold = row.trusted is False and point.verdict == UNDECIDED  # the baseline is broken: its audit is not here
        known = {
            "nfe": one.total == point.nfe,
            "baseline_nfe": point.baseline_nfe == card.rows * one.nfe.size,
            "savings": isclose(one.savings(card.rows), point.savings, abs_tol=NEAR),
            "pictures": point.pictures == one.nfe.size,
            "identical": point.identical == int(one.over.same.sum()),
            "results": _alike(one.results, point.results),
            "verdict": untold or point.verdict == one.verdict(card.delta, None),
            "pictures_sha256": point.pictures_sha256 == one.pictures_hash(),
            "examples": _as_chosen(point.examples, one, card, folder),
        }
        wrong += [f"{point.name}.{name}" for name, right in known.items() if not right]
    if not wrong and not _alike(
        {"parity": parity([judged[point.name] for point in row.points], card)}, {"parity": row.parity}
    ):
        wrong.append("parity")
    if wrong:
        raise UserError(
            f"{folder / ROW} does not say what its scores give: {', '.join(wrong[:5])}", "score the pictures again"
        )
    return row


def _as_chosen(examples: Sequence[Example], one: Judged, card: Card, folder: Path) -> bool:
    """Return whether examples are those that the rule chooses, with their scores, and their files those of the row."""
    theirs, ours = one.over.values(one.first)
    if [(example.seed, example.prompt) for example in examples] != [(card.seeds[s], p) for s, p in one.chosen]:
        return False
    for (seed, prompt), example in zip(one.chosen, examples, strict=True):
        scores = {example.score: ours[seed, prompt], example.baseline_score: theirs[seed, prompt]}
        files = {example.file: example.sha256, example.baseline: example.baseline_sha256}
        if not all(isclose(told, found, abs_tol=NEAR) for told, found in scores.items()):
            return False
        for name, digest in files.items():
            place = folder / EXAMPLES / Path(name).name  # wherever a row says that it is
            if not place.is_file() or digest not in (None, sha256_file(place)):
                return False
    return True


def _alike(ours: Mapping[str, Result], theirs: Mapping[str, Result]) -> bool:
    def near(first: float | None, second: float | None) -> bool:
        if first is None or second is None:
            return first is second
        return isclose(first, second, rel_tol=NEAR, abs_tol=NEAR) or (first != first and second != second)

    return ours.keys() == theirs.keys() and all(
        near(getattr(ours[name], part), getattr(theirs[name], part))
        for name in ours
        for part in ("value", "low", "high", "n")
    )


def _judged(point: Submitted, folder: Path, baseline: CardBaseline, scorers: Scorers, emit: Emit) -> Judged:
    """Measure a point's pictures, and hold them beside the baseline's."""
    prompts = baseline.card.prompt_set
    pictures = [
        Pictures.score(
            folder, Pairing(files, tuple(file.name for file in files), "the manifest"), prompts, scorers, emit
        )
        for files in point.files
    ]
    return _beside(point.name, _set(pictures, prompts.prompts), baseline, scorers, point.nfe, point.roots)


def _beside(
    name: str, ours: Set, baseline: CardBaseline, scorers: Scorers, nfe: NDArray[np.float64], roots: int | None
) -> Judged:
    theirs = baseline.pictures
    prompts = baseline.card.prompt_set.prompts
    over = OverSeeds(scorers, theirs.seen, ours.seen, prompts, roots, baseline.zones)
    return Judged(name, over, ours.hashes, theirs.hashes, nfe)


def _point(
    one: Judged, number: int, baseline: CardBaseline, files: list[list[Path]], seconds: float | None, out: Path
) -> Point:
    return Point(
        name=one.name,
        nfe=one.total,
        baseline_nfe=baseline.nfe,
        savings=one.savings(baseline.card.rows),
        seconds=seconds,
        pictures=one.nfe.size,
        identical=int(one.over.same.sum()),
        results=one.results,
        verdict=one.verdict(baseline.card.delta, baseline.audit),
        pictures_sha256=one.pictures_hash(),
        examples=_examples(one, number, baseline, files, out),
        notes=one.notes(one.claim(baseline.card.delta, baseline.audit)),
    )


def _examples(
    one: Judged, number: int, baseline: CardBaseline, files: list[list[Path]], out: Path
) -> tuple[Example, ...]:
    """Write and return pictures at evenly spaced ranks of the first scorer's difference, from the worst to the best."""
    theirs, ours = one.over.values(one.first)
    examples = []
    for seed, prompt in one.chosen:
        of_card = baseline.card.seeds[seed]
        names = [f"{EXAMPLES}/{prompt:05d}-{of_card}-{which}.webp" for which in (number, "baseline")]
        for name, file in zip(names, (files[seed][prompt], baseline.pictures.files[seed][prompt]), strict=True):
            _show(file, out / name)
        examples.append(
            Example(
                prompt=prompt,
                text=one.over.prompts[prompt],
                seed=of_card,
                file=names[0],
                baseline=names[1],
                score=float(ours[seed, prompt]),
                baseline_score=float(theirs[seed, prompt]),
                sha256=sha256_file(out / names[0]),
                baseline_sha256=sha256_file(out / names[1]),
            )
        )
    return tuple(examples)


def _show(file: Path, place: Path) -> None:
    picture = read_picture(file)
    with atomic_path(place) as beside:
        picture.save(beside, "WEBP", quality=QUALITY, lossless=max(picture.size) <= LOSSLESS)


def row_folder(rows: Path, card: Card, name: str) -> Path:
    """Return where the row of a method goes unless another folder is asked for."""
    return rows / card.name / (re.sub(r"[^\w.]+", "-", name.lower()).strip("-.") or "unnamed")


def write_judged(path: Path, card: Card, judged: Sequence[Judged]) -> None:
    """Write a row a picture: where it stands, what it took, and all that was measured of it and of the baseline's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.concat_tables([_table(one, card) for one in judged])
    about = {"card": card.name, "card_sha256": card.hash}
    about["scorers"] = canonical_json(judged[0].over.ours[0].scores.scorers)
    with atomic_path(path) as beside:
        pq.write_table(table.replace_schema_metadata(about), beside)


def _table(one: Judged, card: Card) -> "pa.Table":
    import pyarrow as pa

    seeds, prompts = one.nfe.shape
    columns: dict[str, Any] = {
        "point": pa.array([one.name] * one.nfe.size, pa.string()),
        "prompt": pa.array(list(range(prompts)) * seeds, pa.int32()),
        "text": pa.array(list(one.over.prompts) * seeds, pa.string()),
        "seed": pa.array(np.repeat(card.seeds, prompts), pa.int64()),
        "nfe": pa.array(one.nfe.ravel(), pa.float64()),
        "root_draws": pa.array([one.over.roots] * one.nfe.size, pa.int32()),
    }
    sides: tuple[tuple[str, Sequence[Seen], list[list[str]]], ...] = (
        ("", one.over.ours, one.ours),
        (THEIRS, one.over.baseline, one.theirs),
    )
    for before, seen, hashes in sides:
        columns[f"{before}sha256"] = [one for row in hashes for one in row]
        columns[f"{before}pixels"] = [pixels for of_seed in seen for pixels in of_seed.pixels]
        columns[f"{before}blank"] = [blank for of_seed in seen for blank in of_seed.blank]
        for scorer in one.over.scorers.metrics:
            for name in seen[0].scores.measured[scorer]:
                values = np.concatenate([of_seed.scores.measured[scorer][name] for of_seed in seen])
                columns[f"{before}{scorer}.{name}"] = as_column(values)
    return pa.table(columns)


def read_judged(path: Path, card: Card, zones: Mapping[str, float]) -> list[Judged]:
    """Return what `write_judged` wrote.

    Raises:
        UserError: it cannot be read, or is not of the card's prompts and seeds.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        names = list(dict.fromkeys(table["point"].to_pylist()))
        return [_read_point(name, table.filter(pc.equal(table["point"], name)), card, zones) for name in names]
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise UserError(f"cannot read the scores {path}: {' '.join(str(error).split())}", "score again") from error


def _read_point(name: str, table: "pa.Table", card: Card, zones: Mapping[str, float]) -> Judged:
    seeds, prompts = len(card.seeds), len(card.prompt_set)
    places = [(seed, prompt) for seed in card.seeds for prompt in range(prompts)]
    if list(zip(table["seed"].to_pylist(), table["prompt"].to_pylist(), strict=True)) != places:
        raise ValueError(f"{name} has not one row of every prompt and seed of the card")
    if table["text"].to_pylist() != [*card.prompt_set.prompts] * seeds:
        raise ValueError(f"{name} has other prompts than the card")
    scorers = card_scorers(card)
    sides = []
    for before in ("", THEIRS):
        text = {column: table[f"{before}{column}"].to_pylist() for column in OF_PICTURE}
        measured = {
            scorer: {
                column.removeprefix(f"{before}{scorer}."): as_array(table[column].combine_chunks(), table.num_rows)
                for column in table.column_names
                if column.startswith(f"{before}{scorer}.")
            }
            for scorer in scorers.metrics
        }
        seen = []
        for start in range(0, seeds * prompts, prompts):
            rows = slice(start, start + prompts)
            scores = Scores(
                {scorer: {key: values[rows] for key, values in of.items()} for scorer, of in measured.items()}
            )
            seen.append(Seen(scores, text["pixels"][rows], text["blank"][rows]))
        hashes = [text["sha256"][start : start + prompts] for start in range(0, seeds * prompts, prompts)]
        sides.append((seen, hashes))
    (ours, our_hashes), (theirs, their_hashes) = sides
    roots = table["root_draws"].to_pylist()[0]
    over = OverSeeds(scorers, theirs, ours, card.prompt_set.prompts, roots, zones)
    nfe = np.array(table["nfe"].to_pylist(), dtype=np.float64).reshape(seeds, prompts)
    return Judged(name, over, our_hashes, their_hashes, nfe)
