"""A drive: a task's prompts sent to a server with and without reuse, and the judgement of what came back.

Its folder holds all that the judgement rests on: the requests, each arm's answers and pictures, every score, and
``drive.json``, which says itself whether it is whole. A drive that was cut short goes on when it is run again.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from common.errors import UserError
from common.files import (
    atomic_path,
    atomic_write,
    canonical_json,
    parse_json,
    read_sealed,
    remove_leftovers,
    sha256_text,
    write_sealed,
)
from common.pictures import pixels_hash, read_picture
from serving.client import RULE, Answer, Client, Limits, Server
from serving.stream import FILE, Likeness, Stream, likeness
from serving.verdict import ARMS, Alarm, Arms, Scored, alarm, embedded, mean_by_prompt, scored, within_prompts
from sweeps.audit import SHORT, audit, scored_singly, single_score
from sweeps.audit_file import AUDIT, read_audits, write_audits
from sweeps.events import Emit, Note, StageAdvanced, StageFinished, StageStarted
from sweeps.record import Result
from sweeps.scorers import Scorers, measure, picture_results, results
from sweeps.scores import Scores, read_scores, write_scores
from tasks.card import Card

if TYPE_CHECKING:
    from metrics.scorer_audit import ScorerAudit

RESULT, SETUP, TABLE, SHEET, LOCK = "drive.json", "setup.json", "scores.parquet", "worst.png", ".lock"
VERSION: Literal[1] = 1
SHOWN = 24  # pairs on the sheet
FEWEST = 20  # requests that all arms answered, below which nothing is judged
PERCENTILES = (50, 95, 99)
MOST_NAMES = 12  # of fields that the server says numbers in


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Load(_Part):
    """How fast one arm was answered, and what the server said of it.

    Attributes:
        asked: requests that were sent and have an answer or failed.
        answered: those with a picture.
        failed: why others have none, and how many each.
        repeated: requests that were sent more than once, as the server was busy.
        seconds: percentiles 50, 95 and 99 of the seconds from when a request was to be sent until its answer was there;
            None where none was answered.
        seconds_hit: the same of those that hit, by what the server says.
        seconds_miss: of those that missed.
        throughput: answers a second.
        hits: requests that hit; None where the server says nothing of it.
        blank: pictures of one colour.
        said: means of the numbers that the server says of its reuse, by name.
    """

    asked: int
    answered: int
    failed: dict[str, int]
    repeated: int
    seconds: tuple[float, ...] | None
    seconds_hit: tuple[float, ...] | None = None
    seconds_miss: tuple[float, ...] | None = None
    throughput: float
    hits: int | None
    blank: int
    said: dict[str, float] = {}


class Drive(_Part):
    """What a drive found; the content of ``drive.json``.

    Attributes:
        version: of this format.
        card: the task's name.
        card_sha256: the hash of all that the card says.
        endpoint: that was asked with reuse.
        baseline: that was asked without.
        fields: what requests had in their bodies, by arm, beside prompt, seed and size.
        seeded: whether both arms were asked with the same seeds.
        stream: in words, how requests were ordered and came.
        stream_sha256: the hash of the requests.
        requests: in the stream.
        prompts: different ones.
        likeness: of requests to earlier ones.
        judged: requests that all three arms answered.
        loads: by arm.
        hit_rule: how it was told that a request hit.
        delta: the margin of win rates.
        scores: by scorer; the card's first decides.
        alarm: whether some pictures are wrong.
        figures: results of whole sets of pictures, with reuse beside without: diversity, duplicates.
        sameness: by encoder, how much more alike the pictures of one prompt are with reuse than without (mean cosine).
        audits: of each scorer, what may be said by it.
        verdicts: what follows, in sentences.
        notes: what a reader should know.
    """

    version: Literal[1] = VERSION
    card: str
    card_sha256: str
    endpoint: str
    baseline: str
    fields: dict[str, dict[str, Any]]
    seeded: bool
    stream: tuple[str, ...]
    stream_sha256: str
    requests: int
    prompts: int
    likeness: Likeness
    judged: int
    loads: dict[str, Load]
    hit_rule: str = RULE
    delta: float
    scores: tuple[Scored, ...]
    alarm: Alarm
    figures: dict[str, Result]
    sameness: dict[str, Result]
    audits: dict[str, tuple[str, ...]]
    verdicts: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return what a drive's folder says was found.

        Raises:
            UserError: there is no such file, or it is not what was written.
        """
        try:
            content, digest = read_sealed(folder / RESULT)
            if digest is None:
                raise ValueError("it has no hash")
            return cls.model_validate(content)
        except FileNotFoundError:
            raise UserError(f"{folder} holds no judged drive", "run `bench drive` with that --out") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{folder / RESULT} cannot be read: {error}", "run the same drive again") from error


