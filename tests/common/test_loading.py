"""Weights that do not fit are one line, and nothing that did fit is kept by the error."""

import gc
import weakref

import pytest

from common.errors import NoRoomError, UserError, without_frames
from common.loading import loading


class Weights:
    """Something large."""


def test_what_did_fit_leaves_with_the_error():
    parts: list[weakref.ref[Weights]] = []

    def load() -> None:
        first = Weights()
        parts.append(weakref.ref(first))
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(NoRoomError) as failed, loading("the weights of x in float16 on cuda", "use --offload model"):
        load()
    gc.collect()
    assert parts[0]() is None
    assert failed.value.message == "the weights of x in float16 on cuda do not fit into its memory"
    assert failed.value.hint == "use --offload model"


def test_a_reason_that_somebody_wrapped_is_recognised():
    with pytest.raises(NoRoomError), loading("the weights of x", "use less"):
        raise UserError("cannot load the scorer x: CUDA out of memory", "fetch it again")


def test_other_errors_pass():
    with pytest.raises(UserError, match="damaged"), loading("the weights of x", "use less"):
        raise UserError("x is damaged")


def test_an_error_that_is_kept_holds_nothing_and_can_still_be_printed():
    parts: list[weakref.ref[Weights]] = []

    def work() -> None:
        latents = Weights()
        parts.append(weakref.ref(latents))
        try:
            raise ValueError("inner")
        except ValueError as error:
            raise RuntimeError("outer") from error

    try:
        work()
    except RuntimeError as error:
        kept = without_frames(error)
    assert parts[0]() is None
    assert kept.__traceback__ is not None
    assert isinstance(kept.__cause__, ValueError)
