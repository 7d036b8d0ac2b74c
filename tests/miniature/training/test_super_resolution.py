from pathlib import Path

import pytest
import torch
from torch import Tensor

from miniature.audits.painters import Karlo
from miniature.training import super_resolution
from miniature.training.super_resolution import enlarged, gain, shrunk, super_resolved


@torch.no_grad()
def test_it_is_the_stock_pipelines(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stock, small = Karlo(exported).stock, []
    decoding, begin = stock.decoder_scheduler.step, stock.super_res_scheduler.set_timesteps

    def step(*args: object, **kwargs: object):  # type: ignore[no-untyped-def]
        small[:] = [decoding(*args, **kwargs)]
        return small[0]

    def set_timesteps(*args: object, **kwargs: object) -> None:
        torch.manual_seed(5)
        begin(*args, **kwargs)

    monkeypatch.setattr(stock.decoder_scheduler, "step", step)
    monkeypatch.setattr(stock.super_res_scheduler, "set_timesteps", set_timesteps)
    counts = {"prior_num_inference_steps": 2, "decoder_num_inference_steps": 2, "super_res_num_inference_steps": 3}
    theirs = torch.from_numpy(stock(["an owl"], output_type="np", **counts).images).permute(0, 3, 1, 2)
    torch.manual_seed(5)
    ours = super_resolved(stock.super_res_first, stock.super_res_last, small[0].prev_sample.clamp(-1, 1), steps=3)
    torch.testing.assert_close((ours / 2 + 0.5).clamp(0, 1), theirs, atol=1e-5, rtol=0)


def test_shrinking_keeps_what_enlarging_gives_back() -> None:
    plain = torch.linspace(-1, 1, 6).reshape(2, 3, 1, 1).expand(2, 3, 64, 64)
    torch.testing.assert_close(enlarged(shrunk(plain)), plain, atol=1e-6, rtol=0)


def test_gain_is_nothing_for_bicubic_enlargement_and_much_for_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    real = torch.rand(2, 3, 64, 64) * 2 - 1

    def made(picture: Tensor) -> float:
        monkeypatch.setattr(super_resolution, "super_resolved", lambda *_: picture)
        return gain(None, None, real)  # type: ignore[arg-type]

    assert made(enlarged(shrunk(real))) == 0
    assert made(real + 0.01) > 20