@dataclass(frozen=True)
class Driving:
    """What is to be driven, and where it is kept.

    Attributes:
        card: the task.
        stream: of its prompts.
        servers: by arm, ``off`` and ``on``; the control asks as off does.
        keys: by arm, the API's keys; None where there is none. They are written nowhere.
        limits: what it may take.
        metrics: the scorers, as in a sweep.
        out: the folder.
        device: of the scorers.
        audited: whether the scorers' floors are measured.
        encoder: as in `serving.stream.likeness`.
    """

    card: Card
    stream: Stream
    servers: Mapping[str, Server]
    keys: Mapping[str, str | None]
    limits: Limits
    metrics: Sequence[str]
    out: Path
    device: str = "cpu"
    audited: bool = True
    encoder: str | None = None

    @cached_property
    def scorers(self) -> Scorers:
        """What scores the pictures."""
        return Scorers(None, self.metrics, self.device)

    def run(self, emit: Emit) -> Drive:
        """Return what was found, after asking what was not asked yet; it is written to the folder.

        Raises:
            UserError: the folder holds another drive, a server does not answer, or too few requests were answered.
        """
        # what is wrong with the scorers is told before a server is troubled
        self.scorers.check(self.stream.prompts)
        with self.held():
            self.refuse_others()
            answers = self.ask(emit)
            return self.judge(answers, emit)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder while the block runs.

        Raises:
            UserError: another process does.
        """
        from filelock import FileLock, Timeout

        self.out.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.out / LOCK, timeout=0):
                remove_leftovers(self.out)
                yield
        except Timeout:
            raise UserError(f"another process drives into {self.out}", "wait for it, or choose another --out") from None

    def refuse_others(self) -> None:
        """Write what is asked of whom; raise a UserError where the folder holds answers of another drive."""
        asked = {
            "card": self.card.name,
            "card_sha256": self.card.hash,
            "stream": self.stream.hash,
            "servers": {arm: server.model_dump(mode="json") for arm, server in self.servers.items()},
        }
        place = self.out / SETUP
        if place.exists():
            try:
                held = read_sealed(place)[0]
            except (OSError, ValueError):
                held = {}
            if differs := [name for name in asked if held.get(name) != parse_json(canonical_json(asked[name]))]:
                raise UserError(
                    f"{self.out} holds another drive: it differs in {', '.join(differs)}",
                    "choose another --out, or move that folder away",
                )
        else:
            write_sealed(place, asked)
            self.stream.write(self.out / FILE)

    def ask(self, emit: Emit) -> dict[str, list[Answer]]:
        """Return the answers of all arms, of which there may be fewer where the time was over."""
        until = None if self.limits.at_most is None else time.monotonic() + self.limits.at_most
        answers = {}
        for arm in ARMS:
            which = "off" if arm == "control" else arm
            seeds = [one.control_seed if arm == "control" else one.seed for one in self.stream.requests]
            emit(StageStarted(f"asking, {ABOUT[arm]}", len(seeds)))
            try:
                client = Client(
                    self.servers[which],
                    self.out / arm,
                    self.limits,
                    self.keys.get(which),
                    told=lambda _: emit(StageAdvanced(1)),
                )
                answers[arm] = client.ask(self.stream.requests, seeds, until=until)
            finally:
                emit(StageFinished())
        return answers

    def judge(self, answers: Mapping[str, Sequence[Answer]], emit: Emit) -> Drive:
        """Return what the answers say; it is written to the folder.

        Raises:
            UserError: too few requests were answered in all arms.
        """
        loads = {arm: load(answers[arm]) for arm in ARMS}
        all_of_it = self.measured(answers, loads, emit)
        found = self.found(all_of_it, loads)
        self.write_table(answers, all_of_it.arms, found)
        self.write_sheet(all_of_it, found)
        write_sealed(self.out / RESULT, parse_json(found.model_dump_json()))
        return found

    def measured(self, answers: Mapping[str, Sequence[Answer]], loads: Mapping[str, Load], emit: Emit) -> "Measured":
        """Return what was measured of the pictures of requests that all arms answered.

        Raises:
            UserError: these are too few.
        """
        by_arm = {arm: {one.id: one for one in answers[arm] if one.file} for arm in ARMS}
        ids = [one.id for one in self.stream.requests if all(one.id in by_arm[arm] for arm in ARMS)]
        if len(ids) < FEWEST:
            reasons = Counter[str]()
            for one in loads.values():
                reasons.update(one.failed)
            why = f"; the most frequent reason: {reasons.most_common(1)[0][0]}" if reasons else ""
            raise UserError(
                f"{len(ids)} of {len(self.stream.requests)} requests were answered in all arms, and {FEWEST} are the "
                f"least that is judged{why}",
                "mend what failed, or give it more time: run the same command again, it goes on",
            )
        prompts = [self.stream.requests[i].prompt for i in ids]
        files = {arm: [self.out / arm / str(by_arm[arm][i].file) for i in ids] for arm in ARMS}
        scores = {
            arm: self.scored(arm, files[arm], prompts, [str(by_arm[arm][i].picture_sha256) for i in ids], emit)
            for arm in ARMS
        }
        contents = {arm: [_content(file) for file in files[arm]] for arm in ARMS}
        audits = self.audit(files["off"], prompts, scores["off"], emit) if self.audited else []
        arms = self.arms(ids, prompts, scores, contents, [by_arm["on"][i].hit for i in ids], audits)
        blank = {arm: sum(by_arm[arm][i].blank for i in ids) for arm in ARMS}
        return Measured(arms, files, scores, audits, blank)

    def scored(
        self, arm: str, files: Sequence[Path], prompts: Sequence[str], hashes: Sequence[str], emit: Emit
    ) -> Scores:
        """Return what the scorers measured of an arm's pictures, which is kept beside them."""
        pictures = sha256_text(canonical_json(list(hashes)))
        known = read_scores(self.out / arm, pictures, lambda text: emit(Note(text)))
        if known.measured.keys() == self.scorers.metrics.keys() and self.scorers.measured(known.scorers):
            return known
        found = Scores()
        for name, columns, about in measure(self.scorers, self.scorers.metrics, files, prompts, emit):
            found.measured[name], found.scorers[name] = columns, about
        write_scores(self.out / arm, prompts, found, pictures)
        return found

    def audit(self, files: Sequence[Path], prompts: Sequence[str], known: Scores, emit: Emit) -> "list[ScorerAudit]":
        """Return the short audit of the scorers on the pictures without reuse, which the folder keeps."""
        if not scored_singly(self.scorers):
            return []
        of = sha256_text(canonical_json([str(file.name) for file in files] + [_content(file) for file in files]))
        kept = read_audits(self.out) if (self.out / AUDIT).exists() else []
        if [one.scorer for one in kept] == scored_singly(self.scorers) and all(one.of == of for one in kept):
            return kept
        found = audit(
            self.scorers,
            files,
            prompts,
            emit,
            model=self.card.model,
            dataset=self.card.dataset,
            of=of,
            most=SHORT,
            known=known,
            short=True,
        )
        write_audits(self.out, found)
        return found

    def arms(
        self,
        ids: Sequence[int],
        prompts: Sequence[str],
        scores: Mapping[str, Scores],
        contents: Mapping[str, Sequence[str]],
        hits: Sequence[bool | None],
        audits: "Sequence[ScorerAudit]",
    ) -> Arms:
        """Return what was measured as the judgement takes it."""
        names = scored_singly(self.scorers)
        pairs = {arm: embedded(scores[arm].measured) for arm in ARMS}
        return Arms(
            ids=ids,
            prompts=prompts,
            scores={arm: {name: single_score(name, scores[arm].measured[name]) for name in names} for arm in ARMS},
            contents=contents,
            embeddings={arm: {name: shown for name, (shown, _) in pairs[arm].items()} for arm in ARMS},
            texts={name: asked for name, (_, asked) in pairs["off"].items()},
            hits=hits,
            lower_is_better=frozenset(name for name in names if not self.scorers.metrics[name].higher_is_better),
            floors={one.scorer: one.floor for one in audits},
        )

    def found(self, measured: "Measured", loads: Mapping[str, Load]) -> Drive:
        """Return the judgement of what was measured."""
        arms, scores = measured.arms, measured.scores
        n = len(arms.ids)
        said = tuple(scored(arms, name, self.card.delta) for name in scored_singly(self.scorers))
        of_alarm = alarm(arms)
        figures = {
            **results(self.scorers, scores["off"], scores["on"], arms.same),
            **picture_results(
                arms.contents["off"], arms.contents["on"], arms.prompts, (measured.blank["off"], measured.blank["on"])
            ),
        }
        paired = {f"{one.scorer}." for one in said}  # those by request are told above, clustered by prompt
        seeded = self.servers["on"].seed_field is not None and self.servers["off"].seed_field is not None
        return Drive(
            card=self.card.name,
            card_sha256=self.card.hash,
            endpoint=self.servers["on"].url,
            baseline=self.servers["off"].url,
            fields={arm: server.fields for arm, server in self.servers.items()},
            seeded=seeded,
            stream=tuple(self.stream.spec.described),
            stream_sha256=self.stream.hash,
            requests=len(self.stream.requests),
            prompts=len(set(self.stream.prompts)),
            likeness=likeness(self.stream.prompts, self.encoder),
            judged=n,
            loads=dict(loads),
            delta=self.card.delta,
            scores=said,
            alarm=of_alarm,
            figures={name: one for name, one in figures.items() if not name.startswith(tuple(paired))},
            sameness=sameness(arms),
            audits={one.scorer: tuple(one.verdict) for one in measured.audits},
            verdicts=tuple(verdicts(said, of_alarm, self.card.delta)),
            notes=tuple(self.notes(n, loads, seeded, of_alarm, said)),
        )

    def notes(
        self, judged: int, loads: Mapping[str, Load], seeded: bool, of_alarm: Alarm, said: Sequence[Scored]
    ) -> Iterator[str]:
        """Yield what a reader of the judgement should know."""
        total = len(self.stream.requests)
        if judged < total:
            yield f"{judged} of {total} requests were answered in all arms; the others are not judged"
        if any(one.asked < total for one in loads.values()):
            yield "the time was over before all requests were asked: run the same command again, it goes on"
        if not seeded:
            yield "the server took no seeds: pairs differ by their noise too, which makes intervals wider"
        if loads["on"].hits is None:
            yield "the server says nothing of hits"
        if loads["off"].hits:
            yield (
                f"the server calls {loads['off'].hits} requests hits that were sent with reuse off: it may not have "
                "been off, and then nothing here compares reuse with none"
            )
        if loads["on"].hits == 0:
            yield "nothing hit, so that nothing is said of reuse"
        if len(set(self.stream.prompts)) < total:
            yield "requests of one prompt resemble each other: intervals are clustered by prompt"
        for one in said:
            low, high = one.control.win_rate.low, one.control.win_rate.high
            if low is not None and high is not None and not low <= 0.5 <= high:
                yield (
                    f"the control, which is off once more, is not as good as off by {one.scorer}: one in twenty are by "
                    "chance; if it is again, the server changes with time"
                )
        yield from (f"not tested: {what}" for what in of_alarm.left_out)

    def write_table(self, answers: Mapping[str, Sequence[Answer]], arms: Arms, found: Drive) -> None:
        """Write a row a request: what was asked, what came of it in each arm, and each arm's scores."""
        import pandas as pd

        table = pd.DataFrame([one.model_dump() for one in self.stream.requests]).set_index("id")
        for arm in ARMS:
            rows = pd.DataFrame(
                [
                    {
                        "id": one.id,
                        f"{arm}.file": one.file and f"{arm}/{one.file}",
                        f"{arm}.seconds": one.seconds,
                        f"{arm}.hit": one.hit,
                        f"{arm}.failed": one.failed,
                        f"{arm}.attempts": one.attempts,
                    }
                    for one in answers[arm]
                ]
            ).set_index("id")
            table = table.join(rows)
            for scorer, values in arms.scores[arm].items():
                table[f"{arm}.{scorer}"] = pd.Series(values, index=pd.Index(list(arms.ids)))
        flagged = {one.id: "; ".join(one.why) for one in found.alarm.flagged}
        table["flagged"] = pd.Series(flagged, dtype="object")
        table["identical"] = pd.Series(arms.same, index=pd.Index(list(arms.ids)), dtype="object")
        with atomic_path(self.out / TABLE) as beside:
            table.reset_index().to_parquet(beside, index=False)

    def write_sheet(self, measured: "Measured", found: Drive) -> None:
        """Write the pictures of the worst requests, without reuse to the left of with it, four requests a row."""
        from reports.contact_sheet import contact_sheet

        place = {number: row for row, number in enumerate(measured.arms.ids)}
        worst = dict.fromkeys([*(one.id for one in found.alarm.flagged), *self.lowest(measured.arms)])
        if pictures := [measured.files[arm][place[i]] for i in [*worst][:SHOWN] for arm in ("off", "on")]:
            atomic_write(self.out / SHEET, contact_sheet(pictures))

    def lowest(self, arms: Arms) -> list[int]:
        """Return the requests that reuse changed, those first whose score by the first scorer falls furthest."""
        names = scored_singly(self.scorers)
        if not names:
            return []
        falls = arms.signed("on", names[0]) - arms.signed("off", names[0])
        return [int(arms.ids[row]) for row in np.argsort(falls, kind="stable") if not arms.same[row] and falls[row] < 0]


