"""Values of tensors that depend on no parameter, kept beside tensors that have none.

A forward pass on meta tensors cannot go on where it asks for a value: whether a mask leaves anything out, which rows go
to an expert.  Masks, positions and their like are made of shapes and inputs alone, so their values are computed for
real, where those of inputs were given.
Which columns are the largest (top-k, argmax) is not known; they are taken in turn, as many rows to each: a router that
balances its experts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten
from torch.utils.weak import WeakTensorKeyDictionary

from simhw.capture.tensors import storage, tensors_in

MAX_VALUES = 1 << 22
"""Of one tensor; larger ones are left without values."""
_INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class Constants:
    """Values of tensors on the meta device, as far as they are known.

    Parameters
    ----------
    given : sequence of pairs of Tensor
        Tensors without values, and their values.
    """

    def __init__(self, given: Sequence[tuple[Tensor, Tensor]]) -> None:
        self._values: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        for tensor, value in given:
            self._values[tensor] = value
        self._overwritten: dict[int, Tensor] = {}  # by storage, which a tensor held here keeps

    def run(self, func: Any, args: Sequence[Any], given: Mapping[str, Any]) -> Any:
        """Run an operator on tensors without values, and on their values where all are known.

        Raises
        ------
        NotImplementedError, RuntimeError
            The operator asks for a value that is not known.
        """
        args = self._without_masks(func, args)
        known = self._known(func, args, given)
        try:
            result = func(*args, **given)
        except (NotImplementedError, RuntimeError):
            if known is None:
                raise
            values = func(*known[0], **known[1])
            result = tree_map(_bare, values)
            self._note(result, values)
            return result
        if known is not None and sum(map(Tensor.numel, tensors_in([result]))) <= MAX_VALUES:
            try:
                self._note(result, func(*known[0], **known[1]))
            except (NotImplementedError, RuntimeError, IndexError):
                pass  # what the values would be is not known then
            else:
                return result
        if func._schema.is_mutable:
            self._forget(func, args, given)
        elif func._schema.name in ("aten::topk", "aten::argmax"):
            self._take_turns(func, args, given, result)
        return result

    def value(self, tensor: Tensor) -> Tensor | None:
        """The values of a tensor, if they are known."""
        if not tensor.is_meta:
            return tensor
        if storage(tensor) in self._overwritten or tensor not in self._values:
            return None
        value: Tensor = self._values[tensor]
        return value

    def _known(self, func: Any, args: Sequence[Any], given: Mapping[str, Any]) -> tuple[Any, Any] | None:
        """The arguments with values for tensors, if all are known and the result is the same each time."""
        leaves, form = tree_flatten((tuple(args), dict(given)))
        if torch.Tag.nondeterministic_seeded in func.tags:
            return None
        values = [self.value(leaf) if isinstance(leaf, Tensor) else _on_cpu(leaf) for leaf in leaves]
        if any(value is None and leaf is not None for value, leaf in zip(values, leaves, strict=True)):
            return None
        known_args, known_given = tree_unflatten(values, form)
        return known_args, known_given

    def _note(self, result: Any, values: Any) -> None:
        for tensor, value in zip(tree_leaves(result), tree_leaves(values), strict=True):
            if isinstance(tensor, Tensor) and tensor.is_meta:
                self._values[tensor] = value

    def _forget(self, func: Any, args: Sequence[Any], given: Mapping[str, Any]) -> None:
        """What an operator overwrote with something unknown is unknown, and so are its views."""
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.is_write:
                self._overwritten.update({storage(each): each for each in tensors_in([value])})
        self._overwritten.update({storage(each): each for each in tensors_in([given.get("out")])})

    def _take_turns(self, func: Any, args: Sequence[Any], given: Mapping[str, Any], result: Any) -> None:
        """Let every row take as many of the columns, one row after another."""
        topk = func._schema.name == "aten::topk"
        indices = result[1] if topk else result
        axis = given.get("dim", args[2 if topk else 1] if len(args) > (2 if topk else 1) else -1 if topk else None)
        if axis is None or not args[0].dim() or not 0 < indices.numel() <= MAX_VALUES:
            return
        columns = args[0].shape[axis]
        if not topk:
            self._values[indices] = (torch.arange(indices.numel(), device="cpu") % columns).reshape(indices.shape)
            return
        turned = indices.movedim(axis, -1)
        turns = torch.arange(indices.numel(), device="cpu") % columns
        self._values[indices] = turns.reshape(turned.shape).movedim(-1, axis)

    def _without_masks(self, func: Any, args: Sequence[Any]) -> Sequence[Any]:
        """Indices in the place of masks, whose number of entries PyTorch would ask for."""
        if func._schema.name not in _INDEXED:
            return args
        indices: list[Tensor | None] = []
        for index in args[1]:
            mask = None if index is None or index.dtype != torch.bool else self.value(index)
            if mask is None:
                indices.append(index)
                continue
            found = mask.nonzero(as_tuple=True)
            bare = [_bare(each) for each in found]
            self._note(bare, list(found))
            indices += bare
        return (args[0], indices, *args[2:])


def _on_cpu(leaf: Any) -> Any:
    return torch.device("cpu") if isinstance(leaf, torch.device) else leaf


def _bare(value: Any) -> Any:
    return torch.empty_like(value, device="meta") if isinstance(value, Tensor) else value
