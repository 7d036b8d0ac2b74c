import pytest
import torch
from diffusers import VQModel

from miniature.exporting.autoencoder_kl import as_autoencoder_kl
from miniature.training.autoencoder import LATENT_CHANNELS, build, decode, encode


@pytest.fixture(scope="module")
def vq() -> VQModel:
    torch.manual_seed(0)
    return build().eval()


@torch.no_grad()
def test_it_draws_what_the_vq_model_draws(vq: VQModel) -> None:
    kl, latents = as_autoencoder_kl(vq, 64), torch.randn(2, LATENT_CHANNELS, 8, 8)
    assert torch.equal(
        kl.decode(latents / kl.config.scaling_factor + kl.config.shift_factor).sample, decode(vq, latents)
    )


@torch.no_grad()
def test_its_mode_is_the_vq_models_latent_and_so_is_any_sample(vq: VQModel) -> None:
    pictures = torch.rand(2, 3, 64, 64) * 2 - 1
    found, wanted = as_autoencoder_kl(vq, 64).encode(pictures).latent_dist, encode(vq, pictures)
    torch.testing.assert_close(found.mode(), wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.sample(), wanted, atol=1e-5, rtol=1e-5)
    assert wanted.std() > 0.01
