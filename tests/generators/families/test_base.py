"""What every family says of itself."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_flux import save_tiny_flux
from tiny_kandinsky import save_tiny_kandinsky
from tiny_karlo import save_tiny_karlo
from tiny_stable_unclip import save_tiny_stable_unclip

from generators.catalogue import model
from generators.families.base import families, get_family, resolve_settings
from metrics.memory import conditioning_bytes


def test_families_are_grouped_as_the_papers_claim_groups_them():
    assert {name: family.conditioned_on for name, family in families().items()} == {
        "diffusers": "text",
        "kandinsky": "image",
        "karlo": "image",
        "stable-unclip": "both",
    }


SAVED = {
    "kandinsky": lambda folder: save_tiny_kandinsky(folder, variance_type="fixed_small", clip_sample=False),
    "karlo": save_tiny_karlo,
    "stable-unclip": save_tiny_stable_unclip,
    "flux": lambda folder: save_tiny_flux(folder, guidance_embeds=True),
}


@pytest.mark.parametrize("name", SAVED)
def test_conditioning_is_kept_as_it_is_made_and_as_it_is_foretold_without_weights(name: str, tmp_path: Path):
    """In bf16, as the encoders answer: half of what float32 would take."""
    SAVED[name](tmp_path)
    entry = model(str(tmp_path))
    settings = resolve_settings(entry, {"dtype": "bf16"})
    family = get_family(entry.family).load(entry, "cpu", "bf16")
    row = family.conditioning_of(entry, settings)
    assert conditioning_bytes(row, 3) == 3 * conditioning_bytes(row)
    made = family.encode(["a fox", "a boat"], ["a", "b"], settings)
    made.save(tmp_path / "conditioning.safetensors")
    kept = load_file(tmp_path / "conditioning.safetensors")
    unsaid = {"pooled", "token_mask"} - set(row)  # kept beside what pipelines return, to cluster by
    found = sorted((str(tuple(t.shape[1:])), str(t.dtype)) for key, t in kept.items() if key not in unsaid)
    assert found == sorted((str(tuple(tensor.shape)), str(tensor.dtype)) for tensor in row.values())
    assert sum(tensor.nbytes for tensor in kept.values()) == 2 * made.row_bytes
    assert any(tensor.dtype == torch.bfloat16 for tensor in kept.values())
