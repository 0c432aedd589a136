"""What of a model runs in a thread that capture does not watch: PyTorch's dispatcher shows a mode its own
thread alone.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from simhw.errors import CaptureError


def watched() -> bool:
    """Whether operators that run now are seen: the thread, or autograd's for it, has a dispatch mode."""
    return bool(_get_current_dispatch_mode_stack())


class Unwatched:
    """Notices modules that run, and parameters whose gradients are computed, where nobody sees it.

    Used as a context manager around a step.
    """

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        self._models = models
        self._paths = {
            id(module): path for prefix, model in models.items() for path, module in model.named_modules(prefix=prefix)
        }
        self._hooks: list[Any] = []
        self._noticed: str | None = None

    def __enter__(self) -> "Unwatched":
        self._hooks = [register_module_forward_pre_hook(self._meet_module)]
        for prefix, model in self._models.items():
            for name, parameter in model.named_parameters(prefix=prefix):
                if parameter.requires_grad and not is_lazy(parameter):
                    self._hooks.append(parameter.register_hook(self._meet_gradient(f"parameter {name!r}")))  # type: ignore[no-untyped-call]  # torch's
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def check(self) -> None:
        """Raise CaptureError where something ran unseen: the step would be under-counted."""
        if self._noticed is not None:
            raise CaptureError(
                f"{self._noticed} in another thread, where its products cannot be seen; run forward and backward in "
                "the thread of "
                "`with capture.step()`"
            )

    def _meet_module(self, module: nn.Module, inputs: Any) -> None:
        if id(module) not in self._paths:
            return
        name = self._paths[id(module)] or type(module).__name__
        if not watched():
            self._noticed = self._noticed or f"module {name!r} ran"
        elif any(module is model for model in self._models.values()):
            # A frozen model has gradients of its input alone.
            for tensor in inputs:
                if isinstance(tensor, Tensor) and tensor.requires_grad:
                    self._hooks.append(tensor.register_hook(self._meet_gradient(f"the input of {name!r}")))  # type: ignore[no-untyped-call]  # likewise

    def _meet_gradient(self, name: str) -> Any:
        def meet(gradient: Tensor) -> None:  # noqa: ARG001  # the hook's signature
            if not watched():
                self._noticed = self._noticed or f"the gradient of {name} was computed"

        return meet
