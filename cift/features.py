"""Run what is frozen once: a frozen model cut in two, and its first half's output kept.

What does not learn gives the same activations in every epoch of every run, so `cut` splits a frozen model into a
prefix that is run once (`cache_states`) and a suffix that is trained on its cached output.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cift import anatomy
from cift.errors import InputError
from cift.finetuning import Row, forward, has_bf16
from cift.strategies import freeze

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


def cut(model: PreTrainedModel, trainable_layers: int = 0) -> tuple[nn.Module, PreTrainedModel]:
    """Freeze all but the last `trainable_layers` layers and the head; prefix and suffix, sharing the parameters.

    prefix: the backbone up to the last frozen layer; its `last_hidden_state` is what to cache: (batch, tokens,
        hidden), or (batch, 1, hidden) where no layer learns and the head reads one token only, the first or the last.
    suffix: a classifier that takes the cached states as `inputs_embeds` with their `attention_mask`, and gives the
        logits that the whole model would.

    Raises InputError where they are not those (tried on an example, with the gradients), e.g. where a head looks
    tokens up by id; the model is then to be trained uncut.
    """
    freeze(model, trainable_layers)
    was = model.training
    model.eval()
    try:
        halves = [_between_layers(model, trainable_layers)] if trainable_layers else _before_head(model)
        for prefix, suffix in halves:
            if _same(model, prefix, suffix):
                return prefix, suffix
    finally:
        model.train(was)
    raise InputError(f"{anatomy.kind(model)} cannot be cut below its last {trainable_layers} layers; train it whole")


def cache_states(prefix: nn.Module, rows: Sequence[Row], bf16: bool | None = None) -> list[Row]:
    """Rows whose ids are replaced by the frozen prefix's output, `inputs_embeds` (tokens, hidden), computed once.

    The prefix runs without dropout, so training on cached states has dropout in the suffix only. bf16: compute and keep
    the states in bfloat16, as the suffix must then too; None takes it where the device has it.
    """
    import torch

    cached: list[Row] = [{}] * len(rows)
    bf16 = has_bf16() if bf16 is None else bf16
    dtype = torch.bfloat16 if bf16 else torch.float32
    for indices, output, mask in forward(prefix, rows, bf16):
        for i, states, attention in zip(indices, output.last_hidden_state.to(dtype).cpu(), mask.cpu(), strict=True):
            length = min(int(attention.sum()), len(states))
            cached[i] = {"inputs_embeds": states[:length].clone(), "attention_mask": attention[:length].clone()}
            if length > 1 and "token_type_ids" in rows[i]:
                cached[i]["token_type_ids"] = rows[i]["token_type_ids"][:length]
    return cached


def _between_layers(model: PreTrainedModel, trainable_layers: int) -> tuple[nn.Module, PreTrainedModel]:
    from torch import nn

    class Cached(nn.Module):
        """Stands where the embeddings stood and hands the cached states on."""

        def forward(self, first: Tensor | None = None, inputs_embeds: Tensor | None = None, *_: object, **__: object):
            return first if inputs_embeds is None else inputs_embeds

    stack = anatomy.layers(model)
    path = anatomy.name_of(model, stack)
    lower, upper = (_shallow(model, path) for _ in range(2))
    lower.set_submodule(path, stack[: len(stack) - trainable_layers])
    upper.set_submodule(path, stack[len(stack) - trainable_layers :])
    before, after = anatomy.beside_layers(model)
    for name in before:
        upper.set_submodule(name, Cached())
    for name in set(after) - set(anatomy.head(model)):
        lower.set_submodule(name, nn.Identity())
    return _prefix(lower, lambda states, mask: states), upper


def _before_head(model: PreTrainedModel) -> Iterator[tuple[nn.Module, PreTrainedModel]]:
    """Halves where the head reads the first token, the last one, or all of them."""
    import torch
    from torch import nn
    from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions as Output

    class Cached(nn.Module):
        """Stands where the backbone stood: hands the cached states on, and what its pooler makes of them."""

        def __init__(self) -> None:
            super().__init__()
            self.pooler: Any = getattr(model.base_model, "pooler", None)

        def forward(self, *_: None, inputs_embeds: Tensor, **__: object) -> Output:
            pooled = self.pooler and self.pooler(inputs_embeds)
            if isinstance(self.pooler, nn.Linear):  # ALBERT's is no module of its own
                pooled = activation(pooled[:, 0])
            return Output(last_hidden_state=inputs_embeds, pooler_output=pooled)

    activation: Any = getattr(model.base_model, "pooler_activation", None)
    upper = _shallow(model, model.base_model_prefix)
    setattr(upper, model.base_model_prefix, Cached())
    for choose in (
        lambda states, mask: states[:, :1],
        lambda states, mask: states[torch.arange(len(states), device=states.device), mask.sum(1) - 1][:, None],
        lambda states, mask: states,
    ):
        yield _prefix(model, choose), upper


def _prefix(model: PreTrainedModel, choose: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
    """A module that gives those of the backbone's last states that `choose` takes of them and the mask."""
    from torch import nn
    from transformers.modeling_outputs import BaseModelOutput

    class Prefix(nn.Module):
        """Runs the whole model, since it knows what to give its backbone, and keeps what the backbone made."""

        def __init__(self) -> None:
            super().__init__()
            self.model, self.config = model, model.config

        def forward(self, **batch: Tensor) -> BaseModelOutput:
            seen: list[Tensor] = []
            hook = self.model.base_model.register_forward_hook(lambda *args: seen.append(args[-1].last_hidden_state))
            try:
                self.model(**batch)
            finally:
                hook.remove()
            return BaseModelOutput(last_hidden_state=choose(seen[0], batch["attention_mask"]))

    return Prefix()


def _same(model: PreTrainedModel, prefix: nn.Module, suffix: PreTrainedModel) -> bool:
    """Whether the halves give the whole model's logits and gradients, of an example; with an error they do not."""
    import torch

    batch = anatomy.example(model)
    learning = [value for value in suffix.parameters() if value.requires_grad]

    def found(logits: Tensor) -> list[Tensor]:
        uneven = torch.linspace(1, 2, logits.numel(), device=logits.device).view_as(logits)
        gradients = torch.autograd.grad((logits * uneven).sum(), learning, allow_unused=True)
        return [logits, *(logits.new_zeros(1) if g is None else g for g in gradients)]

    with torch.enable_grad():
        whole = found(model(**batch).logits)
        try:
            states = prefix.eval()(**batch).last_hidden_state.detach()
            batch = {name: value[:, : states.shape[1]] for name, value in batch.items() if name != "input_ids"}
            halves = found(suffix.eval()(inputs_embeds=states, **batch).logits)
        except Exception:  # of whatever kind: halves were not foreseen by those who wrote the model
            return False
    return all(
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(whole, halves, strict=True)
    )


def _shallow(module: Any, path: str) -> Any:
    """Copy of a module and of the modules along a dotted path; everything else is shared."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    head, _, rest = path.partition(".")
    if rest:
        twin._modules[head] = _shallow(module._modules[head], rest)
    return twin
