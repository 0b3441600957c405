"""The optimizer and the learning-rate schedule that a recipe asks for, and the L1 penalty.

Weight decay and L1 act on weights, embeddings included, but not on biases and the parameters of normalisation layers:
these are few, do not make a model more complex, and pulling a norm's gain to 0 would scale whole layers down.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Literal

from cift.errors import InputError
from cift.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

_UNDECAYED = re.compile(r"bias|layernorm|rmsnorm|(^|[._])norm(\.|$)")
_SCHEDULES = {  # ours: transformers' name
    "linear": "linear",
    "cosine": "cosine",
    "cosine-restarts": "cosine_with_restarts",
    "constant": "constant_with_warmup",
}


def decayed(model: nn.Module) -> list[str]:
    """Names of the parameters that weight decay and L1 act on, the same ones that `transformers.Trainer` decays."""
    from torch.nn import LayerNorm

    norms = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, LayerNorm))
    names = [name for name, _ in model.named_parameters() if not name.startswith(norms)]
    return [name for name in names if not _UNDECAYED.search(name.lower())]


def learning_rate(model: nn.Module, recipe: Recipe) -> float:
    """The recipe's learning rate; where it names none, its strategy's own, and of `full` the model's, if it has one."""
    if recipe.learning_rate is not None:
        return recipe.learning_rate
    from cift.strategies import STRATEGIES

    own = STRATEGIES[recipe.strategy].learning_rate
    config = getattr(model, "config", None)  # a model that is trained from scratch wants another one
    return getattr(config, "default_learning_rate", own) if recipe.strategy == "full" else own


def optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """The recipe's optimizer over all parameters of the model, those that are frozen now among them.

    A frozen parameter has no gradient, and torch's optimizers pass it over and keep no state for it. So what a
    strategy thaws later (`strategies.unfreeze`) is in place, and a resumed run finds the same groups. There is a group
    for each pair of weight decay (see `decayed`) and factor on the learning rate (`strategies.rates`); the first has
    the highest rate, which is the one that the Trainer logs.

    adamw  Loshchilov & Hutter (2019), arXiv 1711.05101: each step takes rate x decay x w off a weight w, apart from the
           gradient's part of the step ("decoupled").
    adam   Kingma & Ba (2015), arXiv 1412.6980, with the decay as L2 penalty: decay x w is added to the gradient, and so
           is divided by the root of the squared gradients' average like the rest of it. Weights with large
           gradients are then decayed less than the others, and hardly more for a larger decay.
    rmsprop  Hinton's lecture 6e (2012), squared gradients averaged with .99. Decay as in adam.
    sgd    with momentum (Polyak 1964, as torch has it). Decay as in adam; as no step is divided by anything here,
           this is the decoupled decay but for the momentum.

    The recipe's betas are those of adam and adamw. All but rmsprop run fused, in one kernel for all parameters.
    Raises InputError when no parameter is trainable.
    """
    import torch

    from cift.strategies import rates

    if not any(weights.requires_grad for weights in model.parameters()):
        raise InputError("optimizer: every parameter of the model is frozen; choose a strategy that trains some")
    base, factors, decaying = learning_rate(model, recipe), rates(model, recipe), set(decayed(model))  # type: ignore[arg-type]
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        groups[factors.get(name, 1.0), recipe.weight_decay if name in decaying else 0.0].append(parameter)
    settings = [
        {"params": groups[factor, decay], "lr": base * factor, "weight_decay": decay}
        for factor, decay in sorted(groups, reverse=True)
    ]
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(settings, lr=base)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=base, momentum=recipe.momentum, fused=True)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe.optimizer]
    return kind(settings, lr=base, betas=recipe.betas, fused=True)


def schedule(optimizer: Optimizer, recipe: Recipe, steps: int) -> LRScheduler:
    """The recipe's schedule over a run of so many optimizer steps.

    All begin with a linear warm-up from 0 over the recipe's share of the steps. Then, as transformers has them:

    linear           falls in a straight line to 0 at the last step
    cosine           half a cosine, to 0 (Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts)
    cosine-restarts  recipe.restarts + 1 such halves of equal length; the rate jumps back up between them
    constant         stays
    plateau          constant, and halved by each evaluation that does not improve on the best before it, by a relative
                     1e-4 of the recipe's metric. It is stepped with the metric, as the Trainer does when it evaluates;
                     evaluations during the warm-up do not count.
    """
    warmup = round(recipe.warmup * steps)
    if recipe.schedule == "plateau":
        return _plateau(optimizer, "min" if recipe.metric == "loss" else "max", warmup)
    from transformers import get_scheduler

    return get_scheduler(
        _SCHEDULES[recipe.schedule],
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=steps,
        scheduler_specific_kwargs={"num_cycles": recipe.restarts + 1} if recipe.schedule == "cosine-restarts" else None,
    )


def _plateau(optimizer: Optimizer, mode: Literal["min", "max"], warmup: int) -> LRScheduler:
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    class WarmPlateau(ReduceLROnPlateau):
        """Torch's, after a warm-up: the Trainer steps it only with a metric, so the optimizer's own steps warm up."""

        taken = 0  # optimizer steps; once set on the object it is part of the state that a checkpoint keeps

        def rise(self, *_: Any) -> None:
            if self.taken <= warmup:
                for group in self.optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * (self.taken / warmup if warmup else 1)
            self.taken += 1

        def step(self, metrics: Any, epoch: None = None) -> None:  # type: ignore[override]  # torch's own differs too
            if self.taken > warmup:
                super().step(metrics, epoch)

    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    made = WarmPlateau(optimizer, mode=mode, factor=0.5, patience=0)
    made.rise()
    optimizer.register_step_post_hook(made.rise)
    return made


def l1(model: nn.Module, recipe: Recipe) -> Tensor:
    """recipe.l1 x sum |w| over the trainable weights (see `decayed`): to be added to the loss (Tibshirani 1996).

    Its gradient is recipe.l1 x sign(w), of the same size for small weights and large ones, so it drives the small
    ones towards 0, where L2 leaves them. They come near 0, not to it: a gradient step overshoots by the learning
    rate at most. It is a sum, not a mean, over millions of weights: sensible values are of the order of 1e-6.
    """
    weights = [model.get_parameter(name) for name in decayed(model)]
    none = next(model.parameters()).new_zeros(())
    return recipe.l1 * sum((weight.abs().sum() for weight in weights if weight.requires_grad), start=none)
