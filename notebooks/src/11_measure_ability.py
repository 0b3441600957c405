# ---
# jupyter:
#   jupytext:
#     formats: ipynb,src//py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 Measure ability: models among people
#
# **The question.** A model's answers are there. Where does it stand among the people who answered the same items, how
# sure is that, how few items would have told as much, and does the comparison hold at all?
#
# **After this notebook you can**
#
# - turn a predictions table into an ability with its standard error, by four estimators, and say how they differ;
# - recognise ceilings, floors and guessing, and read a percentile with care;
# - shorten a test, item by item (adaptive) or once for all (short form), and say what that costs;
# - put the scales of two crowds on one;
# - ask whether a model finds hard what people find hard, and whether the items are fair to it.
#
# **Time.** About 40 minutes to read; it runs in about 1 minute on 2 cores. **Needs:** the embedded data and weights, no
# network; two sections go on with public data where these can be had. **Makes:** nothing on disk.

# %% [markdown]
# ## Set-up
#
# The first cell holds the numbers that you may want to change.

# %% tags=["parameters"]
TRAIN_PAIRS = 600  # pairs of scenes that the small models learn from
VARIANTS = 6  # variants of the model for each layer of MiniLM, in sections 10 and 11
EXAMINEES = 300  # simulated examinees of the adaptive tests and the short forms
REPLICATIONS = 20  # how often the two crowds of section 9 are drawn
SEED = 0

# %%
import gzip
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from cift import ability, adaptive, crowds, diagnostics, dif, fetch, irt, linking, models, plots
from cift.corpora import LABELS, load_corpus
from cift.doctor import machine, versions

rng = np.random.default_rng(SEED)
{name: versions()[name] for name in ("cift", "python", "torch", "transformers")} | machine()

# %% [markdown]
# ## 1 The scale
#
# The items are the 90 probes of stratum G4, thirty for each label, and the crowd is **simulated**: 1,000 made-up
# respondents with known abilities. All 90 items make *one* scale here. On a scale of thirty items with one gold label,
# a model that always gives this label would have the top ability; a scale with all three labels does not let it.

# %%
responses, gold = crowds.load_crowd("probes")["G4"]
scored = crowds.score(responses, gold)
bank = irt.calibrate(scored, "G4 (simulated)")
label_of = gold.map({"entailment": "E", "neutral": "N", "contradiction": "C"})
truth = pd.read_csv("../data/probes/truth_items.csv").query("item_id in @gold.index").assign(c=0.0, d=1.0)
all_theta = pd.read_csv("../data/probes/truth_respondents.csv", index_col="userid")["theta"]
true_theta = all_theta[scored.index]
assert np.corrcoef(truth["b"], bank.items["b"])[0, 1] > 0.95 < np.corrcoef(true_theta, bank.population["theta"])[0, 1]
bank.items.groupby(bank.items["item_id"].map(label_of))[["a", "b"]].agg(["mean", "min", "max"]).round(1)

# %% [markdown]
# `b` is the ability at which half of the people are right, in standard deviations of the population. Contradictions
# (C) are hardest. The bank follows the two-parameter logistic model (2PL; Birnbaum 1968; notebook 04), $P_j(\theta) =
# 1 / (1 + e^{-a_j(\theta - b_j)})$. The simulation's truth is at hand for checks; the assertion says that estimated
# difficulties and abilities correlate above .95 with it.
#
# ## 2 Five respondents that are no people
#
# Three cheap rules, and two uses of one model. Each is trained, where it has something to learn, on generated pairs
# (`scenes`), never on the probes, and each ends in the same table: `item_id`, `label`, `predicted`.

# %%
probes = load_corpus("probes").filter(lambda stratum: stratum == "G4", input_columns="stratum")
scenes = load_corpus("scenes", "train").select(range(TRAIN_PAIRS))


def table(predicted):
    return pd.DataFrame({"item_id": probes["item_id"], "label": [LABELS[k] for k in probes["label"]]}).assign(
        predicted=[LABELS[k] for k in predicted]
    )


def overlap(pairs):
    words = [[set(re.findall(r"[a-z']+", text.lower())) for text in pairs[side]] for side in ("premise", "hypothesis")]
    return np.array([[len(p & h) / len(h)] for p, h in zip(*words, strict=True)])


# %% [markdown]
# *Word overlap* is the share of the hypothesis's words that occur in the premise. MiniLM is used as it is: it turns
# each sentence into a vector, the mean of its tokens' states, after each of its six layers.

# %%
logging.disable_progress_bar()
place_of = models.resolve("minilm")
tokenizer, encoder = AutoTokenizer.from_pretrained(place_of), AutoModel.from_pretrained(place_of).eval()


def embed(sentences):
    vectors, todo = {}, sorted(set(sentences), key=lambda text: (len(text), text))
    for start in range(0, len(todo), 64):
        batch = tokenizer(todo[start : start + 64], padding=True, return_tensors="pt")
        with torch.inference_mode():
            states = torch.stack(encoder(**batch, output_hidden_states=True).hidden_states[1:], 1)
        mask = batch["attention_mask"][:, None, :, None]
        mean = torch.nn.functional.normalize((states * mask).sum(2) / mask.sum(2), dim=2)
        vectors |= zip(todo[start : start + 64], mean.numpy(), strict=True)
    return np.stack([vectors[text] for text in sentences]).astype(float)  # (sentences, layers, 384), of length 1


premises, hypotheses = ({pairs: embed(data[side]) for pairs, data in (("scenes", scenes), ("probes", probes))}
                        for side in ("premise", "hypothesis"))  # fmt: skip

