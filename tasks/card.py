"""Task cards: everything that decides what two methods are compared on, frozen under a version.

A card is a YAML file in ``tasks/cards/<suite>/``, named by its suite and file: ``reusebench-v1/mini-sd-styles``. What a
row on the leaderboard claims holds for one version of a card, so a card that was published is never changed: its hash
stands in ``FROZEN`` of its suite, and a change is a new suite (``reusebench-v2``).
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.bounded_yaml import parse_yaml
from common.errors import UserError, nearest
from common.files import atomic_write, canonical_json, sha256_text
from generators.catalogue import model
from generators.prompts import PromptSet, prompt_set
from sweeps.spec import SweepSpec, make_spec

CARDS = files("tasks") / "cards"
FROZEN = "FROZEN"  # lines of a hash and a card's file, in each suite
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[Decimal, Field(gt=0, lt=1)]


class Card(BaseModel):
    """A task: make one picture of each prompt and seed, as cheaply and as well as you can.

    Attributes:
        name: suite and file, as ``reusebench-v1/mini-sd-styles``; not in the file.
        title: what it is about, in a line.
        track: ``miniature`` runs on any machine in minutes; ``full`` needs a GPU and weights from a hub.
        status: ``frozen``, or ``draft`` where nobody has yet pinned the weights; rows on drafts are not ranked.
        model: a name of the catalogue.
        weights: the hash of its weights, as `ModelEntry.weights_hash` tells it; None in drafts.
        dataset: a known prompt set, of which all prompts are used, or the first `limit`.
        prompts: the hash of the whole set's texts.
        limit: the number of prompts that are used; None: all.
        seeds: of each a picture of every prompt is made.
        steps: K, denoising steps of the baseline.
        scheduler: of the baseline, by its class in diffusers.
        guidance: guidance scale.
        dtype: precision of the baseline.
        height: in pixels.
        width: in pixels.
        rows: of the denoiser that one picture of the baseline takes (NFE): two a step with guidance, where a model
            has it.
        settings: further settings of the baseline, by their names in a sweep, as ``prior_steps``.
        scorers: what scores the pictures, as ``vqa=embedded:vqa``; the first decides the ranking.
        scorer_weights: of each scorer, as ``vqa``, the hash of its weights; of drafts none.
        delta: the margin: a win rate is no worse than the baseline's if it is above 1/2 less this.
        savings: shares of the baseline's denoiser rows at which methods are compared with each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    track: Literal["miniature", "full"]
    status: Literal["frozen", "draft"] = "frozen"
    model: str
    weights: Hash | None
    dataset: str
    prompts: Hash
    limit: Annotated[int, Field(ge=2)] | None = None
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    steps: Annotated[int, Field(ge=1)]
    scheduler: str
    guidance: float
    dtype: Literal["fp32", "fp16", "bf16"]
    height: int
    width: int
    rows: Annotated[int, Field(ge=1)]
    settings: dict[str, float | int | str] = {}
    scorers: Annotated[tuple[str, ...], Field(min_length=1)]
    scorer_weights: dict[str, Hash] = {}
    delta: Annotated[float, Field(gt=0, lt=0.5)]
    savings: Annotated[tuple[Share, ...], Field(min_length=1)]

    @property
    def hash(self) -> str:
        """Return the hash of all that the card says."""
        return sha256_text(canonical_json(self.model_dump(mode="json")))

    @cached_property
    def prompt_set(self) -> PromptSet:
        """The prompts, as many as are used, in the order that prompt ids 0, 1, ... count.

        Raises:
            UserError: the set's files are not here, or are not those that the card was frozen with.
        """
        whole = prompt_set(self.dataset)
        if whole.hash != self.prompts:
            raise UserError(
                f"the prompt set {self.dataset} is not the one of the card {self.name}: its hash is "
                f"{whole.hash[:12]}..., the card's {self.prompts[:12]}...",
                "use the prompt files that the card was made with, or another card",
            )
        return whole.first(self.limit) if self.limit else whole

    @property
    def pictures(self) -> int:
        """Return the number of pictures that a submission at one setting has."""
        return len(self.prompt_set) * len(self.seeds)

    def check_weights(self) -> None:
        """Raise a UserError where this machine's weights are not the card's; drafts have none to hold them against."""
        if self.weights and (found := model(self.model).weights_hash()) != self.weights:
            raise UserError(
                f"the weights of {self.model} here are not those of the card {self.name}: their hash is {found[:12]}..."
                f", the card's {self.weights[:12]}...",
                "use the checkpoint that the card was made with, or another card",
            )

    def check_scorers(self, identities: Mapping[str, Mapping[str, Any]]) -> None:
        """Raise a UserError where the scorers of this machine are not the card's.

        Args:
            identities: by scorer, what decides its scores (`sweeps.scorers.Scorers.identities`).
        """
        for name, weights in self.scorer_weights.items():
            found = identities.get(name, {}).get("sha256")
            if found != weights:
                raise UserError(
                    f"the weights of the scorer {name} here are not those of the card {self.name}: their hash is "
                    f"{str(found)[:12]}..., the card's {weights[:12]}...",
                    "use the scorer that the card was made with, or another card",
                )

    def spec(self, **changes: object) -> SweepSpec:
        """Return the sweep of the card's prompts, model and settings; at tau 0, so the baseline, unless changed."""
        fixed = {
            "model": self.model,
            "dataset": self.dataset,
            "limit": self.limit,
            "seed": list(self.seeds),
            "steps": [self.steps],
            "scheduler": self.scheduler,
            "guidance": [self.guidance],
            "dtype": self.dtype,
            "height": self.height,
            "width": self.width,
            "metric": list(self.scorers),
            **self.settings,
        }
        shared = {} if {"tau", "savings"} & changes.keys() else {"tau": "0"}
        return make_spec([fixed, shared, changes])

    @classmethod
    def read(cls, name: str, text: str) -> Self:
        """Return the card that a YAML file's text describes.

        Raises:
            UserError: it is none.
        """
        where = f"the card {name}"
        try:
            return cls.model_validate({**parse_yaml(text), "name": name})
        except (ValidationError, TypeError) as error:
            raise UserError(f"{where} is not valid: {error}", "mend its file") from error


