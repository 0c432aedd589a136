"""The three products that training makes of a layer; without NumPy, so that a command's help comes at once."""

from typing import Literal

Operation = Literal["forward", "input_grad", "weight_grad"]
OPERATIONS: tuple[Operation, ...] = ("forward", "input_grad", "weight_grad")
