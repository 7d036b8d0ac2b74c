"""What images cost before they are made."""

from sweeps.cost import components
from sweeps.grid import sources


def test_components_are_those_of_a_model_at_any_seed_and_number_of_steps(tiny_spec):
    """So their FLOPs are counted once a sweep; what decides them makes others."""
    spec = tiny_spec(seed="1,2", steps="2,3", guidance="1,4")
    by_guidance: dict[float, set[int]] = {}
    for source in sources(spec, "cpu"):
        by_guidance.setdefault(source.settings.guidance, set()).add(id(components(source)))
    assert [len(lists) for lists in by_guidance.values()] == [1, 1]
    plain, guided = by_guidance.values()
    assert plain != guided