@dataclass(frozen=True)
class Measured:
    """What was measured of a drive's pictures.

    Attributes:
        arms: as the judgement takes it.
        files: by arm, the pictures [N].
        scores: by arm, all that the scorers measured.
        audits: of the scorers; none where that was not asked for.
        blank: by arm, how many pictures are of one colour.
    """

    arms: Arms
    files: Mapping[str, Sequence[Path]]
    scores: Mapping[str, Scores]
    audits: "Sequence[ScorerAudit]"
    blank: Mapping[str, int]


ABOUT = {"off": "without reuse", "on": "with reuse", "control": "without reuse, other seeds"}


def load(answers: Sequence[Answer]) -> Load:
    """Return how fast requests were answered."""
    good = [one for one in answers if one.file]
    ends: dict[int, float] = {}
    for one in answers:
        ends[one.begun] = max(ends.get(one.begun, 0.0), one.done)
    told = [one.hit for one in good if one.hit is not None]
    hits = {which: [one.seconds for one in good if one.hit is which] for which in (True, False)}
    return Load(
        asked=len(answers),
        answered=len(good),
        failed=dict(Counter(one.failed for one in answers if one.failed)),
        repeated=sum(one.attempts > 1 for one in answers),
        seconds=_percentiles([one.seconds for one in good]),
        seconds_hit=_percentiles(hits[True]),
        seconds_miss=_percentiles(hits[False]),
        throughput=len(good) / total if (total := sum(ends.values())) > 0 else 0.0,
        hits=sum(told) if told else None,
        blank=sum(one.blank for one in good),
        said=_numbers(good),
    )


