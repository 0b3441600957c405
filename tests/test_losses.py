"""CCE and MSE as taught: their values, gradients and minima."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from cift.losses import cce, mse, one_hot


def test_cce_on_gold_labels_is_torchs_cross_entropy():
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    labels = [0, 2, 1, 1, 0, 2, 2]
    targets = torch.tensor(one_hot(np.array(labels), 3))
    assert cce(logits, targets) == pytest.approx(functional.cross_entropy(logits, torch.tensor(labels)))


def test_gradients():
    logits = torch.tensor([[0.3, -1.0, 0.5]], requires_grad=True)
    target = torch.tensor([[0.2, 0.5, 0.3]])
    cce(logits, target).backward()
    p = logits.detach().softmax(-1)
    assert torch.allclose(logits.grad, p - target, atol=1e-6)
    logits.grad = None
    mse(logits, target).backward()
    by_hand = 2 / 3 * p * ((p - target) - ((p - target) * p).sum())
    assert torch.allclose(logits.grad, by_hand, atol=1e-6)


def test_mse_is_zero_at_the_crowds_distribution_and_cce_is_not():
    target = torch.tensor([[0.2, 0.5, 0.3]])
    assert mse(target.log(), target) == pytest.approx(0, abs=1e-12)
    assert cce(target.log(), target) == pytest.approx(-(target * target.log()).sum().item())