# %% [markdown]
# A logistic regression reads the label off the two vectors, their difference and their product (a usual choice for
# sentence pairs: Conneau et al. 2017). A second one sees only the cosine of the two vectors, that is, how similar the
# sentences are.


# %%
def features(pairs, layer):
    p, h = premises[pairs][:, layer], hypotheses[pairs][:, layer]
    return np.hstack([p, h, np.abs(p - h), 10 * p * h])  # the products are small


def cosine(pairs):
    return (premises[pairs][:, -1] * hypotheses[pairs][:, -1]).sum(1, keepdims=True)


def learnt(x, x_probes, y=scenes["label"]):
    return LogisticRegression(tol=1e-6, max_iter=5000).fit(x, y).predict(x_probes)


predictions = {
    "always contradiction": table([LABELS.index("contradiction")] * 90),
    "guesses": table(rng.integers(3, size=90)),
    "word overlap": table(learnt(overlap(scenes), overlap(probes))),
    "MiniLM similarity": table(learnt(cosine("scenes"), cosine("probes"))),
    "MiniLM vectors": table(learnt(features("scenes", -1), features("probes", -1))),
}

# %% [markdown]
# From predictions to ability is one call. `theta` is the posterior mean (EAP), `theta_se` the posterior's standard
# deviation, its standard error.

# %%
placed = pd.concat([ability.place(found, bank, name) for name, found in predictions.items()])
right = {name: (found["predicted"] == found["label"]).sum() for name, found in predictions.items()}
placed.insert(0, "right", pd.Series(right))
placed[["right", "n_items", "theta", "theta_se", "percentile"]].round({"theta": 2, "theta_se": 2, "percentile": 0})

# %% [markdown]
# Where would pure guessing land? A thousand guessers at random among the three labels give the chance level of this
# scale, drawn as a band that holds 95 % of them.

# %%
guessers = pd.DataFrame(rng.random((1000, 90)) < 1 / 3, columns=bank.items["item_id"]).astype(float)
guessed = ability.score(guessers, bank)
assert guessed["theta"].max() < -0.5
level = guessed["theta"]
print(f"guessers: theta {level.mean():.1f}, sd {level.std():.2f}, SE {guessed['theta_se'].mean():.2f}")
ax = plots.ability(bank, placed, people="simulated respondents")
ax.axvspan(*level.quantile([0.025, 0.975]), color="#F0E442", alpha=0.5, zorder=0)
plt.show()

# %% [markdown]
# **What to see.** All five stand at the lower end, in or beside the yellow band: the model can hardly be told from
# guessing. It learnt from pairs of a narrow grammar, and the probes were written against shortcuts. The order of the
# five is uncertain: most bars overlap.
#
# A third right without knowing anything is not $\theta = -\infty$: the 2PL has no guessing, and the simulated people
# do not guess, so it reads chance hits as ability. Chance level has a place on every scale, and that place belongs in
# the picture. The guessers' abilities also vary a little **more** than their standard error says, because their
# answers do not follow the model. *Person fit* notices that: $l_z^*$ (Snijders 2001) compares the log-likelihood of
# the answers with what the model expects of someone at this $\theta$, and is about $N(0, 1)$ for people whom the model
# describes.

# %%
sheets = pd.DataFrame(
    {name: (found["predicted"] == found["label"]).astype(float).to_numpy() for name, found in predictions.items()},
    index=predictions["guesses"]["item_id"],
).T
fit = diagnostics.person_fit(pd.concat([sheets, scored]), bank)["l_z_star"]
people_fit = fit[scored.index]
assert fit[sheets.index].max() < people_fit.min()
print(f"simulated respondents: mean {people_fit.mean():.1f}, sd {people_fit.std():.1f}, lowest {people_fit.min():.1f}")
fit[sheets.index].round(0).astype(int).to_frame()

# %% [markdown]
# **Check.** Not one of the five is a respondent as the model knows them: all lie below the lowest of the people (the
# assertion). They miss easy items and hit hard ones. Their $\theta$ summarises how much they got right; it does not
# predict *which*. Sections 10 and 11 look into that.
#
# ## 3 Four estimates of one ability
#
# Let $L(\theta) = \prod_j P_j(\theta)^{x_j} (1 - P_j(\theta))^{1 - x_j}$ be the likelihood of the answers $x$,
# $\varphi$ the density of $N(0, 1)$, $I(\theta) = \sum_j P_j'^2 / (P_j (1 - P_j))$ the test information and $J(\theta)
# = \sum_j P_j' P_j'' / (P_j (1 - P_j))$.
#
# | estimate | definition | standard error | source |
# |---|---|---|---|
# | EAP | $\int \theta L \varphi \, d\theta \,/ \int L \varphi \, d\theta$ | SD of the posterior | Bock & Mislevy 1982 |
# | MAP | maximum of $L \varphi$ | $1 / \sqrt{I + 1}$ | Samejima 1969 |
# | MLE | maximum of $L$ | $1 / \sqrt{I}$ | Lord 1980 |
# | WLE | $\partial \log L / \partial \theta + J / 2I = 0$ | $1 / \sqrt{I}$ | Warm 1989 |
#
# EAP and MAP know that people are spread as $N(0, 1)$; MLE and WLE know the answers only. To see a difference, take a
# short test: ten items, and someone who gets one of them wrong.

# %%
ten = adaptive.short_form(bank, 10)
short = irt.ItemBank(bank.items.set_index("item_id").loc[ten].reset_index(), bank.population, {"scale": "ten items"})
sheet = pd.DataFrame([[1.0] * 9 + [0.0]], index=["one of ten wrong"], columns=ten)
four = pd.concat([ability.score(sheet, short, method) for method in ability.METHODS], keys=ability.METHODS)
print(four[["theta", "theta_se", "percentile"]].droplevel(1).round(2))

