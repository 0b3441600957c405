"""What not knowing theta takes away from the information about items, and what sampling people adds to their errors.

The observed information about an item is that of the E step's expected counts less the sum over people of the posterior
variance of the item's score (Louis 1982).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from cift.expectation import Answers, Curves, Expected, curve, derivatives, logits

GROUPS = 100  # of people of like ability


def unknown_exactly(people: Iterable[tuple[list[Tensor], Tensor]], scores: Sequence[Tensor]) -> Tensor:
    """Information on an item's n parameters lost to not knowing theta: the scores' posterior variance, (items, n, n).

    people: some at a time, for each kind of answer whether they gave it, (people, items), and their posterior on the
    nodes. scores: of each kind of answer, the derivatives of its log probability, (n, items, nodes).
    """
    n, items, _ = scores[0].shape
    lost = torch.zeros(items, n, n, dtype=scores[0].dtype, device=scores[0].device)
    for given, weight in people:
        mean = torch.zeros(n, len(weight), items, dtype=lost.dtype, device=lost.device)
        for kind, score in zip(given, scores, strict=True):
            mean += kind * (weight @ score.mT)
            lost += torch.einsum("jq,kjq,ljq->jkl", kind.T @ weight, score, score)
        lost -= torch.einsum("kij,lij->jkl", mean, mean)
    return lost


def binary_scores(x: Curves, nodes: Tensor, n: int) -> list[Tensor]:
    """Of a right and of a wrong answer, by the first n of a, g, logit c, logit d: (n, items, nodes) each."""
    sigmoid = torch.sigmoid(logits(x, nodes))
    p = curve(x, sigmoid)
    by = torch.stack(derivatives(x, sigmoid, nodes, n))
    return [by / p, -by / (1 - p)]


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


def roots(variances: Tensor, free: Tensor) -> Tensor:
    """Standard errors: infinite where an estimated parameter has no positive variance, 0 where it is fixed."""
    unknown = torch.full_like(variances, torch.inf)
    return torch.where(free, torch.where(variances > 0, variances.clamp(min=0).sqrt(), unknown), 0.0)


def with_population(blocks: Tensor, mean: Tensor, sd: Tensor, people: int) -> Tensor:
    """Covariances (items, n, n) with the sampling of the people added: mean, sd, (items, n), are what they move."""
    return blocks + (mean[:, :, None] * mean[:, None] + sd[:, :, None] * sd[:, None] / 2) / people


def groups_of_like_ability(theta: Tensor) -> tuple[Tensor, int, Tensor]:
    """Each person's group, the number of groups, and each group's mean theta."""
    n = min(len(theta), GROUPS)
    group = torch.empty(len(theta), dtype=torch.long, device=theta.device)
    group[theta.argsort()] = torch.arange(len(theta), device=theta.device) * n // len(theta)
    return group, n, group.bincount(weights=theta, minlength=n) / group.bincount(minlength=n)