def sameness(arms: Arms) -> dict[str, Result]:
    """Return by encoder how much more alike the pictures of one prompt are with reuse than without, mean cosine.

    A cache that lets requests of one prompt begin from the same latent makes their pictures alike.
    """
    found: dict[str, Result] = {}
    for encoder in arms.texts:
        more = np.subtract(*(within_prompts(arms.embeddings[arm][encoder], arms.prompts) for arm in ("on", "off")))
        if len(more) > 1:
            one = mean_by_prompt(more, [str(row) for row in range(len(more))])
            found[encoder] = Result(value=one.value, low=one.low, high=one.high, n=one.n, method="t over prompts")
    return found


def verdicts(said: Sequence[Scored], of_alarm: Alarm, delta: float) -> Iterator[str]:
    """Yield what follows, in sentences; the alarm first."""
    yield of_alarm.sentence
    for one in said:
        rate, difference = one.on.win_rate, one.on.difference
        yield (
            f"{one.scorer}: {one.on.verdict}: wins {_percent(rate)} of pairs (1/2 less {delta:g} is the margin); "
            f"difference {difference.value:+.4f}{_interval(difference)}; control wins {_percent(one.control.win_rate)}"
        )


def _percent(rate: Result) -> str:
    ends = "" if rate.low is None or rate.high is None else f" [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
    return f"{100 * rate.value:.1f}%{ends}"


def _interval(result: Result) -> str:
    return "" if result.low is None or result.high is None else f" [{result.low:+.4f}, {result.high:+.4f}]"


def _percentiles(seconds: Sequence[float]) -> tuple[float, ...] | None:
    return tuple(float(value) for value in np.percentile(seconds, PERCENTILES)) if seconds else None


def _numbers(answers: Sequence[Answer]) -> dict[str, float]:
    """Return the means of what the server says in numbers of its reuse; only of what every answer has."""
    found: dict[str, float] = {}
    for name in answers[0].said if answers else ():
        try:
            values = [float(one.said[name]) for one in answers]
        except (KeyError, ValueError):
            continue
        if np.isfinite(values).all() and len(found) < MOST_NAMES:
            found[name] = float(np.mean(values))
    return found


def _content(file: Path) -> str:
    return pixels_hash(read_picture(file))