theta = np.linspace(-3, 4, 281)
p = irt.probability(theta, short.items)
likelihood = np.where(sheet.to_numpy()[0] == 1, p, 1 - p).prod(axis=1)
prior = np.exp(-(theta**2) / 2)
ax = plots.clean_axes()
curves = {"N(0, 1)": prior, "likelihood": likelihood, "posterior": prior * likelihood}
for k, (name, curve) in enumerate(curves.items()):
    ax.plot(theta, curve / curve.max(), plots.LINES[k], color=plots.COLOURS[k], label=name)
for k, (method, row) in enumerate(four.droplevel(1).iterrows()):
    ax.errorbar(row["theta"], 1.45 - 0.1 * k, xerr=row["theta_se"], fmt=plots.MARKERS[k], color=plots.COLOURS[k + 2],
                capsize=3, label=f"{method.upper()} ± SE")  # fmt: skip
ax.set(xlabel="ability θ", ylabel="height (peak = 1)", title="Same answers, four estimates", ylim=(0, 1.55))
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# **What to see.** The posterior lies between the population and the likelihood. EAP and MAP are pulled towards 0, with
# smaller standard errors; MLE lies at the likelihood's peak, and WLE inside of it.
#
# Is the pull a fault? Ask the simulation: many people at each true ability take the ten items, and each estimate's mean
# error (*bias*) and root mean squared error (RMSE) are noted. MLE has no finite value for all right or all wrong, so it
# is set to ±4 there. The last lines do the same for people drawn from $N(0, 1)$.


# %%
def errors_of(true, seed):
    answers = adaptive.simulate_answers(true, short, seed=seed)
    return pd.DataFrame({m: ability.score(answers, short, m)["theta"].clip(-4, 4) - true for m in ability.METHODS})


grid = np.repeat(np.arange(-2.5, 2.6, 0.5), 400)
errors = errors_of(grid, SEED + 1)
measures = {"bias": errors.groupby(grid).mean(), "RMSE": (errors**2).groupby(grid).mean() ** 0.5}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for ax, (name, found) in zip(axes, measures.items(), strict=True):
    plots.clean_axes(ax)
    for k, method in enumerate(ability.METHODS):
        style = {"marker": plots.MARKERS[k], "color": plots.COLOURS[k + 2], "label": method.upper()}
        ax.plot(found[method], plots.LINES[k], **style)
    ax.set(xlabel="true ability θ", ylabel=name)
axes[0].axhline(0, color="#BBBBBB", zorder=0)
axes[1].legend(frameon=False)
plt.show()
rmse = (errors_of(rng.standard_normal(4000), SEED + 2) ** 2).mean() ** 0.5
assert rmse.idxmin() == "eap"
print("RMSE over N(0, 1):", rmse.round(2).to_dict())

# %% [markdown]
# **What to see.** EAP and MAP err towards 0 at both ends, MLE outwards, WLE is nearly unbiased where the ten items
# measure. Near 0, where most people are, EAP and MAP have the smallest error; at the far ends WLE has.
#
# **Check.** Averaged over the population EAP has the smallest error of the four, MAP hardly a larger one; no estimate
# at all has a smaller one than the posterior mean (Bock & Mislevy 1982). So: EAP to place someone among these people;
# WLE where the prior should not speak, as for a model that is no draw from that population. How much it matters
# depends on the test: with all 90 items the four estimates of our five models differ by at most 0.04.
#
# ## 4 How sure: the standard error depends on where you stand
#
# By the information, the standard error is about $1/\sqrt{I(\theta)}$ without a prior and $1/\sqrt{I(\theta) + 1}$
# with $N(0, 1)$, whose own information is 1. Three scales: all 90 items of G4, the ten of section 3, and the thirty
# easy items `5GS-E`, calibrated on the other simulated crowd.

# %%
stratum = crowds.load_crowd("probes")["G5"]
easy_items = crowds.groups(stratum.gold, "G5")["5GS-E"]
easy_scored = crowds.score(stratum.responses, stratum.gold)[easy_items]
easy = irt.calibrate(easy_scored, "5GS-E (simulated)")

theta = np.linspace(-4, 4, 161)
ax = plots.clean_axes()
for k, (name, scale, people) in enumerate(
    (("G4, 90 items", bank, scored), ("5GS-E, 30 items", easy, easy_scored), ("ten items", short, scored)), 1
):
    eap = ability.score(people.head(300), scale)
    ax.plot(theta, 1 / np.sqrt(irt.information(theta, scale.items).sum(axis=1) + 1), plots.LINES[k - 1],
            color=plots.COLOURS[k], label=name)  # fmt: skip
    ax.plot(eap["theta"], eap["theta_se"], plots.MARKERS[k], color=plots.COLOURS[k], markersize=3, alpha=0.5)
ax.set(xlabel="ability θ", ylabel="standard error", ylim=(0, 1.05), title="Lines: 1/√(I+1); points: simulated people")
ax.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.02))
plt.show()
inside = (bank.population["theta"] - true_theta).abs() <= 1.96 * bank.population["theta_se"]
assert 0.93 < inside.mean() < 0.97
print(f"{100 * inside.mean():.0f} % of {len(inside)} intervals hold the true ability")

# %% [markdown]
# **What to see.** Precision has a place. `5GS-E` measures the weakest well, and hardly anyone above $\theta = 1$, where
# its standard error nears 1, the error of knowing nothing. Each point is one person's posterior:
# the formula is close where the scale measures.
#
# **Check.** A standard error is a claim: the interval $\theta \pm 1.96\,SE$ should hold the truth for 95 % of people;
# the line above counts.

