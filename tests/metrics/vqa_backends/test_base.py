"""How VQA backends of other packages are found."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from common import plugins
from metrics.vqa_backends.base import VqaBackend, vqa_backends


class Elsewhere(VqaBackend):
    """Of another package."""

    name = scheme = "elsewhere"

    def check(self, prompts):
        pass

    def scores(self, images, prompts, batch_size):
        raise NotImplementedError

    def identity(self):
        return {}


@pytest.mark.parametrize("group", ["reusebench.vqa_backends", "reusebench.answerers"])
def test_a_backend_of_another_package_is_found_under_the_group_s_present_and_former_name(monkeypatch, group):
    points = EntryPoints([EntryPoint("elsewhere", f"{__name__}:Elsewhere", group)])
    monkeypatch.setattr(plugins, "entry_points", lambda group: points.select(group=group))
    monkeypatch.setattr(plugins, "loaded", lambda point: Elsewhere)
    plugins._discover.cache_clear()
    try:
        assert vqa_backends()["elsewhere"] is Elsewhere
    finally:
        plugins._discover.cache_clear()
