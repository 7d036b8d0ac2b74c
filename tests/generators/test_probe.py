"""The denoiser's opinion: what it is, what it costs, and that it does not depend on how it was asked."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UserError
from generators.batching import Batches
from generators.catalogue import model
from generators.conditioning import Conditioning
from generators.families.kandinsky import Kandinsky
from generators.noise import KeyedNoise, node_key
from generators.probe import DenoiserProbe
from generators.settings import GenerationSettings

PROMPTS = ["a red fox", "a red dog", "a blue cat", "a tree by a lake", "a red fox"]
KEYS = [f"{prompt}#{PROMPTS[:i].count(prompt)}" for i, prompt in enumerate(PROMPTS)]
K = 6
PAIRS = [(np.array([0]), np.array([1, 2])), (np.array([3]), np.array([1])), (np.array([0]), np.array([4]))]


@pytest.fixture(scope="module")
def family(tiny_kandinsky: Path) -> Kandinsky:
    return Kandinsky.load(model(str(tiny_kandinsky)), "cpu", "fp32")


@pytest.fixture(scope="module")
def settings(family: Kandinsky) -> GenerationSettings:
    return GenerationSettings.resolve(
        family.entry.defaults, {"steps": K, "guidance": 2.0, "prior_steps": 2, "dtype": "fp32"}
    )


@pytest.fixture(scope="module")
def conditioning(family: Kandinsky, settings: GenerationSettings) -> Conditioning:
    made = family.encode(PROMPTS, KEYS, settings)
    for tensor in made.tensors.values():
        tensor[4] = tensor[0]  # equal prompts, were it not for the prior's noise
    return made


@pytest.fixture
def probe(family, conditioning, settings) -> DenoiserProbe:
    return DenoiserProbe(family, conditioning, KEYS, settings, Batches(8))


def test_an_answer_is_the_difference_of_two_predictions_from_one_latent(probe, family, conditioning, settings) -> None:
    k, sampler, (_, one, two) = 3, family.sampler(settings), (None, np.array([3]), np.array([1]))

    def predicted(latents: torch.Tensor, members: list[int], step: int) -> torch.Tensor:
        rows = {name: tensor[members].mean(dim=0, keepdim=True) for name, tensor in conditioning.tensors.items()}
        return sampler.x0(family.predict(latents, step, sampler, rows, settings), step, latents)

    key = node_key([KEYS[1], KEYS[3]])
    noise = KeyedNoise(settings.seed).initial([key], family.latent_shape(settings))
    clean = predicted(noise * sampler.init_sigma, [1, 3], 0)
    share = 1 / (1 + np.exp(-probe.log_snr[k]))
    noisy = (share**0.5 * clean + (1 - share) ** 0.5 * noise).float()
    expected = (predicted(noisy, [3], k) - predicted(noisy, [1], k)).square().mean().sqrt()
    assert probe.disagreement([(one, two)], k)[0] == pytest.approx(float(expected), rel=1e-4)
    assert expected > 0


def test_rows_are_what_the_denoiser_was_asked(probe, family) -> None:
    rows: list[int] = []
    hook = family.decoder.unet.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["sample"])), with_kwargs=True
    )
    try:
        probe.disagreement(PAIRS, 2)
        assert probe.rows == 9 == sum(rows) / 2, "guidance asks twice a row"
        probe.disagreement(PAIRS[:2], 4)
        assert probe.rows == 13 == sum(rows) / 2, "where a cluster begins is known"
    finally:
        hook.remove()


def test_who_is_alike_does_not_disagree(probe) -> None:
    apart = probe.disagreement(PAIRS, 2)
    assert apart[2] == 0
    assert (apart[:2] > 0).all()


def test_an_answer_does_not_depend_on_batches_order_or_others(family, conditioning, settings, probe) -> None:
    expected = probe.disagreement(PAIRS, 3)
    alone = DenoiserProbe(family, conditioning, KEYS, settings, Batches(1))
    swapped = [(two[::-1], one) for one, two in PAIRS[::-1]]
    assert alone.disagreement(swapped, 3)[::-1] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_scheduler_that_does_not_say_how_noisy_its_latents_are_is_refused(family, conditioning, settings) -> None:
    edm = settings.model_copy(update={"scheduler": "EDMEulerScheduler"})
    with pytest.raises(UserError, match="does not say how noisy its latents are"):
        DenoiserProbe(family, conditioning, KEYS, edm, Batches(8))
