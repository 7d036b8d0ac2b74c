"""The models of a sweep, loaded one at a time."""

from typing import TYPE_CHECKING

from common.allocator import keep_memory
from common.errors import NoRoomError, UserError
from common.loading import loading
from generators.acceleration import Acceleration
from generators.device_memory import give_back
from generators.families.base import Family, get_family

if TYPE_CHECKING:
    from generators.checkpoints import Offload
    from generators.model_entry import ModelEntry


class Families:
    """Loaded models, one at a time: the one before is let go.

    `acceleration` is the device's default if None.

    Raises:
        UserError: weights are to wait in main memory for a device that is the main memory.
    """

    def __init__(
        self,
        device: str,
        offload: "Offload" = "none",
        acceleration: Acceleration | None = None,
    ) -> None:
        if offload != "none" and device == "cpu":
            raise UserError("--offload keeps weights off the accelerator, and the device is the CPU", "leave it out")
        self.device, self._offload = device, offload
        self._acceleration = acceleration or Acceleration.chosen(device)
        self._acceleration.begin()
        if device == "cpu":
            keep_memory()
        self._key: tuple[str, str] | None = None
        self._refused: dict[tuple[str, str], NoRoomError] = {}
        self._family: Family | None = None

    def get(self, entry: "ModelEntry", dtype: str) -> Family:
        """Return the model in this precision, loaded if it is not the one that was used last.

        Raises:
            NoRoomError: its weights did not fit before (`refuse`).
        """
        if error := self._refused.get((entry.name, dtype)):
            raise NoRoomError(error.message, error.hint)
        if self._family is None or self._key != (entry.name, dtype):
            self.release()
            with loading():
                self._family = get_family(entry.family).load(entry, self.device, dtype)
            self._family.offload, self._family.acceleration = self._offload, self._acceleration
            self._key = (entry.name, dtype)
        return self._family

    def refuse(self, error: NoRoomError) -> None:
        """Do not try again to load the weights of the model that was asked for last: they did not fit."""
        if self._key is not None:
            self._refused[self._key] = NoRoomError(error.message, error.hint)
        self.release()

    def release(self) -> None:
        """Let go of the model that is loaded."""
        self._key = None
        if self._family is not None:
            self._family = None
            give_back(self.device)