# %% [markdown]
# ## 5 Ceilings and floors
#
# Who has everything right could be anywhere above. Four estimates of a perfect and of an empty sheet, on the easy
# scale:

# %% tags=["nbval-check-output"]
perfect = pd.DataFrame([[1.0] * 30, [0.0] * 30], index=["all right", "all wrong"], columns=easy_items)
ends = pd.concat({m.upper(): ability.score(perfect, easy, m) for m in ability.METHODS}).swaplevel().sort_index()
print(ends[["theta", "theta_se", "percentile", "at_ceiling", "at_floor"]].round(1))
flags = {"5GS-E": ability.score(easy_scored, easy), "G4": ability.score(scored, bank)}
share = pd.DataFrame({name: found[["at_ceiling", "at_floor"]].mean() for name, found in flags.items()}).T
assert share.loc["5GS-E", "at_ceiling"] > 0.2
(100 * share).round(0).astype(int).add_suffix(" (% of people)")

# %% [markdown]
# The MLE is honest in its way: infinite, with an infinite error. EAP gives a finite number that is mostly the
# population's: it says *somewhere in the upper half*, and its percentile is the highest that this scale can give. So
# the flag `at_ceiling` belongs beside the number.
#
# **Check.** How many simulated people are there? A third of them on the easy scale, none on G4. Nobody is at the floor
# of either, and the guessers of section 2 show why that is no comfort: a test of three choices has its real floor at
# chance.
#
# ## 6 Percentiles, and why estimates are less spread than people
#
# `percentile` is $100\,\Phi(\theta)$, the place in $N(0, 1)$. `percentile_empirical` is the share of the bank's own
# population with a lower estimate. They agree on a precise scale, and part on a poor one:

# %%
people = ability.score(scored, bank).sort_values("theta").iloc[[250, 500, 750, 950]]
poor = ability.score(easy_scored, easy).sort_values("theta").iloc[[50, 250, 500, 700]]
some = pd.concat({"G4": pd.concat([placed.loc[["MiniLM vectors"]], people]), "5GS-E": poor})
some[["theta", "theta_se"]].round(2).join(some[["percentile", "percentile_empirical"]].round(0).astype(int))

# %% [markdown]
# On the easy scale someone with more right answers than half of the people is said to be at percentile 60, and the 33 %
# at the ceiling share one place. The reason is the pull. By the law of total variance,
#
# $$\operatorname{Var}(\theta) = \operatorname{Var}(\mathrm{EAP}) + \operatorname{E}(SE^2),$$
#
# so the EAPs of a population vary less than its abilities, by just what the standard errors hold. For statements about
# a group, draw from each person's posterior instead (*plausible values*, Mislevy 1991), compute in every draw, and
# average.

# %% tags=["nbval-check-output"]
draws = ability.plausible_values(easy_scored, easy, n=20, seed=SEED)
easy_truth = all_theta[easy_scored.index]
spread = {
    "true abilities": easy_truth.std(),
    "EAP": easy.population["theta"].std(),
    "WLE": ability.score(easy_scored, easy, "wle")["theta"].std(),
    "plausible values": draws.std().mean(),
}
assert abs(spread["EAP"] ** 2 + (easy.population["theta_se"] ** 2).mean() - draws.var().mean()) < 0.05
pd.Series(spread, name="sd over 1,000 simulated people").round(1).to_frame()

# %%
ax = plots.clean_axes()
shown = {"true abilities": easy_truth, "EAP": easy.population["theta"], "plausible values, first draw": draws[0]}
for k, (name, values) in enumerate(shown.items()):
    ax.hist(values, bins=np.arange(-4, 4.1, 0.25), histtype="step", linestyle=plots.LINES[k], linewidth=1.6,
            color=plots.COLOURS[(0, 1, 2)[k]], label=name)  # fmt: skip
ax.set(xlabel="ability θ on 5GS-E (simulated)", ylabel="simulated people")
ax.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# **What to see.** The EAPs pile up at the ceiling, at 0.84, and nobody is placed higher; plausible values have the
# shape of the true abilities. One draw is no estimate of one person: it is for the group. (The assertion above holds
# the law of total variance against the draws.)
#
# ## 7 Adaptive tests: the next item depends on the answers so far
#
# An item tells most about people near its difficulty. So after each answer, ask the item with the most information at
# the present estimate (Lord 1980). `administer` replays such a test on answers that are already there. First one test,
# question by question:

# %%
one = scored.index[(true_theta - 0.8).abs().argmin()]
test = adaptive.administer(scored.loc[[one]], bank, max_items=25)
b = test["item_id"].map(bank.items.set_index("item_id")["b"])
test.drop(columns="respondent").assign(b=b).head(4).round(2)

# %%
ax = plots.clean_axes()
ax.fill_between(test["step"], test["theta"] - test["theta_se"], test["theta"] + test["theta_se"], color="#CCCCCC")
ax.plot(test["step"], test["theta"], color="black", label="estimate ± SE")
for answer, marker, colour, name in ((1, "o", "#0072B2", "item, right"), (0, "X", "#D55E00", "item, wrong")):
    asked = test["answer"] == answer
    ax.plot(test["step"][asked], b[asked], marker, color=colour, label=name)
ax.axhline(true_theta[one], color="#009E73", linestyle="--", label="true ability")
ax.set(xlabel="question", ylabel="ability θ, difficulty b", title="One simulated respondent")
ax.legend(frameon=False, ncols=2, loc="upper left", bbox_to_anchor=(0, -0.16))
plt.show()

# %% [markdown]
# **What to see.** The first questions lie near the estimate and move it a lot. Then the items that tell most there are
# used up, the test goes down to easier ones, and the band narrows slowly.
#
# How many items for a wanted standard error? New simulated examinees answer by the *true* item parameters, while the
# test chooses by the estimated ones, as it would have to.

