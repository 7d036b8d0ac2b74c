"""A few injections of every kind; the long form is `tests.campaign.damage`."""

import pytest

from tests.campaign.damage import Campaign

COUNT = 19


@pytest.fixture(scope="module")
def campaign(tmp_path_factory, tiny):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reports.render.figures", dict)
        patch.setenv("REUSEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Campaign(tmp_path_factory.mktemp("campaign"), tiny.model, [f"vqa={tiny.vqa}"])


def test_no_damage_is_silent_and_none_ends_in_a_traceback(campaign):
    bad = []
    for injection in campaign.injections(COUNT, seed=2, weights=(1, 3, 0, 0)):
        outcome, printed = campaign.outcome(injection)
        if outcome not in ("survived", "noticed"):
            bad.append((outcome, injection, printed.said))
    assert bad == []
