"""What not knowing theta takes away from the information about items, and what sampling people adds to their errors.

The observed information about an item is that of the E step's expected counts less the sum over people of the posterior
variance of the item's score (Louis 1982).
"""

from __future__ import annotations

import torch
from torch import Tensor

from cift.expectation import Answers, Curves, Expected, curve, derivatives, logits, posteriors

GROUPS = 100  # of people of like ability


def unknown_exactly(answers: Answers, x: Curves, nodes: Tensor, log_weights: Tensor, n: int) -> Tensor:
    """Information on an item's parameters lost to not knowing theta: sum over people of its score's posterior variance.

    (items, n, n), by a, g, logit c, logit d. An answer's score is x u(theta) + v(theta).
    """
    sigmoid = torch.sigmoid(logits(x, nodes))
    p = curve(x, sigmoid)
    by = torch.stack(derivatives(x, sigmoid, nodes, n))  # (n, items, nodes)
    if_right, if_wrong = by / p, -by / (1 - p)
    lost = torch.zeros(len(x), n, n, dtype=x.dtype, device=x.device)
    for right, answered, weight in posteriors(answers, x, nodes, log_weights):
        mean = torch.where(right, weight @ if_right.mT, weight @ if_wrong.mT) * answered  # (n, people, items)
        lost -= torch.einsum("kij,lij->jkl", mean, mean)
        rights, wrongs = (right * answered).T @ weight, (~right * answered).T @ weight
        lost += torch.einsum("jq,kjq,ljq->jkl", rights, if_right, if_right)
        lost += torch.einsum("jq,kjq,ljq->jkl", wrongs, if_wrong, if_wrong)
    return lost


def unknown_by_groups(answers: Answers, expected: Expected, x: Curves, n: int) -> Tensor:
    """The same for long tests, to first order: var(theta_i) times the square of the score's slope at theta_i.

    The slope is -P' (dP/dy) / (P (1 - P)), and the answer's noise times the slope of (dP/dy) / (P (1 - P)), which
    for a is 1. People of like ability are taken together.
    """
    group, n_groups, theta = groups_of_like_ability(expected.theta)
    variance = torch.zeros_like(theta).index_add_(0, group, expected.theta_se**2)
    variance = answers.share_answered(group, n_groups) * variance  # (items, groups)
    sigmoid = torch.sigmoid(logits(x, theta))
    p = curve(x, sigmoid)
    by = torch.stack(derivatives(x, sigmoid, theta, n), 1)
    by_logit, precision = by[:, 1], 1 / (p * (1 - p))
    slope = by * (x[:, :1] * by_logit * precision * variance.sqrt())[:, None]
    lost = slope @ slope.mT
    lost[:, 0, 0] += (by_logit**2 * precision * variance).sum(1)
    return lost


def with_population(blocks: Tensor, mean: Tensor, sd: Tensor, people: int) -> Tensor:
    """Covariances (items, n, n) with the sampling of the people added: mean, sd, (items, n), are what they move."""
    return blocks + (mean[:, :, None] * mean[:, None] + sd[:, :, None] * sd[:, None] / 2) / people


def groups_of_like_ability(theta: Tensor) -> tuple[Tensor, int, Tensor]:
    """Each person's group, the number of groups, and each group's mean theta."""
    n = min(len(theta), GROUPS)
    group = torch.empty(len(theta), dtype=torch.long, device=theta.device)
    group[theta.argsort()] = torch.arange(len(theta), device=theta.device) * n // len(theta)
    return group, n, group.bincount(weights=theta, minlength=n) / group.bincount(minlength=n)