# %%
new_theta = pd.Series(rng.standard_normal(EXAMINEES))
examinees = adaptive.simulate_answers(new_theta, irt.ItemBank(truth, pd.DataFrame(), {}), seed=SEED + 1)
runs = {order: adaptive.administer(examinees, bank, order, seed=SEED + 2) for order in adaptive.ORDERS}
wanted = (0.5, 0.4, 0.3, 0.25)
needed = {o: {f"SE {se}": adaptive.items_needed(run, se).median() for se in wanted} for o, run in runs.items()}
pd.DataFrame(needed).round(0).astype(int).add_suffix(" (median items)")

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for k, (order, run) in enumerate(runs.items()):
    closeness = adaptive.by_length(run, new_theta)
    n = adaptive.items_needed(run, 0.3)
    plots.clean_axes(axes[0]).plot(closeness["n_items"], closeness["rmse"], plots.LINES[k], color=plots.COLOURS[k + 1],
                                   label=f"{order}, RMSE")  # fmt: skip
    axes[0].plot(closeness["n_items"], closeness["theta_se"], plots.LINES[k], color="#999999", zorder=0)
    plots.clean_axes(axes[1]).plot(new_theta[n.index], n, plots.MARKERS[k], color=plots.COLOURS[k + 1], markersize=3,
                                   label=order)  # fmt: skip
axes[0].set(xlabel="number of items", ylabel="error (grey: mean SE)", ylim=(0, 1))
axes[1].set(xlabel="true ability θ", ylabel="items to SE 0.3", ylim=(0, 91))
for ax in axes:
    ax.legend(frameon=False)
plt.show()

# %% [markdown]
# **What to see.** Left: chosen items come down faster than random ones, and the standard error that the test reports
# (grey) agrees with its real error. Right: in the middle a dozen items do; towards the upper end the bank has few hard
# items, and even the best order needs most of it.
#
# **Exposure and content.** A test that always asks the best item asks everybody the same ones, and with models that
# means it can be trained for. `among=5` draws from the five best (Kingsbury & Zara 1989); `groups` keeps every label at
# its share. What do these cost?

# %%
rules = {
    "best item": {},
    "among the best 5": {"among": 5},
    "labels balanced": {"groups": label_of.to_dict()},
    "both": {"among": 5, "groups": label_of.to_dict()},
}
rows = {}
for name, rule in rules.items():
    run = adaptive.administer(examinees, bank, max_items=20, seed=SEED + 2, **rule)
    last = run.groupby("respondent").last()
    share = run["item_id"].map(label_of).value_counts(normalize=True)
    exposure = run["item_id"].value_counts() / len(examinees)
    rows[name] = {"mean SE": last["theta_se"].mean(), "RMSE": np.sqrt(((last["theta"] - new_theta) ** 2).mean())}
    rows[name] |= {"most asked item": exposure.max(), "items ever asked": len(exposure)} | share.to_dict()
pd.DataFrame(rows).T.round(2)

# %% [markdown]
# After 20 items the rules cost a few hundredths of the standard error. What they buy: the balanced test has 20 items as
# 7, 7 and 6 of the labels, so that a model which favours one label cannot profit from it.
#
# And the models? Their twenty-item tests, beside the full ninety:

# %%
rule = rules["labels balanced"]
brief = adaptive.administer(sheets, bank, max_items=20, **rule).groupby("respondent", sort=False).last()
both = placed[["theta", "theta_se"]].join(brief[["theta", "theta_se"]], rsuffix=", 20 items")
off = (both["theta, 20 items"] - both["theta"]).abs() / both["theta_se, 20 items"]
print(f"largest change: {off.max():.0f} standard errors of the short test ({off.idxmax()})")
both.round(2)

# %% [markdown]
# **Check.** For people the short test agrees with the long one within its error. For these models it need not: an
# adaptive test relies on *which* items are right more than a full one, and section 2 found that they are not the ones
# that the curves expect.
#
# ## 8 Short forms: the same few items for all
#
# Where all answers are there anyway, or the test goes on paper, one wants the best twenty items once for all.
# `short_form` picks greedily: each next item is the one that most lowers the mean of $1/(1 + I(\theta))$ over the
# population. `short_form_error` compares such forms with the full bank, on examinees whom the calibration did not see.

# %%
sizes = (5, 10, 20, 40, 80)
full = ability.eap(examinees, bank)["theta"]
forms = {
    "short form": adaptive.short_form_error(examinees, bank, sizes),
    "random items": adaptive.short_form_error(examinees, bank, sizes, order="random"),
    "adaptive": adaptive.by_length(runs["information"], full).query("n_items in @sizes"),
}
assert (forms["short form"]["spearman"] > forms["random items"]["spearman"]).all()
print(pd.concat({name: found.set_index("n_items")["spearman"] for name, found in forms.items()}, axis=1).round(2))
ax = plots.clean_axes()
for k, (name, found) in enumerate(forms.items()):
    style = {"marker": plots.MARKERS[k], "color": plots.COLOURS[k + 1], "label": name}
    ax.plot(found["n_items"], found["spearman"], plots.LINES[k], **style)
ax.set(xlabel="number of items", ylabel="rank correlation with all 90", xscale="log", title="Simulated examinees")
ax.set_xticks(sizes, sizes)
ax.minorticks_off()
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# **What to see.** A chosen form of ten items ranks the examinees about as well as twenty random ones; an adaptive test
# is best where there are few items. Mind the yardstick: the items of a form are part of the whole, so at 80 of 90
# everything agrees.
#
# ### With real answers: 90 model checkpoints
#
# `model-crowd` holds the answers of 90 checkpoints (18 models at five stages of training) to the 9,824 pairs of the
# SNLI test set (Vania et al. 2021). The next cell runs where that file is at hand: it calibrates 200 items on nine of
# the models and tries the forms on the other nine. In the run that is shown the ten-item form reached a rank
# correlation of .88, ten random items .79.

