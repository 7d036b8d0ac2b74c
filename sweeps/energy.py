"""The energy that an NVIDIA accelerator takes, as NVML counts it (total energy consumption, Volta and later)."""

from collections.abc import Callable

from common.errors import UserError

Joules = Callable[[], float]


def meter(device: str) -> Joules:
    """Return a function that reads the device's energy counter, in J; differences of two readings are what was taken.

    The counter is the whole device's, whoever uses it. A reading waits until the device has done its work.

    Raises:
        UserError: there is no such device, no NVML, or none that counts energy.
    """
    if not device.startswith("cuda"):
        raise UserError(f"energy is not measured: {device} is no NVIDIA accelerator", "leave --energy out")
    try:
        import pynvml
    except ImportError as error:
        hint = "install reusebench[energy]"
        raise UserError("energy is not measured: nvidia-ml-py is not installed", hint) from error
    import torch

    try:
        pynvml.nvmlInit()
        # torch numbers the devices that it may see, NVML all of them
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        raise UserError(f"energy is not measured: NVML says {error}", "leave --energy out") from error

    def joules() -> float:
        torch.cuda.synchronize(device)
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000

    return joules
