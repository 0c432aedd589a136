"""Where in the model an operator runs: the module on the stack, and the parameter that is its weight."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.parameter import is_lazy

from simhw.capture.tensors import plain_parts, storage
from simhw.capture.threads import watched
from simhw.errors import CaptureError, quoted
from simhw.trace.layer import TensorName

_TENSORS: dict[str, TensorName] = {"a": "a", "w": "w", "g": "g"}
_SWAPPED: dict[str, TensorName] = {"a": "w", "w": "a", "g": "g"}


class Names:
    """Module paths and parameter names of one or more models, and the modules that run now.

    Used as a context manager around a step: it follows the modules by PyTorch's global forward hooks, so that no
    model's code needs to know of it.
    """

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        self._paths: dict[int, str] = {}
        self._weights: dict[int, list[tuple[int, int, list[str]]]] = {}
        self._casts: list[Tensor] = []
        self._stack: list[tuple[nn.Module, str]] = []
        self._hooks: list[Any] = []
        for prefix, model in models.items():
            for path, module in model.named_modules(prefix=prefix):
                # What torch.compile wraps a module in is no part of the path that its author knows.
                self._paths.setdefault(
                    id(module), path.replace("_orig_mod.", "").removesuffix("_orig_mod").removesuffix(".")
                )
        named: dict[int, tuple[Tensor, list[str]]] = {}
        for prefix, model in models.items():
            for tensors in (
                model.named_parameters(prefix=prefix, remove_duplicate=False),
                model.named_buffers(prefix=prefix, remove_duplicate=False),
            ):
                for name, tensor in tensors:
                    named.setdefault(id(tensor), (tensor, []))[1].append(name.replace("_orig_mod.", ""))
        for tensor, names in named.values():
            # A lazy module's parameters have no memory before its first run: `weight` finds them in the module then.
            if not is_lazy(tensor):
                self._register(tensor, names)

    def __enter__(self) -> "Names":
        self._hooks = [
            register_module_forward_pre_hook(self._enter_module),
            register_module_forward_hook(self._leave_module, always_call=True),
        ]
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enter_module(self, module: nn.Module, inputs: Any) -> None:  # noqa: ARG002  # the hook's signature
        if not watched():
            return  # another thread's module is none that runs here
        path = self._paths.get(id(module))
        if path is None:
            # A module that is not part of the model, such as a loss: named by its class, below the module that calls
            # it.
            above = self.path
            path = f"{above}.{type(module).__name__}" if above else type(module).__name__
        self._stack.append((module, path))

    def _leave_module(self, module: nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG002  # the hook's signature
        # A module whose own pre-hook failed was never entered.
        if watched() and self._stack and self._stack[-1][0] is module:
            self._stack.pop()

    @property
    def path(self) -> str:
        """Path of the innermost module that runs; empty outside of all."""
        return self._stack[-1][1] if self._stack else ""

    def scales(self, swapped: bool = False) -> dict[TensorName, float]:
        """What the innermost running module says that the integers it multiplies are times; empty for most.

        Parameters
        ----------
        swapped : bool
            The module's A is the layer's W, and the other way round.

        Raises
        ------
        CaptureError
            Its attribute `operand_scales` is no mapping of ``a``, ``w``, ``g`` to positive numbers.
        """
        told = getattr(self._stack[-1][0], "operand_scales", None) if self._stack else None
        if not told:
            return {}
        found: dict[TensorName, float] = {}
        try:
            for tensor, value in told.items():
                found[_SWAPPED[tensor] if swapped else _TENSORS[tensor]] = scale = float(value)
                if not 0 < scale < float("inf"):
                    raise ValueError
        except (AttributeError, KeyError, TypeError, ValueError):
            raise CaptureError(
                f"module {self.path!r}: its operand_scales are {quoted(told)}; give a mapping of a, w, g to positive "
                "numbers"
            ) from None
        return found

    def cast(self, source: Tensor, result: Tensor) -> None:
        """Take `result`, a copy or cast of `source`, for the same weight, if `source` is one."""
        names = self.weight(source)
        if names and source.numel() == result.numel() and storage(result) != storage(source):
            start = int(result.storage_offset())
            self._weights[storage(result)] = [(start, start + result.numel(), names)]
            # Held to the end of the step, so that no other tensor is given its memory and taken for a weight.
            self._casts.append(result)

    def weight(self, tensor: Tensor) -> list[str]:
        """Names of the parameter or buffer that a tensor is (a view, or a cast of); empty if it is none."""
        known = storage(tensor)
        if known not in self._weights and self._stack:
            self._find(known)
        start = int(tensor.storage_offset())
        for first, end, names in self._weights.get(known, ()):
            if first <= start < end:
                return names
        return []

    def _find(self, wanted: int) -> None:
        """Register the running module's parameter of that memory, if it was given it after the step began: lazy and
        sharded modules.
        """
        module, path = self._stack[-1]
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if (
                tensor is not None
                and not is_lazy(tensor)
                and any(storage(part) == wanted for part in plain_parts(tensor))
            ):
                self._register(tensor, [f"{path}.{name}" if id(module) in self._paths and path else name])

    def _register(self, tensor: Tensor, names: list[str]) -> None:
        for part in plain_parts(tensor):
            if not part.is_nested:
                start = int(part.storage_offset())
                self._weights.setdefault(storage(part), []).append((start, start + part.numel(), names))

    def layer_name(self, weights: list[str], what: str) -> str:
        """A layer's name: its weight's, without the word; or the running module's path and what the layer is.

        Parameters
        ----------
        weights : list of str
            Names of the layer's parameter, several if modules share it; that of the running module is taken.
        what : str
            Kind of layer, for one without a parameter.
        """
        path = self.path
        own = [name for name in weights if not path or name.startswith(path + ".")]
        if own and own[0] != "weight":
            return own[0].removesuffix(".weight")
        return f"{path}.{what}" if path else what
