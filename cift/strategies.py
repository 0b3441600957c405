"""Which parameters learn: all of them, or the last k layers and the head.

What does not learn gives the same activations in every epoch of every run, so `cut` splits a frozen
model in two: a prefix that is run once, and a suffix that is trained on its cached output.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from cift.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


def layers(model: PreTrainedModel) -> nn.ModuleList:
    """The encoder's layers: the longest ModuleList of the backbone.

    Raises InputError when the backbone has none.
    """
    from torch import nn

    lists = [module for module in model.base_model.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise InputError(f"model {type(model).__name__}: has no list of layers; use trainable_layers=None")
    return max(lists, key=len)


def freeze(model: PreTrainedModel, trainable_layers: int) -> None:
    """Freeze the embeddings and all but the last `trainable_layers` layers, in place.

    Pooler and classification head stay trainable. Raises InputError when the model has fewer layers.
    """
    stack = layers(model)
    if not 0 <= trainable_layers <= len(stack):
        raise InputError(
            f"trainable_layers={trainable_layers}: the model has {len(stack)} layers; choose 0 to {len(stack)}"
        )
    if not hasattr(model.base_model, "embeddings"):
        raise InputError(f"model {type(model).__name__}: its embeddings cannot be frozen; use trainable_layers=None")
    model.base_model.embeddings.requires_grad_(False)
    for layer in stack[: len(stack) - trainable_layers]:
        layer.requires_grad_(False)


def cut(model: PreTrainedModel, trainable_layers: int) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Prefix and suffix of a frozen model, sharing its parameters.

    prefix: the backbone up to the last frozen layer; its `last_hidden_state` is what to cache.
    suffix: a classifier that takes the cached states, (batch, tokens, hidden), as `inputs_embeds`
        with the `attention_mask`, and gives the logits that the whole model would.
    """
    from torch import nn

    class Cached(nn.Module):
        """Stands where the embeddings stood and hands the cached states on."""

        def forward(self, input_ids: None = None, inputs_embeds: Tensor | None = None, *_: object, **__: object):
            return inputs_embeds

    freeze(model, trainable_layers)
    stack = layers(model)
    position = len(stack) - trainable_layers
    name = next(name for name, module in model.base_model.named_modules() if module is stack)
    prefix, suffix = _shallow(model.base_model, name), _shallow(model, f"{model.base_model_prefix}.{name}")
    prefix.set_submodule(name, stack[:position])
    if getattr(prefix, "pooler", None) is not None:
        prefix.pooler = None
    suffix.base_model.set_submodule(name, stack[position:])
    suffix.base_model.embeddings = Cached()
    return prefix, suffix


def _shallow(module: Any, path: str) -> Any:
    """Copy of a module and of the modules along a dotted path; everything else is shared."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    head, _, rest = path.partition(".")
    if rest:
        twin._modules[head] = _shallow(module._modules[head], rest)
    return twin
