"""The parts of a classifier, found by its structure: backbone, layers, sub-layers, head.

A `transformers` classifier holds its backbone under `base_model_prefix`; everything beside it, and the backbone's own
pooler, is the head: what lies between the encoder and the labels.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from cift.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


def layers(model: PreTrainedModel) -> nn.ModuleList:
    """The backbone's stack of layers: its longest ModuleList. Raises InputError where it has none.

    Where all layers share their parameters (ALBERT), that is the one layer which holds them.
    """
    from torch import nn

    lists = [module for module in model.base_model.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise InputError(f"{kind(model)} has no stack of layers; take full, features or bitfit")
    return max(lists, key=len)


def head(model: PreTrainedModel) -> list[str]:
    """Names of the modules between encoder and labels: all that is not backbone, and the backbone's pooler.

    Raises InputError where the model does not tell them apart.
    """
    if model.base_model is model:
        raise InputError(f"{kind(model)} does not tell its backbone from its head; take full")
    backbone = model.base_model_prefix
    names = [name for name, part in model.named_children() if name != backbone and any(True for _ in part.parameters())]
    return names + ([f"{backbone}.pooler"] if getattr(model.base_model, "pooler", None) is not None else [])


def depths(model: PreTrainedModel) -> dict[str, int]:
    """Each parameter's depth: 0 embeddings, 1 to n the layers, n + 1 the head.

    A norm that follows the last layer has the last layer's depth. Raises InputError where there are no layers.
    """
    stack = layers(model)
    path = name_of(model, stack)
    after = tuple(f"{name}." for name in beside_layers(model)[1])
    top = tuple(f"{name}." for name in head(model))

    def depth(name: str) -> int:
        if name.startswith(top):
            return len(stack) + 1
        if name.startswith(f"{path}."):
            return int(name.removeprefix(f"{path}.").split(".")[0]) + 1
        return len(stack) if name.startswith(after) else 0

    return {name: depth(name) for name, _ in model.named_parameters()}


def beside_layers(model: PreTrainedModel) -> tuple[list[str], list[str]]:
    """Names of the backbone's parts before the one with the layers (embeddings) and after it (a norm, a pooler)."""
    backbone = model.base_model_prefix
    holder = name_of(model, layers(model)).removeprefix(f"{backbone}.").split(".")[0]
    children = [name for name, part in model.base_model.named_children() if any(True for _ in part.parameters())]
    parts = [f"{backbone}.{name}" for name in children]
    return parts[: children.index(holder)], parts[children.index(holder) + 1 :]


def matrices(model: PreTrainedModel) -> dict[str, list[str]]:
    """Names of the weight matrices inside the layers, by what they do; a list may be empty.

    "queries", "keys", "values": what makes them, where one fused matrix makes all three that one; "attention output"
    and "feedforward output": what leads back to the residual stream; "all": these and the others.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    stack = layers(model)
    path = name_of(model, stack)
    found: dict[str, list[str]] = {
        kind: [] for kind in ("queries", "keys", "values", "attention output", "feedforward output", "all")
    }
    for number, layer in enumerate(stack):
        names = [name for name, module in layer.named_modules() if isinstance(module, nn.Linear | Conv1D)]
        attention = [name for name in names if "att" in name.lower()]
        here = {
            "attention output": attention[-1:],
            "feedforward output": [name for name in names if name not in attention][-1:],
            "all": names,
        }
        for word, kind in (("query", "queries"), ("key", "keys"), ("value", "values")):
            own = re.compile(rf"({word[0]}|{word})(_proj|_lin)?")
            here[kind] = [name for name in attention if own.fullmatch(name.rpartition(".")[2])] or attention[:-1]
        for kind, names in here.items():
            found[kind] += [f"{path}.{number}.{name}" for name in names]
    return found


def norms(model: PreTrainedModel) -> list[str]:
    """Names of the normalisations inside the layers."""
    stack = layers(model)
    path = name_of(model, stack)
    return [f"{path}.{name}" for name, part in stack.named_modules() if type(part).__name__.endswith("Norm")]


def longest(model: PreTrainedModel) -> int | None:
    """How many tokens the backbone has positions for; None where its config sets no limit."""
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    for name, module in model.named_modules():  # RoBERTa's positions begin after the padding's
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return limit - module.padding_idx - 1
    return limit


def example(model: PreTrainedModel) -> dict[str, Tensor]:
    """A batch to try a model on: two pairs of 6 and 9 tokens that mean nothing, the first one padded."""
    import torch

    config = model.config.get_text_config()
    mask = torch.arange(9) < torch.tensor([[6], [9]])
    ids = torch.randint(1, min(config.vocab_size, 1000), (2, 9), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids.where(mask, torch.tensor(config.pad_token_id or 0)), "attention_mask": mask.long()}
    if "token_type_ids" in inspect.signature(model.forward).parameters:
        second = (torch.arange(9) >= 3) & (getattr(config, "type_vocab_size", 2) > 1)
        batch["token_type_ids"] = (mask & second).long()
    return {name: value.to(model.device) for name, value in batch.items()}


def kind(model: PreTrainedModel) -> str:
    """What a message calls the model: its config's model type."""
    return f"the {model.config.model_type} model"


def name_of(model: PreTrainedModel, part: nn.Module) -> str:
    """The dotted name of a module of the model."""
    return next(name for name, module in model.named_modules() if module is part)
