"""What the model is asked to match: the gold label (CCE) or the crowd's whole distribution (MSE).

Both take logits and target probabilities of shape (batch, labels), so a one-hot gold label, a majority
label and a distribution are all targets of the same kind (Lalor, Wu & Yu 2017, arXiv 1702.08563v2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def cce(logits: Tensor, targets: Tensor) -> Tensor:
    """Categorical cross-entropy, - sum_k t_k log softmax(z)_k, averaged over the batch.

    Its gradient in z is softmax(z) - t: it never stops pulling until the target has all the mass.
    """
    return -(targets * logits.log_softmax(-1)).sum(-1).mean()


def mse(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error between softmax(z) and the target distribution, over labels and the batch.

    It is zero exactly when the model is as undecided as the crowd.
    """
    return ((logits.softmax(-1) - targets) ** 2).mean()


LOSSES: dict[str, Callable] = {"cce": cce, "mse": mse}


def one_hot(labels: np.ndarray, n_labels: int) -> np.ndarray:
    """Target probabilities, (items, n_labels), of integer labels."""
    return np.eye(n_labels, dtype=np.float32)[np.asarray(labels, int)]