def write_prompts(card: Card, path: Path) -> None:
    """Write a card's prompts with their numbers, columns ``prompt`` and ``prompt_text``, as CSV or JSON lines.

    Raises:
        UserError: the file's name says neither.
    """
    import csv
    import io
    import json

    rows = [{"prompt": number, "prompt_text": text} for number, text in enumerate(card.prompt_set.prompts)]
    if path.suffix.lower() == ".jsonl":
        atomic_write(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    elif path.suffix.lower() == ".csv":
        table = csv.DictWriter(lines := io.StringIO(), list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        atomic_write(path, lines.getvalue())
    else:
        raise UserError(f"{path} is neither .csv nor .jsonl", "give a file with one of these endings")


def cards() -> dict[str, Traversable]:
    """Return the files of all cards, by name."""
    found = {}
    for suite in sorted((place for place in CARDS.iterdir() if place.is_dir()), key=lambda place: place.name):
        for file in sorted(suite.iterdir(), key=lambda file: file.name):
            if file.name.endswith(".yaml"):
                found[f"{suite.name}/{file.name.removesuffix('.yaml')}"] = file
    return found


def card(name: str) -> Card:
    """Return the card of that name; the suite may be left out where one alone has it.

    Raises:
        UserError: there is none, or it was changed since it was frozen.

    Examples:
        >>> card("mini-sd-styles").name
        'reusebench-v1/mini-sd-styles'
    """
    known = cards()
    meant = [full for full in known if name in (full, full.partition("/")[2])]
    if len(meant) != 1:
        what = f"no task card is called {name!r}" if not meant else f"several cards are called {name!r}"
        raise UserError(what, nearest(name, known) if not meant else f"say which: {', '.join(meant)}")
    found = Card.read(meant[0], known[meant[0]].read_text(encoding="utf-8"))
    if found.status == "frozen" and frozen(meant[0]) != found.hash:
        raise UserError(
            f"the card {found.name} was changed since it was frozen, so rows of it mean something else",
            "put the file back, or publish what it says now as a card of a new suite",
        )
    return found


def frozen_as_they_are(suite: str, *, again: bool = False) -> str:
    """Return what `FROZEN` of a suite has to say of its cards as they are now, drafts left out, and write it.

    Args:
        suite: as ``reusebench-v1``.
        again: even where a card was frozen as something else, as long as nobody has made a row with it.

    Raises:
        UserError: it was, and this is not given.
    """
    read = [Card.read(name, file.read_text(encoding="utf-8")) for name, file in cards().items()]
    kept = [card for card in read if card.status == "frozen" and card.name.startswith(f"{suite}/")]
    changed = [card.name for card in kept if frozen(card.name) not in (None, card.hash)]
    if changed and not again:
        raise UserError(f"{changed[0]} is frozen as something else", "rows were made with that: begin another suite")
    lines = "".join(f"{card.hash}  {card.name.partition('/')[2]}\n" for card in kept)
    atomic_write(Path(str(CARDS / suite / FROZEN)), lines)
    return lines


def frozen(name: str) -> str | None:
    """Return the hash that a card was frozen with; None where it is not in its suite's list."""
    suite, _, file = name.partition("/")
    if not (CARDS / suite / FROZEN).is_file():
        return None
    lines = (CARDS / suite / FROZEN).read_text(encoding="utf-8").splitlines()
    return next((line.split()[0] for line in lines if line.split()[1:] == [file]), None)
