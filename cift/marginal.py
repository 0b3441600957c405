"""Marginal maximum likelihood for items that are answered right or wrong: the engine of `cift.irt.calibrate`.

EM over quadrature nodes (Bock & Aitkin 1981). The E step is in `cift.expectation`; the M step is one Fisher-scoring
step of all items at once. Parameter expansion (Liu, Rubin & Wu 1998) and acceleration (`cift.fixed_point`) end it in
about ten iterations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cift.curves import quadrature
from cift.expectation import Answers, Curves, Expected, expect, expected_log_likelihood, posteriors, scores
from cift.fixed_point import TOLERANCE, Solution, solve
from cift.irt import Fit, Priors
from cift.uncertainty import binary_scores, roots, unknown_by_groups, unknown_exactly, with_population

RUNAWAY = 20.0  # a slope beyond it has no maximum: the likelihood rises for ever
LARGE = 0.3  # a change of an item's coordinate that is looked at twice
SMALL = 2e6  # cells: fewer are done by one thread
FEW_ITEMS = 60  # answered by a person: below so many, standard errors take posteriors as they are, not as normal
USUAL_SD = {"log_a": 0.4, "b": 1.0}  # between the items of a scale: as WORTH items say beside those at hand
WORTH = 10.0
CENTER_SD = (0.5, 2.0)  # of the scale's mean log a and mean b, around 0: with few people they would run off
PARAMETERS = {"1pl": 2, "2pl": 2, "3pl": 3, "4pl": 4}  # of an item: a, g, logit c, logit d


def fit(answers: Answers, model: str, priors: Priors, pooled: bool) -> Fit:
    """Calibrate. pooled: with the priors on log a and b; else only with those on c and d, where the model has them."""
    problem = Problem(model, priors, pooled)
    threads = torch.get_num_threads()
    if answers.right.shape[0] * answers.right.shape[1] < SMALL:  # waking threads would cost more than it gains
        torch.set_num_threads(1)
    try:
        solution = solve(answers, problem)
        expected = solution.expected
        errors = problem.errors(answers, solution)
    finally:
        torch.set_num_threads(threads)
    report = {
        "log_likelihood": expected.log_likelihood,
        "iterations": solution.iterations,
        "converged": solution.change < TOLERANCE,
        "ran_away": problem.ran_away(solution.state),
        "largest_change": solution.change,
        "nodes": len(solution.grid[0]),
        "priors": problem.in_words(solution.state),
    }
    items, standard_errors, theta, theta_se = (
        part.cpu().numpy() for part in (problem.abcd(solution.state), errors, expected.theta, expected.theta_se)
    )
    return Fit(items, standard_errors, theta, theta_se, report)


@dataclass(frozen=True)
class Problem:
    """What is estimated, as a flat vector: each item's coordinates, then the hyperparameters.

    Coordinates of an item are a, g, logit c, logit d, or under pooled priors log a, b, logit c, logit d; the first n.
    Hyperparameters are mean and log sd of log a, and of b: estimated from the items unless the priors name them.
    """

    model: str
    priors: Priors
    pooled: bool

    @property
    def n(self) -> int:
        return PARAMETERS[self.model]

    def split(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates (items, n) and hyperparameters (4,)."""
        return state[:-4].reshape(-1, self.n), state[-4:]

    def curves(self, state: Tensor) -> Curves:
        """(items, 4): a, g, c, d."""
        y, _ = self.split(state)
        a, g = (y[:, 0].exp(), -y[:, 0].exp() * y[:, 1]) if self.pooled else (y[:, 0], y[:, 1])
        c = torch.sigmoid(y[:, 2]) if self.n > 2 else torch.zeros_like(a)
        d = torch.sigmoid(y[:, 3]) if self.n > 3 else torch.ones_like(a)
        return torch.stack([a, g, c, d], 1)

    def abcd(self, state: Tensor) -> Tensor:
        """(items, 4): a, b, c, d."""
        x = self.curves(state)
        a = torch.where(x[:, 0].abs() < 1e-8, 1e-8, x[:, 0])
        return torch.stack([a, -x[:, 1] / a, x[:, 2], x[:, 3]], 1)

    def start(self, answers: Answers) -> Tensor:
        """From shares of right answers and their correlation with the total score, as in factor analysis."""
        share, correlation = _item_statistics(answers)
        low = self.priors.guessing if self.n > 2 else 0.0
        share = ((share - low) / (1 - low)).clamp(0.02, 0.98)
        tau = torch.special.ndtri(share)
        density = torch.exp(-(tau**2) / 2) / (2 * torch.pi) ** 0.5
        loading = (correlation * (share * (1 - share)).sqrt() / density).clamp(-0.9, 0.9)
        if self.pooled or self.model == "1pl":
            loading = torch.full_like(loading, 0.5)
        a, g = (1.7 * part / (1 - loading**2).sqrt() for part in (loading, tau))
        rest = [torch.full_like(a, float(np.log(at / (1 - at)))) for at in (self.priors.guessing, self.priors.upper)]
        y = torch.stack([*((a.log(), -g / a) if self.pooled else (a, g)), *rest][: self.n], 1)
        (log_a, log_a_sd), (b, b_sd) = self.priors.log_a or (0.0, 0.5), self.priors.b or (0.0, 1.0)
        return torch.cat([y.flatten(), y.new_tensor([log_a, np.log(log_a_sd), b, np.log(b_sd)])])

    def quadrature(self, answers: Answers, state: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and log weights that are fine enough for those who answered most."""
        return quadrature(self.abcd(state).cpu().numpy(), answers.most)

    def step(self, answers: Answers, nodes: Tensor, log_weights: Tensor, state: Tensor) -> tuple[Tensor, Expected]:
        """One iteration of EM, and the E step it began with."""
        y, hyper = self.split(state)
        x = self.curves(state)
        expected = expect(answers, x, nodes, log_weights, self.n == 2)
        gradient, information = self.penalised(expected, y, hyper, x)
        if self.model == "1pl":
            change = _shared_slope_step(gradient, information)
        else:
            change = torch.linalg.solve(information, gradient)
        change = change.clamp(-1, 1)  # far from the optimum the curvature misleads
        if self.model != "1pl" and change.abs().max() > LARGE:
            change = self.halved(expected, state, change)
        y = y + change
        if self.pooled:
            hyper = self.empirical_bayes(y, information, hyper)
            if self.priors.log_a or self.priors.b:  # the priors fix origin or unit
                return torch.cat([y.flatten(), hyper]), expected
        return self.rescaled(y, hyper, expected.mean, expected.sd), expected

    def penalised(self, expected: Expected, y: Tensor, hyper: Tensor, x: Curves) -> tuple[Tensor, Tensor]:
        """Gradient and information of each item's coordinates, the priors' included."""
        gradient, information = scores(expected, x, self.n)
        mean, precision = self.normal_priors(y, hyper)
        if self.pooled:  # from a, g to log a, b
            jacobian = self.jacobian(x)
            gradient = (jacobian.mT @ gradient[..., None])[..., 0]
            information = jacobian.mT @ information @ jacobian
            # the mode of log a with b integrated out (Laplace): half the log of b's information falls with a
            gradient[:, 0] -= 1 - precision[1] / (information[:, 1, 1] + precision[1])
        return gradient - precision * (y - mean), information + torch.diag(precision)

    def normal_priors(self, y: Tensor, hyper: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and precision of each coordinate's prior, (n,); a precision of next to nothing where there is none."""
        mean, precision = torch.zeros_like(y[0]), torch.full_like(y[0], 1e-9)
        if self.pooled:
            mean[:2], precision[:2] = hyper[[0, 2]], (-2 * hyper[[1, 3]]).exp()
            if self.model == "1pl":
                precision[0] = 0.0  # one slope for all: nothing to pool
        for k, center, sd in (
            (2, self.priors.guessing, self.priors.guessing_sd),
            (3, self.priors.upper, self.priors.upper_sd),
        ):
            if k < self.n:
                mean[k], precision[k] = float(np.log(center / (1 - center))), sd**-2
        return mean, precision

    def halved(self, expected: Expected, state: Tensor, change: Tensor) -> Tensor:
        """A large change, halved for each item as often as it takes not to go downhill."""
        y, hyper = self.split(state)
        mean, precision = self.normal_priors(y, hyper)

        def objective(at: Tensor) -> Tensor:
            x = self.curves(torch.cat([at.flatten(), hyper]))
            return expected_log_likelihood(expected, x, self.n) - (precision * (at - mean) ** 2).sum(1) / 2

        start = objective(y)
        for _ in range(6):
            worse = objective(y + change) < start
            if not worse.any():
                break
            change = torch.where(worse[:, None], change / 2, change)
        return change

    def empirical_bayes(self, y: Tensor, information: Tensor, hyper: Tensor) -> Tensor:
        """Mean and log sd of log a and of b between the items, by Fisher scoring with Laplace's posterior of each item.

        A hyperprior worth WORTH items keeps the sds off zero where the answers hardly tell the items apart.
        """
        new = hyper.clone()
        for k, (usual, given) in enumerate(
            zip(USUAL_SD.values(), (self.priors.log_a or self.model == "1pl", self.priors.b), strict=True)
        ):
            if given:
                continue
            at = y[:, k]
            variance = torch.linalg.inv(information)[:, k, k]
            square = (2 * hyper[2 * k + 1]).exp()
            mean = at.sum() / (len(at) + square / CENTER_SD[k] ** 2)
            excess = ((at - mean) ** 2 + variance - square).sum() + WORTH * (usual**2 - square)
            change = excess / square / (((1 - variance / square) ** 2).sum() + WORTH)  # of the square, relative
            new[2 * k], new[2 * k + 1] = mean, hyper[2 * k + 1] + change.clamp(-0.5, 0.5) / 2
        return new

    def rescaled(self, y: Tensor, hyper: Tensor, center: Tensor, unit: Tensor) -> Tensor:
        """The same on the scale on which the population's posterior has mean 0 and variance 1 (parameter expansion)."""
        y, hyper = y.clone(), hyper.clone()
        if self.pooled:
            y[:, 0] += unit.log()
            y[:, 1] = (y[:, 1] - center) / unit
            if self.model != "1pl":
                hyper[0] += unit.log()
            hyper[2] = (hyper[2] - center) / unit
            hyper[3] -= unit.log()
        else:
            y[:, 1] += y[:, 0] * center
            y[:, 0] *= unit
        return torch.cat([y.flatten(), hyper])

    def ran_away(self, state: Tensor) -> bool:
        """Whether a slope has no finite estimate."""
        return not self.pooled and bool(state[:-4].reshape(-1, self.n)[:, 0].abs().max() > RUNAWAY)

    def errors(self, answers: Answers, solution: Solution) -> Tensor:
        """Standard errors of a, b, c, d, (items, 4).

        Where all other items are known, an item's covariance is the inverse of its own block of the observed
        information: the complete-data information less what not knowing theta takes away (Louis 1982). What ties the
        items together is that theta ~ N(0, 1) in the population, while the sample of people has its own mean and sd,
        with variances 1/N and about 1/(2N): they move all items alike, and add to each block. The result is at most a
        tenth (6 items), with 20 items and more at most 4 %, above the standard errors from the whole information
        matrix, which it never has to form.
        """
        y, hyper = self.split(solution.state)
        x = self.curves(solution.state)
        expected, (nodes, log_weights) = solution.expected, solution.grid
        _, information = self.penalised(expected, y, hyper, x)
        to_coordinates = self.jacobian(x)
        if len(x) * answers.usual < FEW_ITEMS:
            people = posteriors(answers, x, nodes, log_weights)
            unknown = unknown_exactly(people, binary_scores(x, nodes, self.n))
        else:
            unknown = unknown_by_groups(answers, expected, x, self.n)
        information = information - to_coordinates.mT @ unknown @ to_coordinates
        mean, sd = torch.zeros_like(y), torch.zeros_like(y)  # by how much the sample's mean and log sd move an item
        if self.pooled:
            mean[:, 1], sd[:, 0], sd[:, 1] = -1, 1, -y[:, 1]
        else:
            mean[:, 1], sd[:, 0] = y[:, 0], y[:, 0]
        blocks = _shared_slope_covariance(information) if self.model == "1pl" else torch.linalg.inv(information)
        covariance = with_population(blocks, mean, sd, len(expected.theta))
        variances = covariance.diagonal(dim1=1, dim2=2)
        errors, free = torch.zeros_like(x), torch.zeros_like(x, dtype=torch.bool)
        free[:, : self.n] = True
        if self.pooled:
            errors[:, 0], errors[:, 1] = x[:, 0] ** 2 * variances[:, 0], variances[:, 1]
        else:
            a, g = x[:, 0], x[:, 1]
            by_b = torch.stack([g / a**2, -1 / a], 1)
            errors[:, 0] = variances[:, 0]
            errors[:, 1] = (by_b[:, None] @ covariance[:, :2, :2] @ by_b[..., None])[:, 0, 0]
        errors[:, 2 : self.n] = variances[:, 2:] * (x[:, 2 : self.n] * (1 - x[:, 2 : self.n])) ** 2
        return roots(errors, free)

    def jacobian(self, x: Curves) -> Tensor:
        """Of a, g, logit c, logit d by the coordinates: (items, n, n)."""
        jacobian = torch.eye(self.n, dtype=x.dtype, device=x.device).repeat(len(x), 1, 1)
        if self.pooled:
            jacobian[:, 0, 0], jacobian[:, 1, 0], jacobian[:, 1, 1] = x[:, 0], x[:, 1], -x[:, 0]
        return jacobian

    def in_words(self, state: Tensor) -> dict:
        """The priors in use, for the record."""
        priors: dict = {}
        if self.pooled:
            log_a, log_a_sd, b, b_sd = state[-4:].tolist()
            priors["b"] = [b, float(np.exp(b_sd))]
            if self.model != "1pl":
                priors["log_a"] = [log_a, float(np.exp(log_a_sd))]
        if self.n > 2:
            priors["logit_c"] = [
                float(np.log(self.priors.guessing / (1 - self.priors.guessing))),
                self.priors.guessing_sd,
            ]
        if self.n > 3:
            priors["logit_d"] = [float(np.log(self.priors.upper / (1 - self.priors.upper))), self.priors.upper_sd]
        return priors


def _item_statistics(answers: Answers) -> tuple[Tensor, Tensor]:
    """Each item's share of right answers, and its correlation with theta as the total score measures that."""
    people, items = answers.right.shape
    total = torch.empty(people, dtype=torch.float64, device=answers.right.device)
    sums = torch.zeros(items, 5, dtype=torch.float64, device=total.device)  # n, right, total, total², right x total
    for part, right, right_t, answered, answered_t in answers.blocks(items, torch.float32):
        one = torch.ones(items, dtype=right.dtype, device=total.device)
        n = torch.full((right.shape[0],), float(items), device=total.device) if answered is None else answered @ one
        score = (right @ one) / n.clamp(min=1)
        total[part] = score
        towards = torch.stack([torch.ones_like(score), score, score**2], 1)
        of_answered = towards.sum(0).expand(items, 3) if answered_t is None else answered_t @ towards
        sums += torch.cat([of_answered, right_t @ towards[:, :2]], 1)[:, [0, 3, 1, 2, 4]].double()
    n, right, score, square, product = sums.T
    share = right / n
    covariance = product / n - share * score / n
    spread = (square / n - (score / n) ** 2).clamp(min=1e-12)
    noise = (
        share * (1 - share)
    ).sum() / items**2  # of a total score, were theta fixed at its mean: Kuder & Richardson 20
    reliability = (1 - noise / total.var()).clamp(0.3, 1)
    correlation = covariance / (spread * share * (1 - share)).clamp(min=1e-12).sqrt()
    return share, correlation / reliability.sqrt()


def _shared_slope_step(gradient: Tensor, information: Tensor) -> Tensor:
    """The 1PL's step: each item its own second coordinate, all one first."""
    (g0, g1), (h00, h01, h11) = gradient.T, (information[:, i, k] for i, k in ((0, 0), (0, 1), (1, 1)))
    slope = (g0 - h01 / h11 * g1).sum() / (h00 - h01**2 / h11).sum()
    return torch.stack([slope.expand(len(g0)), (g1 - h01 * slope) / h11], 1)


def _shared_slope_covariance(information: Tensor) -> Tensor:
    """Blocks of the inverse for the 1PL, whose items have the first coordinate in common."""
    h00, h01, h11 = (information[:, i, k] for i, k in ((0, 0), (0, 1), (1, 1)))
    slope = 1 / (h00 - h01**2 / h11).sum()
    pull = -h01 / h11
    first = torch.stack([slope.expand(len(h00)), slope * pull], 1)
    return torch.stack([first, torch.stack([slope * pull, 1 / h11 + slope * pull**2], 1)], 1)