# %%
# NBVAL_SKIP
have = all(fetch.available(name) for name in ("model-crowd/snli_irt_all_coded.csv", "snli/snli_1.0_test.jsonl.gz"))
if have:
    checkpoints = crowds.load_model_crowd()
    family = checkpoints.index.str.rsplit("_", n=1).str[0]
    half = family.isin(family.unique()[::2])
    share = checkpoints[half].mean()
    chosen = share[share.between(0.1, 0.9)].sample(200, random_state=SEED).index
    real = irt.calibrate(checkpoints.loc[half, chosen], "model-crowd", method="map")
    for order in adaptive.ORDERS:
        tried = adaptive.short_form_error(checkpoints[~half], real, sizes, order)
        print(order, tried[["n_items", "spearman", "theta_se"]].round(2).to_string(index=False), sep="\n")
else:
    print("Not at hand: cift.fetch.fetch('model-crowd/snli_irt_all_coded.csv') and the SNLI test set download them.")

# %% [markdown]
# One split of the models is one draw. Over twelve such halves (six random splits, each half once the calibration), with
# 300 items of which 10 to 90 % of the calibrating checkpoints are right, the mean rank correlation with the full
# 300-item ability was:
#
# | items | 5 | 10 | 20 | 40 | 80 |
# |---|---|---|---|---|---|
# | short form | .854 | .910 | .941 | .968 | .983 |
# | random items | .721 | .819 | .884 | .929 | .961 |
# | adaptive | .896 | .931 | .968 | .980 | .986 |
#
# (standard deviation over halves .01 to .05). Is the ability itself anything? Calibrated on all 90 checkpoints, the
# 300-item $\theta$ ranks them as their accuracy on the *other* 9,524 items does: Spearman .983. The mean standard error
# of the 300-item abilities is 0.13. The population is one of models here, and the five checkpoints of a model are no
# independent respondents.
#
# ## 9 Two crowds, one scale: linking
#
# Each calibration calls its own crowd $N(0, 1)$. If a second crowd is abler, its items look easier, and an ability of 0
# means something else. If the two scales share items, these tell the change of units
#
# $$\theta_1 = A\,\theta_2 + B, \qquad b_1 = A\,b_2 + B, \qquad a_1 = a_2 / A.$$
#
# *Mean–sigma* (Marco 1977) takes $A = \mathrm{sd}(b_1)/\mathrm{sd}(b_2)$ and $B = \bar b_1 - A\,\bar b_2$ over the
# common items. *Stocking–Lord* (1983) takes the $A$ and $B$ under which the common items' expected number right,
# $\sum_j P_j(\theta)$, agrees best over the population.
#
# Two simulated crowds of 1,000: the first is $N(0, 1)$ and answers items 1 to 60, the second is abler, $N(0.7,
# 0.8^2)$, and answers items 31 to 90 (of a shuffled list). So thirty items are common, and the true link is $A = 0.8$,
# $B = 0.7$.

# %%
shuffled = truth.sample(frac=1, random_state=SEED)
parts = shuffled.iloc[:60], shuffled.iloc[30:]


def two_banks(seed):
    draws = np.random.default_rng(seed)
    abilities = draws.standard_normal(1000), 0.7 + 0.8 * draws.standard_normal(1000)
    sheets = [adaptive.simulate_answers(t, irt.ItemBank(part, pd.DataFrame(), {}), seed=1000 + 2 * seed + k)
              for k, (t, part) in enumerate(zip(abilities, parts, strict=True))]  # fmt: skip
    return [irt.calibrate(answers, f"crowd {k} (simulated)") for k, answers in enumerate(sheets, 1)]


first, second = two_banks(SEED)
link = linking.stocking_lord(second, first)
linked = linking.transform(second, *link)
print(f"A = {link.A:.2f}, B = {link.B:.2f}")
figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharex=True, sharey=True)
reference = first.items.set_index("item_id")["b"]
for ax, moved, title in zip(axes, (second, linked), ("as calibrated", "linked"), strict=True):
    common = moved.items.set_index("item_id")["b"].reindex(reference.index).dropna()
    plots.clean_axes(ax).plot(common, reference[common.index], "o", color="#0072B2", alpha=0.7)
    ax.axline((0, 0), slope=1, color="#BBBBBB", zorder=0)
    ax.set(xlabel="b by the second crowd", title=title)
axes[0].set_ylabel("b by the first crowd")
plt.show()

# %% [markdown]
# **What to see.** To the abler crowd every common item looks easier (left, points above the diagonal). After the link
# the points lie on the diagonal, but for the error of estimation.
#
# **Check.** How exact is each method? Draw the two crowds again and again.

# %%
links = []
for seed in range(40, 40 + REPLICATIONS):
    ones, others = two_banks(seed)
    for name, method in (("mean-sigma", linking.mean_sigma), ("Stocking-Lord", linking.stocking_lord)):
        links.append({"method": name} | method(others, ones)._asdict())
spread = pd.DataFrame(links).groupby("method").agg(["mean", "std"])
assert (spread.loc["Stocking-Lord"].xs("mean", level=1) - [0.8, 0.7]).abs().max() < 0.08
spread.round(2)

