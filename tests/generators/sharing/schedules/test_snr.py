"""Thresholds that follow the sampler's noise: on closed forms, and what every schedule promises."""

import math

import diffusers
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from generators.sampler import Sampler
from generators.sharing.schedule import get_schedule
from generators.sharing.schedules.snr import Snr

LEVELS = st.lists(
    st.one_of(st.floats(-40, 40), st.sampled_from([-math.inf, 0.0])), min_size=1, max_size=50
)  # a scheduler's need not even rise
SHIFTS = st.floats(-20, 20)


@given(LEVELS, SHIFTS, st.one_of(st.just(0.0), st.floats(0, 1e6)))
def test_thresholds_fall_from_tau_to_nothing(levels: list[float], shift: float, tau: float) -> None:
    phi = get_schedule("snr", shift=shift).bound(levels).thresholds(tau, len(levels))
    assert phi[-1] == 0
    assert (np.diff(phi) <= 0).all()
    assert (phi <= tau).all()


@given(LEVELS, SHIFTS, st.floats(0, 100), st.floats(0, 100))
def test_a_larger_tau_shares_no_less(levels: list[float], shift: float, one: float, two: float) -> None:
    schedule = get_schedule("snr", shift=shift).bound(levels)
    low, high = (schedule.thresholds(tau, len(levels)) for tau in sorted([one, two]))
    assert (low <= high).all()


def test_along_ddpm_it_is_the_noise_s_share_of_the_variance() -> None:
    betas = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
    config = dict(diffusers.DDPMScheduler(clip_sample=False, **betas).config) | {"_class_name": "DDPMScheduler"}
    sampler = Sampler(config, "default", 10)
    kept = np.cumprod(1 - np.linspace(0.0001, 0.02, 1000))[sampler.timesteps.numpy()]
    assert np.allclose(sampler.log_snr, np.log(kept / (1 - kept)), atol=1e-3)
    phi = get_schedule("snr", shift=0).bound(sampler.log_snr).thresholds(2.0, 10)
    noise = 1 - kept
    assert np.allclose(phi, 2 * (noise - noise[-1]) / (1 - noise[-1]), atol=1e-4)


def test_along_a_flow_it_is_the_noise_s_share_of_the_variance() -> None:
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}
    sampler = Sampler(config, "default", 8)
    sigma = sampler.timesteps.double().numpy() / 1000
    noise = sigma**2 / (sigma**2 + (1 - sigma) ** 2)
    assert sampler.log_snr is not None
    assert sampler.log_snr[0] == -math.inf, "it begins with noise alone"
    phi = get_schedule("snr", shift=0).bound(sampler.log_snr).thresholds(1.0, 8)
    assert np.allclose(phi, (noise - noise[-1]) / (1 - noise[-1]), atol=1e-6)
    assert phi[0] == 1


def test_a_higher_shift_splits_later() -> None:
    levels = np.linspace(-6, 4, 20).tolist()
    low, high = (get_schedule("snr", shift=shift).bound(levels).thresholds(1.0, 20) for shift in (-2, 2))
    assert (low[1:-1] < high[1:-1]).all()


def test_it_must_be_bound_to_as_many_steps_of_a_sampler() -> None:
    with pytest.raises(UserError, match="follows a sampler's noise over 10 steps, and no sampler is known here"):
        get_schedule("snr").thresholds(1.0, 10)
    with pytest.raises(UserError, match="over 10 steps, and this sampler takes 3"):
        get_schedule("snr").bound([-1.0, 0.0, 1.0]).thresholds(1.0, 10)
    with pytest.raises(UserError, match="does not say how noisy its latents are"):
        get_schedule("snr").bound(None)
    eq7 = get_schedule("eq7")
    assert eq7.bound(None) is eq7, "what does not follow noise needs none"


def test_parameters_are_numbers_that_it_has() -> None:
    assert get_schedule("snr", shift=2).parameters == {"shift": 2.0}
    assert get_schedule("snr").parameters == {"shift": Snr().shift}
    with pytest.raises(UserError, match="schedule 'snr' has no parameter 'shft'") as error:
        get_schedule("snr", shft=1)
    assert "shift" in str(error.value.hint)
    for value in ("late", True, math.nan, None):
        with pytest.raises(UserError, match="is not a finite number"):
            get_schedule("snr", shift=value)
    with pytest.raises(UserError, match="schedule 'eq7' has no parameter 'shift'"):
        get_schedule("eq7", shift=1)
