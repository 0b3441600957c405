"""What the model is asked to match: a gold label or the crowd's whole distribution, and how misses count.

Every loss takes logits z and targets t of shape (batch, labels); a one-hot gold label, a majority label and a
distribution are all targets of the same kind (Lalor, Wu & Yu 2017, arXiv 1702.08563v2). With p = softmax(z), a loss
has a value per item, and gives their mean over the batch. `weights`, one per item, multiply the values before
that mean; it divides by the number of items, not by the sum of weights, so that a gradient accumulated over several
batches is that of one large batch.

Where is the minimum? Every loss here but `focal` is least at p = t. What a model learns that meets each item
with one label, drawn from a distribution q, is another question: the expected loss is least at p = q for `cce`, `kl`,
`mse` and `brier`, the proper scoring rules among them (Gneiting & Raftery 2007, JASA 102). `js` makes such a model
more decided than q, `focal` less.

All gradients in z below are per item, and sum to 0 over the labels. Values and gradients stay finite where a target is
0 and where the model is certain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from cift.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

Targets = TypeVar("Targets", "np.ndarray", "Tensor")
GAMMA = 2  # of the focal loss: what its authors found best


def cce(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Categorical cross-entropy, - sum_k t_k log p_k.

    Gradient in z: p - t. With a one-hot target it never stops pulling until that label has all the mass; with a
    distribution it stops at p = t, where the loss is not 0 but the target's entropy.

    The recipe's name "soft-cross-entropy" is this same function: the formula does not ask whether the target is
    one-hot ("cce", the gold label) or the crowd's distribution (Peterson et al. 2019, ICCV), a record should.
    """
    return _mean(-(targets * logits.log_softmax(-1)).sum(-1), weights)


def kl(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Kullback-Leibler divergence, sum_k t_k log(t_k / p_k): the cross-entropy less the target's entropy.

    Gradient in z: p - t, the cross-entropy's own, so both train the same model; but this loss is 0 at p = t, and
    says how far there is to go.
    """
    log_p = logits.log_softmax(-1)
    return _mean((targets.xlogy(targets) - targets * log_p).sum(-1), weights)


def mse(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared error on probabilities, 1/K sum_k (p_k - t_k)^2: the published CIFT loss (Lalor, Wu & Yu 2017).

    Gradient in z: 2/K p_k ((p_k - t_k) - sum_j p_j (p_j - t_j)). It is 0 at p = t, where the model is as undecided
    as the crowd, but also vanishes where the model is certain, rightly or wrongly: an item that it has wholly wrong
    moves it little.
    """
    return _mean((logits.softmax(-1) - targets).square().mean(-1), weights)


def brier(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Brier score, sum_k (p_k - t_k)^2 (Brier 1950, Monthly Weather Review 78): K times `mse`, from 0 to 2.

    Its gradient is K times that of `mse` as well, which is a learning rate K times higher under SGD, and under Adam
    almost no difference.
    """
    return _mean((logits.softmax(-1) - targets).square().sum(-1), weights)


def js(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Jensen-Shannon divergence in nats, KL(t || m) / 2 + KL(p || m) / 2 with m = (t + p) / 2 (Lin 1991).

    From 0 at p = t to log 2 where no label is shared, so that no item counts for more than that; as a loss, against
    noisy labels, in Englesson & Azizpour (2021, NeurIPS). `evaluation.distance_to_people` is its root, in bits.

    Gradient in z: p_k / 2 (log(p_k / m_k) - KL(p || m)); like that of `mse` it vanishes where the model is certain.
    """
    import torch

    log_p, log_t = logits.log_softmax(-1), targets.log()
    log_m = torch.logaddexp(log_p, log_t) - math.log(2)  # finite where p underflows and t is 0
    both = targets.xlogy(targets) - targets * log_m + log_p.exp() * (log_p - log_m)
    return _mean(both.sum(-1) / 2, weights)


def focal(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Focal loss, - sum_k t_k (1 - p_k)^g log p_k with g = 2 (Lin et al. 2017, arXiv 1708.02002).

    The cross-entropy, turned down where the model already gives a label much of the mass, so that training turns to
    the hard items. A one-hot target is still met at p = t, but a distribution is not: the minimum is less
    decided than the target (see Charoenphakdee et al. 2021, CVPR).

    Gradient in z: d_k - p_k sum_j d_j, with d_k = t_k (g p_k (1 - p_k)^(g - 1) log p_k - (1 - p_k)^g).
    """
    log_p = logits.log_softmax(-1)
    return _mean(-(targets * (1 - log_p.exp()) ** GAMMA * log_p).sum(-1), weights)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cce": cce,
    "soft-cross-entropy": cce,
    "kl": kl,
    "mse": mse,
    "brier": brier,
    "js": js,
    "focal": focal,
}


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    return (values if weights is None else weights * values).mean()


def one_hot(labels: np.ndarray, n_labels: int) -> np.ndarray:
    """Target probabilities, (items, n_labels), of integer labels. Raises InputError for one that is none of them."""
    codes = np.asarray(labels, int)
    unknown = codes[(codes < 0) | (codes >= n_labels)]  # -1, no gold label, would count from the end
    if unknown.size:
        raise InputError(f"labels: {unknown[0]} is not from 0 to {n_labels - 1}; leave pairs without a gold label out")
    return np.eye(n_labels, dtype=np.float32)[codes]


def smooth(targets: Targets, amount: float) -> Targets:
    """Label smoothing, (1 - amount) t + amount / K, of targets (items, K), an array or a tensor.

    It takes a share of every target's mass and spreads it over all labels (Szegedy et al. 2016, arXiv 1512.00567). Any
    loss can be trained on the result; `cce` is then least not at infinite logits but where the gold label has the
    probability 1 - amount + amount / K, and its gradient in z is p - smooth(t).

    Raises InputError when the amount is not from 0 to 1.
    """
    if not 0 <= amount <= 1:
        raise InputError(f"label smoothing: the amount is {amount!r}; it is a share of the target's mass, 0 to 1")
    return (1 - amount) * targets + amount / targets.shape[-1]


def class_weights(targets: np.ndarray, how: str | tuple[float, ...] | None = None) -> np.ndarray:
    """A weight per item, (items,), float32, from targets (items, K); their mean is 1, so the loss keeps its size.

    how: None, every item counts 1; "balanced", each label as much as any other, whatever its share of the targets'
    mass (King & Zeng 2001); or K numbers, what a label's mass weighs in relation to the other labels'. An item with a
    distribution as target has the mean weight of its labels.

    Raises InputError for any other word, and for numbers that are not K, negative, or 0 for all labels there are.
    """
    targets = np.asarray(targets, float)
    mass = targets.sum(0)
    if how is None:
        of_label = np.ones(len(mass))
    elif how == "balanced":
        of_label = np.divide(1, mass, out=np.zeros(len(mass)), where=mass > 0)
    elif isinstance(how, str):
        raise InputError(f"class weights: {how!r} is unknown; give None, 'balanced' or a number per label")
    else:
        of_label = np.asarray(how, float)
        if of_label.shape != mass.shape or not (of_label >= 0).all() or not np.isfinite(of_label @ mass):
            raise InputError(f"class weights: {how!r} are not {len(mass)} numbers of at least 0, one per label")
    weights = targets @ of_label
    if not weights.any():
        raise InputError(f"class weights: {how!r} leave every item without weight; give a label that occurs some")
    return (weights / weights.mean()).astype(np.float32)