# %% [markdown]
# Stocking–Lord finds the true link, with a standard deviation of about 0.04. Mean–sigma falls short of it and varies
# more: the abler crowd hardly misses the easiest items, their $b_2$ are badly known, the error widens
# $\mathrm{sd}(b_2)$, and $A$ comes out too small. Stocking–Lord compares curves where people are, and weighs such
# items down. The standard deviation is the link's own standard error, which `transform` does not add to the items'
# errors: add it where you compare *means* of crowds.
#
# Now a model can be measured by either crowd's bank. WLE is used, since EAP's prior means another population on each
# scale:

# %%
views = {"first crowd": first, "second crowd, as it is": second, "second crowd, linked": linked}
wle = {name: ability.score(sheets, view, "wle")[["theta", "theta_se"]] for name, view in views.items()}
pd.concat(wle, axis=1).round(2)

# %% [markdown]
# Unlinked, the same models seem about a standard deviation worse, only because their judges are better. Linked, the
# two measurements are on one scale. They rest on different items, though, and where a model's right answers depend on
# which, they differ by more than their errors: MiniLM vectors by half a standard deviation, some two standard errors
# of the difference.
#
# ## 10 Does the model find hard what people find hard?
#
# An ability in the full sense would show in a curve: easy items right, hard ones wrong. For that one needs each item's
# chance of being right, and so several models. Variants serve: each of MiniLM's six layers, each with several random
# halves of the training pairs.


