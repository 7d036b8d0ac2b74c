"""What must hold of the components that every family describes."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from generators.component import Component


def count_the_same_on_meta_as_on_real_tensors(components: list[Component]) -> None:
    for part in components:
        counted = []
        for device in ("meta", "cpu"):
            with torch.device(device):
                module = part.build()
                args, kwargs = part.inputs(module)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                module(*args, **kwargs)
            counted.append(counter.get_total_flops())
        assert counted[0] == counted[1] > 0, part.name
