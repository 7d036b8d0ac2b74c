"""What every family says of itself."""

from generators.families.base import families


def test_families_are_grouped_as_the_papers_claim_groups_them():
    assert {name: family.conditioned_on for name, family in families().items()} == {
        "diffusers": "text",
        "kandinsky": "image",
        "karlo": "image",
        "stable-unclip": "both",
    }
