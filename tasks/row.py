"""A row of the leaderboard: what one method reached on one card, in one JSON file that says itself whether it is whole.

The file's JSON schema is `schema`; its `sha256` is the hash of everything else in it, as canonical JSON, so a row that
was edited by hand is refused. The hash shows damage and carelessness, not fraud: whoever edits a row can hash it again,
which is why scores and examples lie beside it under hashes that it holds.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import UserError
from common.files import canonical_json, input_file, parse_json, sha256_text, write_sealed
from sweeps.record import Result
from tasks.card import Hash

SCHEMA_VERSION: Literal[1] = 1
ROW, SCORES, EXAMPLES = "row.json", "scores.parquet", "examples"  # in one folder
MOST = 4 << 20  # bytes of a row
Kind = Literal["sharing", "peer", "baseline", "control", "submission"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Method(_Part):
    """What made the pictures.

    Attributes:
        name: as it is to be shown; different methods have different names.
        kind: ``sharing``: between prompts, by a strategy in the box; ``peer``: another group's rule, as
            implemented here; ``baseline``: shares nothing; ``control``: is there to be beaten; ``submission``: made
            elsewhere.
        description: one or two sentences.
        url: of a paper or code.
        authors: who submits it.
        hardware: what it ran on, where seconds are told.
        settings: what it was run with, as plain values; enough to run it again.
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    kind: Kind
    description: Annotated[str, Field(max_length=600)] = ""
    url: Annotated[str, Field(max_length=300, pattern=r"^(https?://.*)?$")] = ""
    authors: Annotated[str, Field(max_length=200)] = ""
    hardware: Annotated[str, Field(max_length=200)] = ""
    settings: dict[str, Any] = {}


class Example(_Part):
    """A picture that is shown, beside the baseline's of the same prompt and seed; files are relative to the row.

    Attributes:
        prompt: its place in the card's prompt set, from 0.
        text: the prompt.
        seed: of the card.
        file: the method's picture.
        baseline: the baseline's.
        score: the first scorer's, of the method's picture.
        baseline_score: the same of the baseline's.
        sha256: the hash of `file`.
        baseline_sha256: the hash of `baseline`.
    """

    prompt: int
    text: str
    seed: int
    file: str
    baseline: str
    score: float
    baseline_score: float
    sha256: Hash | None = None
    baseline_sha256: Hash | None = None


class Point(_Part):
    """One setting of a method: a point of its curve of quality against savings.

    Attributes:
        name: the setting, in its own terms, as ``tau=0.5``.
        nfe: rows of the denoiser that all pictures took, by what the method says; two a guided step.
        baseline_nfe: of the card's baseline.
        savings: 1 - nfe / baseline_nfe.
        seconds: that all pictures took, by what the method says.
        pictures: how many there are: prompts times seeds.
        identical: how many have the baseline's pixels.
        results: named ``<scorer>.<result>``, as ``vqa.win_rate``, over all seeds, with 95% intervals that know that
            a seed's pictures may have noise in common. A win rate and its counts take differences within the scorer's
            floor for ties, as claims do; ``win_rate_any_difference`` takes none.
        verdict: of the first scorer's win rate: whether it lies above 1/2 - delta (``no worse``), below (``worse``), or
            the pairs do not say (``undecided``).
        pictures_sha256: the hash of the hashes of all pictures' files, in the order of seeds, then prompts.
        examples: some pictures, chosen by rule and not by hand.
        notes: what is odd about the pictures, in words.
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    nfe: Annotated[int, Field(ge=0)]
    baseline_nfe: Annotated[int, Field(ge=1)]
    savings: float
    seconds: Annotated[float, Field(gt=0)] | None = None
    pictures: int
    identical: int
    results: dict[str, Result]
    verdict: Literal["no worse", "worse", "undecided"]
    pictures_sha256: Hash
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()


class Row(_Part):
    """What one method reached on one card.

    Attributes:
        schema_version: of this format.
        card: the name of the task card, with its suite.
        card_sha256: its hash: rows of different hashes are not comparable.
        method: what made the pictures.
        points: in order of rising savings, at least one.
        parity: the savings, from 0 to 1, up to which the win rate is shown to be above 1/2 - delta, with its interval
            (`metrics.parity`).
        seed_control: the same results of the baseline under another seed (A/A): what no method at all gives.
        scorers: what measured, by name, as in records.
        trusted: whether the audit of the first scorer on the baseline's pictures found that it may be trusted.
        floor: the difference of the first scorer below which pictures look alike, by that audit.
        versions: of the packages that scored.
        scores_sha256: the hash of ``scores.parquet`` beside the row, where it was written.
        sha256: the hash of all the rest.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    card: str
    card_sha256: Hash
    method: Method
    points: Annotated[tuple[Point, ...], Field(min_length=1)]
    parity: Result
    seed_control: dict[str, Result] = {}
    scorers: dict[str, dict[str, Any]]
    trusted: bool | None = None
    floor: float | None = None
    versions: dict[str, str]
    scores_sha256: Hash | None = None
    sha256: Hash | None = None

    @property
    def content_hash(self) -> str:
        """Return the hash of everything but `sha256`."""
        return sha256_text(canonical_json(self.model_dump(mode="json", exclude={"sha256"})))

    def sealed(self) -> Self:
        """Return the row with its hash."""
        return self.model_copy(update={"sha256": self.content_hash})

    def write(self, path: Path) -> None:
        """Write the row with its hash."""
        write_sealed(path, self.model_dump(mode="json", exclude={"sha256"}))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the row in a file.

        Raises:
            UserError: it cannot be read, is no row, or was changed since it was written.
        """
        hint = "make it again with `bench score`"
        try:
            row = cls.model_validate(parse_json(input_file(path, MOST).read_bytes()))
        except (OSError, ValueError, ValidationError) as error:
            raise UserError(f"{path} is no row of a leaderboard: {error}", hint) from error
        if row.sha256 != row.content_hash:
            raise UserError(f"{path} was changed since it was written: its hash is of another content", hint)
        return row


def schema() -> dict[str, Any]:
    """Return the JSON schema of a row's file."""
    return Row.model_json_schema(mode="serialization")
