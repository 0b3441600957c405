"""The losses as their docstrings state them: values, gradients, minima, and what extreme logits do to them."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from cift.errors import InputError
from cift.losses import LOSSES, cce, class_weights, mse, one_hot, smooth

P = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], dtype=torch.double)
T = torch.tensor([[0.2, 0.8, 0.0], [0.0, 0.0, 1.0]], dtype=torch.double)
PROPER = ["cce", "kl", "mse", "brier"]
each = pytest.mark.parametrize("name", LOSSES)


def values(name):
    """The formula of each loss, literally, for the two items above."""
    formulas = {
        "cce": lambda t, p: -np.log(p) * t,
        "kl": lambda t, p: t * np.log(t / p) if t else 0.0,
        "mse": lambda t, p: (p - t) ** 2 / 3,
        "brier": lambda t, p: (p - t) ** 2,
        "js": lambda t, p: (p * np.log(2 * p / (p + t)) + (t * np.log(2 * t / (p + t)) if t else 0.0)) / 2,
        "focal": lambda t, p: -t * (1 - p) ** 2 * np.log(p),
    }
    formula = formulas["cce" if name == "soft-cross-entropy" else name]
    return [sum(map(formula, t, p)) for t, p in zip(T.numpy(), P.numpy(), strict=True)]


def gradients(name):
    """The gradient in the logits, as the docstrings state it, for the same two items."""
    inner = lambda x: x - (P * x).sum(-1, keepdim=True)  # noqa: E731
    if name in ("cce", "soft-cross-entropy", "kl"):
        return P - T
    if name in ("mse", "brier"):
        return 2 / (3 if name == "mse" else 1) * P * inner(P - T)
    if name == "js":
        return P / 2 * inner((2 * P / (P + T)).log())
    d = T * (2 * P * (1 - P) * P.log() - (1 - P) ** 2)
    return d - P * d.sum(-1, keepdim=True)


def minimum(loss, q, drawn):
    """The probabilities where the loss is least, for a target q itself, or for labels drawn from it one by one."""
    logits = torch.zeros_like(q, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, line_search_fn="strong_wolfe", tolerance_change=1e-14)

    def step():
        optimizer.zero_grad()
        labels = torch.eye(3, dtype=q.dtype)
        total = sum(q[0, k] * loss(logits, labels[[k]]) for k in range(3)) if drawn else loss(logits, q)
        total.backward()
        return total

    optimizer.step(step)
    return logits.detach().softmax(-1)


@each
def test_values_by_hand(name):
    expected = values(name)
    assert LOSSES[name](P.log(), T).item() == pytest.approx(np.mean(expected))
    weights = torch.tensor([0.5, 3.0])
    assert LOSSES[name](P.log(), T, weights).item() == pytest.approx((0.5 * expected[0] + 3 * expected[1]) / 2)


@each
def test_gradients_by_hand_and_by_differences(name):
    logits = P.log().requires_grad_()
    weights = torch.tensor([0.5, 3.0], dtype=torch.double)
    LOSSES[name](logits, T, weights).backward()
    torch.testing.assert_close(logits.grad, weights[:, None] * gradients(name) / 2)
    assert torch.autograd.gradcheck(lambda z: LOSSES[name](z, T, weights), (logits,))


@each
@pytest.mark.parametrize("drawn", [False, True])
def test_minima(name, drawn):
    q = torch.tensor([[0.2, 0.7, 0.1]], dtype=torch.double)
    found = minimum(LOSSES[name], q, drawn)
    if name == "focal":
        assert found.max() < 0.6
    elif name == "js" and drawn:
        assert found.max() > 0.8
    else:
        torch.testing.assert_close(found, q, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["kl", "mse", "brier", "js"])
def test_a_distance_is_zero_where_the_target_is_met_and_positive_elsewhere(name):
    rng = torch.Generator().manual_seed(0)
    target = torch.rand(50, 3, generator=rng).double()
    target /= target.sum(-1, keepdim=True)
    assert LOSSES[name](target.log(), target).item() == pytest.approx(0, abs=1e-12)
    assert all(LOSSES[name](torch.randn(1, 3, generator=rng).double(), row[None]) > 0 for row in target)


@each
@pytest.mark.parametrize("size", [0.0, 30.0, 1e4, 1e30])
def test_extreme_logits_are_finite(name, size):
    logits = (size * torch.tensor([[1.0, 0.0, -1.0], [-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]])).requires_grad_()
    for target in (torch.eye(3), torch.eye(3)[[1, 2, 0]], torch.full((3, 3), 1 / 3), torch.tensor([[0.5, 0.5, 0]] * 3)):
        logits.grad = None
        loss = LOSSES[name](logits, target)
        loss.backward()
        assert loss.isfinite() and logits.grad.isfinite().all()


def test_limits_where_the_model_is_certain():
    right, wrong = torch.tensor([[80.0, -80, -80]]), torch.tensor([[-80.0, 80, -80]])
    gold = torch.tensor([[1.0, 0, 0]])
    assert all(loss(right, gold).item() == pytest.approx(0, abs=1e-12) for loss in LOSSES.values())
    worst = {"mse": 2 / 3, "brier": 2.0, "js": np.log(2), "cce": 160.0, "kl": 160.0, "focal": 160.0}
    for name, expected in worst.items():
        assert LOSSES[name](wrong, gold).item() == pytest.approx(expected)


@pytest.mark.parametrize("labels", [[0, -1], [2, 3]])
def test_a_label_that_is_none_is_refused(labels):
    with pytest.raises(InputError, match=f"labels: {labels[1]} is not from 0 to 2; leave pairs without a gold label"):
        one_hot(np.array(labels), 3)


def test_cce_on_gold_labels_is_torchs_cross_entropy_and_smoothing_is_torchs_too():
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    labels = [0, 2, 1, 1, 0, 2, 2]
    targets = torch.tensor(one_hot(np.array(labels), 3))
    assert cce(logits, targets) == pytest.approx(functional.cross_entropy(logits, torch.tensor(labels)))
    expected = functional.cross_entropy(logits, torch.tensor(labels), label_smoothing=0.1)
    assert cce(logits, smooth(targets, 0.1)) == pytest.approx(expected)


def test_smoothing_by_hand():
    np.testing.assert_allclose(smooth(np.array([[1, 0, 0], [0.5, 0.5, 0]]), 0.3), [[0.8, 0.1, 0.1], [0.45, 0.45, 0.1]])
    assert smooth(one_hot(np.array([0]), 3), 0.1).dtype == np.float32
    logits = P.log().requires_grad_()
    cce(logits, smooth(T, 0.3)).backward()
    torch.testing.assert_close(logits.grad, (P - (0.7 * T + 0.1)) / 2)
    gold = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.double)
    torch.testing.assert_close(minimum(cce, smooth(gold, 0.3), drawn=False)[0, 1].item(), 0.8, atol=1e-4, rtol=0)
    with pytest.raises(InputError, match="label smoothing: the amount is 1.5; it is a share of the target's mass"):
        smooth(T, 1.5)


def test_mse_hardly_pulls_on_an_item_that_is_wholly_wrong_and_cce_does():
    gold = torch.tensor([[1.0, 0, 0]])
    pulls = {}
    for loss in (cce, mse):
        logits = torch.tensor([[-10.0, 10, -10]], requires_grad=True)
        loss(logits, gold).backward()
        pulls[loss] = logits.grad.abs().max().item()
    assert pulls[cce] == pytest.approx(1) and pulls[mse] < 1e-8


def test_class_weights():
    gold = one_hot(np.array([0, 0, 0, 1]), 2)
    np.testing.assert_allclose(class_weights(gold), 1)
    np.testing.assert_allclose(class_weights(gold, "balanced"), [2 / 3, 2 / 3, 2 / 3, 2])
    np.testing.assert_allclose(class_weights(gold, (1.0, 5.0)), [0.5, 0.5, 0.5, 2.5])
    crowd = np.array([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])  # masses 3.5 and 0.5
    np.testing.assert_allclose(class_weights(crowd, "balanced"), [(4 / 7 + 4) / 2, 4 / 7, 4 / 7, 4 / 7], rtol=1e-6)
    absent = one_hot(np.array([0, 0, 0, 2]), 3)
    np.testing.assert_allclose(class_weights(absent, "balanced"), [2 / 3, 2 / 3, 2 / 3, 2])


def test_balanced_weights_are_scikit_learns():
    from sklearn.utils.class_weight import compute_sample_weight

    labels = np.random.default_rng(0).choice(3, 100, p=[0.7, 0.2, 0.1])
    found = class_weights(one_hot(labels, 3), "balanced")
    np.testing.assert_allclose(found, compute_sample_weight("balanced", labels), rtol=1e-6)
    assert found.mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("balance", "class weights: 'balance' is unknown; give None, 'balanced' or a number per label"),
        ((1.0, 2.0), r"class weights: \(1.0, 2.0\) are not 3 numbers of at least 0, one per label"),
        ((1.0, -1.0, 1.0), "at least 0"),
        ((1.0, float("nan"), 1.0), "at least 0"),
        ((0.0, 0.0, 1.0), "leave every item without weight; give a label that occurs some"),
    ],
)
def test_class_weights_that_cannot_be_meant(how, message):
    with pytest.raises(InputError, match=message):
        class_weights(one_hot(np.array([0, 1, 1]), 3), how)