# %%
def variant(layer, seed):
    rows = np.random.default_rng(seed).permutation(TRAIN_PAIRS)[: TRAIN_PAIRS // 2]
    return learnt(features("scenes", layer)[rows], features("probes", layer), np.array(scenes["label"])[rows])


names = [(layer, seed) for layer in range(6) for seed in range(VARIANTS)]
right = [np.array(probes["label"]) == variant(*name) for name in names]
variants = pd.DataFrame(right, columns=probes["item_id"], dtype=float)[bank.items["item_id"]]
variants.index = [f"layer {layer + 1}, half {seed + 1}" for layer, seed in names]
ability.eap(variants, bank)[["theta", "theta_se"]].groupby([layer + 1 for layer, _ in names]).mean().round(1).T

# %% [markdown]
# (Means by layer. To pick the best layer by this table and then report its $\theta$ would be choosing on the test.)
# Now each item's share of right answers, among people and among variants, against its difficulty:

# %%
b = bank.items.set_index("item_id")["b"]
kinds = {"simulated people": scored[b.index].mean(), "model variants": variants.mean()}
figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
for ax, (name, share) in zip(axes, kinds.items(), strict=True):
    plots.clean_axes(ax).set(xlabel="difficulty b", title=name, ylim=(-0.03, 1.03))
    for k, letter in enumerate("ENC"):
        mine = label_of[b.index] == letter
        ax.plot(
            b[mine],
            share[mine],
            plots.MARKERS[k],
            color=plots.COLOURS[k + 1],
            markersize=5,
            label=f"gold label {letter}",
        )
axes[0].set_ylabel("share right")
axes[1].axhline(1 / 3, color="#BBBBBB", zorder=0)
axes[0].legend(frameon=False, loc="lower left")
plt.show()

# %% [markdown]
# **What to see.** Left, people: a falling curve, as it must be, since $b$ was estimated from just these answers.
# Right, the variants: a cloud round chance (grey line), without slope. A few items are right for nearly all variants,
# a few for none, and the neutral ones lie high: the family likes to say *neutral*.
#
# In one number: the correlation of $b$ with the share right, with its standard error $(1 - r^2)/\sqrt{n - 3}$ (Fisher's
# $z$ turned back). The three labels differ in difficulty, and a model has a bias for some label, so the second row
# compares items within a label only.


# %%
def correlation(x, y):
    r = np.corrcoef(x, y)[0, 1]
    return f"{r:+.2f} ± {(1 - r**2) / np.sqrt(len(x) - 3):.2f}"


def within(values):
    return values - values.groupby(label_of).transform("mean")


pd.DataFrame(
    {
        name: {"all 90 items": correlation(b, s), "within labels": correlation(within(b), within(s))}
        for name, s in kinds.items()
    }
)

# %% [markdown]
# **Check.** The variants' correlation is within two standard errors of zero both times: these models do not find hard
# what the simulated crowd finds hard. They could hardly: the simulated difficulties follow their author's judgement,
# not anything that people did, and the models are near chance.
#
# ### With real answers
#
# Each SNLI test pair was labelled by five annotators, and the gold label is their majority. How many of the 90
# checkpoints are right where three, four or five of the five agree?

# %%
# NBVAL_SKIP
if have:
    with gzip.open(fetch.fetch("snli/snli_1.0_test.jsonl.gz"), "rt") as lines:
        pairs = [json.loads(line) for line in lines]
    agree = pd.Series({pair["pairID"]: pair["annotator_labels"].count(pair["gold_label"])
                       for pair in pairs if len(pair["annotator_labels"]) == 5})  # fmt: skip
    share = checkpoints.mean()
    agree = agree[agree.index.isin(share.index)]
    print(share[agree.index].groupby(agree).agg(["count", "mean", "sem"]).round(3).to_string())
    print("rank correlation", correlation(agree.rank(), share[agree.index].rank()))
else:
    print("Not at hand: see section 8.")

# %% [markdown]
# Measured on the 9,815 pairs that have five labels (SNLI, Bowman et al. 2015; checkpoints of Vania et al. 2021): a
# mean share of .593 of the checkpoints is right where three of five annotators agree, .757 where four do, .833 where
# all five do; rank correlation +.32 ± .01. So real models do find harder what divides people. Two causes are mixed in
# it: where two of five annotators contradict the gold label, the label itself may be doubtful.
#
# ## 11 Are the items fair to models? Differential item functioning
#
# An item shows *DIF* if, **at equal ability**, it is harder for one group than for the other. If many items do, one
# $\theta$ for people and models means two things. Mantel–Haenszel compares, among people and models with the same
# number right, the odds of a right answer; $\Delta = -2.35 \log(\text{odds ratio})$ (Holland & Thayer 1988) is
# negative where the item is harder for models. Class C is large: $|\Delta| \ge 1.5$ and significantly above 1.

# %%
everyone = pd.concat([variants, scored[variants.columns]])
is_model = pd.Series(everyone.index.isin(variants.index), index=everyone.index)
found = dif.dif(everyone, is_model).set_index("item_id")
print(f"{len(variants)} variants against {len(scored)} simulated people")
print(found["ets_class"].value_counts().reindex(["A", "B", "C"], fill_value=0).to_dict())
classes = pd.crosstab(
    found.index.map(label_of), [found["ets_class"], np.where(found["mh_delta"] < 0, "harder", "easier")]
)
classes.rename_axis(index="gold label", columns=["class", "for models"])

# %%
finite = found[np.isfinite(found["mh_delta"]) & np.isfinite(found["mh_se"])].sort_values("mh_delta")
ax = plots.clean_axes(size=(8, 4))
for k, letter in enumerate("ENC"):
    rank = np.flatnonzero(finite.index.map(label_of) == letter)
    part = finite.iloc[rank]
    style = {"fmt": plots.MARKERS[k], "color": plots.COLOURS[k + 1], "markersize": 4, "elinewidth": 0.8}
    ax.errorbar(rank, part["mh_delta"], 1.96 * part["mh_se"], label=f"gold label {letter}", **style)
for limit in (-1.5, 1.5):
    ax.axhline(limit, color="#999999", linestyle="--", linewidth=0.8)
ax.set(
    xlabel="items, in order of Δ",
    ylabel="Δ with 95 % interval",
    title="Below 0: harder for the variants",
    ylim=(-16, 13),
)
ax.legend(frameon=False, loc="upper left")
plt.show()

# %% [markdown]
# **What to see.** Most items lie beyond the dashed lines of ±1.5, about two dozen with their whole interval.
# Most entailments are harder for the variants than for people with the same number right, most neutrals are easier. A
# few items, which all variants got right or wrong, have no finite Δ and are not drawn.
#
# **Check.** Is the method to blame? Take as many simulated people at random as the focal group: there should be next to
# no C items. And the easy items should be the ones that are harder for models: people of low ability still get easy
# items right, models at chance do not.

# %%
some = pd.Series(scored.index.isin(rng.choice(scored.index, len(variants), replace=False)), index=scored.index)
print("C items, people against people:", (dif.dif(scored, some)["ets_class"] == "C").sum(), "of 90")
r = found.loc[finite.index, "mh_delta"].corr(b[finite.index], method="spearman")
print(f"rank correlation of Δ with b: {r:+.1f}")
assert r > 0.3

# %% [markdown]
# **How weak this is.** The intervals count every variant as an independent respondent. They are relatives: one encoder,
# one corpus, overlapping training pairs.

# %%
x = variants.to_numpy()
same = (x @ x.T + (1 - x) @ (1 - x).T) / x.shape[1]
layer = np.array([name[0] for name in names])
off = ~np.eye(len(x), dtype=bool)
kin = layer[:, None] == layer[None]
independent = (x.mean() ** 2) + (1 - x.mean()) ** 2
print(f"same result on an item: same layer {same[kin & off].mean():.2f}, other layer {same[~kin].mean():.2f}, "
      f"independent guessers {independent:.2f}")  # fmt: skip

# %% [markdown]
# Two variants agree more often than independent guessers with their share right would, so the true intervals are wider
# than drawn, and what is measured is DIF of *this family*, not of models at large. With few models read the size and
# pattern of Δ, not the p-values; and treat "how many models" as the number of families. What remains true with one
# family: the pattern is large, and an ability of such a model must not be read as a person's.
#
# ## Recap
#
# - `ability.place` puts a predictions table on a scale, with a standard error. EAP is best on average over the
#   population; MLE and WLE do not know it. On a short or far-away scale the choice is visible, so name the estimator.
# - The standard error depends on where one stands; at a ceiling the estimate is the population's. A test of three
#   choices has a floor at chance: show it.
# - For spreads of groups use plausible values; EAPs are less spread than abilities.
# - Adaptive tests and short forms save half of the items or more, for respondents who follow the model.
# - Two crowds' scales can be compared after linking through common items.
# - One number presumes that the items work alike for people and models. Person fit, the correlation with difficulty and
#   DIF test that. Here all three say no; a $\theta$ without them says less than it seems to.
#
# ## Exercises
#
# 1. Place a model that always says *entailment*, and one that always says *neutral*. Why do the three constant models
#    differ in $\theta$ although each has 30 right? (In the 2PL the discriminations decide.)
# 2. Calibrate with `model="3pl"` (guessing prior 1/3). Where do the thousand guessers land now? Why is the 3PL wrong
#    for the simulated crowd and right for them?
# 3. In section 7, stop at `stop_se=0.3` instead of after 20 items. Which examinees still need all 90, and what items
#    should be written for them?
# 4. Build the short form for a population at $\theta = -1.5$ (an `ItemBank` with that population). Which items does it
#    take, and how much smaller is the models' standard error after ten items?
# 5. In section 9, use 5 common items instead of 30. How much does the spread of $A$ and $B$ grow for each method?
# 6. Take the fine-tuned pupil of notebook 00 as a sixth model. Does its $l_z^*$ come nearer to people's?
#
# ## Where next
#
# `12_rte_case_study` uses these abilities as its yardstick, with controls, seeds and intervals. Notebook 04 is about
# where the curves come from, notebook 05 about which items to learn from.
