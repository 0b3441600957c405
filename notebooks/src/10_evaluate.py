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
# # 10 Evaluate: what accuracy hides
#
# **The question.** Three models have answered the same items. Which is better, at what, by how much, and how sure is
# that?
#
# **After this notebook you can**
#
# - give any metric an interval, and say where the interval comes from;
# - compare two models on the same items, and correct for having compared more than once;
# - judge probabilities, not only labels: log-loss, calibration, temperature, distance to people;
# - say what accuracy hides about ability, about kinds of items and about groups;
# - cross-validate a whole fine-tuning, and read its spread with care;
# - say what metrics of generated text do not see.
#
# **Time.** About 60 minutes to read; it runs in about 2 minutes on 2 cores. **Needs:** the embedded data and weights,
# no network. **Makes:** nothing on disk but cached folds of the cross-validation, and a folder that goes with the
# kernel.
#
# ## Set-up
#
# The first cell holds the numbers that you may want to change.

# %% tags=["parameters"]
TRAIN_PAIRS = 3000  # pairs of scenes that the base model learns from
TEST_PAIRS = 2000  # pairs of scenes that all models are tested on
VALIDATION_PAIRS = 1000  # further pairs, and as many of the training pairs, for sections 6 and 11
EPOCHS = 6  # that the pupils learn the crowd's items
FOLDS = 5
REPEATS = 100  # simulated cross-validations
SEED = 0

# %%
import copy
import re
import tempfile
from collections import Counter
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import binom, norm, t
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score

from cift import (
    ability,
    bias,
    crowds,
    error_analysis,
    evaluation,
    fairness,
    finetuning,
    generation,
    irt,
    losses,
    paired,
    people,
    plots,
    plots_evaluation,
    reliability,
)
from cift.corpora import LABELS, load_corpus
from cift.cross_validation import cross_validate, summary
from cift.dependence import holm
from cift.doctor import machine, versions
from cift.recipe import Recipe

pd.set_option("display.max_colwidth", 100)
rng = np.random.default_rng(SEED)
{name: versions()[name] for name in ("cift", "python", "torch", "transformers")} | machine()

# %% [markdown]
# ## 1 Three models, one table each
#
# The models are of the kinds that notebook 08 explains. The **base** model is MiniLM, fine-tuned on generated sentence
# pairs (`scenes`). Two copies of it, the *pupils*, then learn half of the crowd's items (`probes`):
# **CIFT-CCE** by cross-entropy with the gold labels, **CIFT-MSE** by squared distance from the shares of people who
# gave each label. The crowd is **simulated**: 1,000 made-up respondents to each of two strata.
#
# Odd probes are the lesson, even ones the *exam*. Both have all labels and all difficulties. Each model is trained
# once, from one seed: what follows is about these three models, and is **no finding** about CIFT.

# %%
train = load_corpus("scenes", "train").select(range(TRAIN_PAIRS))
validation = load_corpus("scenes", "validation").select(range(VALIDATION_PAIRS))
test = load_corpus("scenes", "test").select(range(TEST_PAIRS))
probes = load_corpus("probes")
lesson = probes.filter(lambda position: position % 2 == 1, input_columns="position")
exam = probes.filter(lambda position: position % 2 == 0, input_columns="position")
crowd = crowds.load_crowd("probes").values()
distributions = pd.concat([crowds.label_distributions(stratum.responses) for stratum in crowd])
{"train": len(train), "validation": len(validation), "test": len(test), "lesson": len(lesson), "exam": len(exam)}

# %% [markdown]
# Only the head and the last three of MiniLM's six layers learn (strategy `frozen`, notebook 06), to save time. The
# pupils' learning rate is high and their lesson long: that makes the differences between the two losses plain to see,
# at a price that sections 4 and 11 will show.

# %%
layers = {"strategy": "frozen", "options": {"trainable_layers": 3}}
base, tokenizer, cost = finetuning.fine_tune(train, Recipe(epochs=3, learning_rate=4e-4, batch_size=16, **layers), SEED)

recipe = Recipe(epochs=EPOCHS, learning_rate=3e-4, batch_size=16, **layers)
gold = losses.one_hot(lesson["label"], 3)
shares = distributions.loc[lesson["item_id"], LABELS].to_numpy()
models = {"base": base}
encoded = finetuning.encode(lesson, tokenizer)
for name, loss, targets in (("CIFT-CCE", "cce", gold), ("CIFT-MSE", "mse", shares)):
    models[name] = copy.deepcopy(base)
    finetuning.train(models[name], encoded, targets, replace(recipe, loss=loss), SEED)

# %% [markdown]
# A model's answers are a **predictions table**: one row an item, with the gold label, one *logit* (the model's output
# before it is turned into a probability) for each label, and the label with the largest. All metrics of this notebook
# are functions of such tables, so they work for any model that can fill one.


# %%
def answer(model, corpus):
    return finetuning.predict(model, finetuning.encode(corpus, tokenizer), corpus)


on_test = {name: answer(model, test) for name, model in models.items()}
on_exam = {name: answer(model, exam) for name, model in models.items()}
on_test["base"].head(3).round(2)

# %% [markdown]
# ## 2 Accuracy, with an interval
#
# Accuracy is the share $p$ of the $n$ items that are right. Other items would have given another share; a 95 %
# *confidence interval* is made so that, over repeated tests, it holds the true share 95 % of the time. For shares
# Wilson's (1927) is good even when $n$ is small or $p$ near 0 or 1. With $z = 1.96$ it is
#
# $$\frac{p + \frac{z^2}{2n} \pm z \sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}}.$$

# %%
base_right = on_test["base"]["predicted"] == on_test["base"]["label"]
n, p, z = len(base_right), base_right.mean(), norm.ppf(0.975)
middle = p + z**2 / (2 * n)
half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
low, high = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
assert np.allclose([p, low, high], [evaluation.proportion(base_right)[k] for k in ("share", "low", "high")])
print(f"base on scenes: {p:.3f} [{low:.3f}, {high:.3f}]")

# %% [markdown]
# `evaluate` does that for all metrics of this notebook's first half. Those that are no shares of items get a
# *bootstrap* interval: draw $n$ items from the $n$ with replacement, compute the metric, repeat 2,000 times, take the
# middle 95 % (Efron 1979). Both take items as independent draws. In `scenes` three pairs share a hypothesis, so a
# model that trips over one of them may trip over all. Then whole **groups** must be drawn; `low_by_groups` and
# `high_by_groups` are made so.

# %%
hypothesis = pd.Series(test["hypothesis"][:], index=test["item_id"][:])
table = evaluation.evaluate(on_test["base"])
clustered = evaluation.evaluate(on_test["base"], groups=hypothesis)
table = table.join(clustered[["low", "high"]], rsuffix="_by_groups")
table[table["label"] == ""].drop(columns=["label", "n"]).round(3)

# %% [markdown]
# **Check.** Chance is 1/3 for the accuracy, $\log 3 = 1.10$ for the log-loss, 0.67 for the Brier score and 0 for MCC
# (sections 3 and 5 say what these are).
# Micro F1 *is* the accuracy when every item has one label and is given one; do not report it as a second result.
# Drawing groups makes little difference here. Where many questions hang on one text it may double the width of an
# interval, and there is no way to know without trying.
#
# ## 3 Which labels are mistaken for which
#
# A *confusion matrix* counts items by gold label (rows) and predicted label (columns). Each row is turned into shares
# here: the diagonal then holds each label's *recall*.

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained", sharey=True)
for ax, (name, answers) in zip(axes, on_test.items(), strict=True):
    counts = evaluation.confusion(answers)
    of_gold = counts.div(counts.sum(axis=1), axis=0).to_numpy()
    ax.imshow(of_gold, cmap="Greys", vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(of_gold):
        ax.text(j, i, f"{share:.2f}", ha="center", va="center", color="white" if share > 0.5 else "black")
    ax.set(xticks=range(3), xticklabels=list("ENC"), yticks=range(3), yticklabels=LABELS, xlabel="predicted")
    ax.set_title(f"{name} on scenes, accuracy {evaluation.accuracy(answers):.2f}", fontsize=10)
axes[0].set_ylabel("gold label")
plt.show()

# %% [markdown]
# **What to see.** The base model's errors are spread over all cells. Both pupils say *entailment* too often; CIFT-MSE
# calls most of the contradictions so, and seldom says *contradiction*. Its accuracy alone does not tell that.
#
# Three numbers for each label $k$: **precision**, the share of items predicted $k$ that are $k$; **recall**, the share
# of items that are $k$ and predicted so; **F1**, $2PR/(P + R)$, their harmonic mean, which is near the smaller of the
# two. *Macro* F1 is the mean over labels.

# %%
label = "neutral"
is_label, said = on_test["CIFT-MSE"]["label"] == label, on_test["CIFT-MSE"]["predicted"] == label
precision, recall = (is_label & said).sum() / said.sum(), (is_label & said).sum() / is_label.sum()
by_label = pd.concat({name: evaluation.by_label(answers) for name, answers in on_test.items()})
by_hand = precision, recall, 2 * precision * recall / (precision + recall)
assert np.allclose(by_label.loc[("CIFT-MSE", label), ["precision", "recall", "F1"]].astype(float), by_hand)
by_label.round(2)

# %% [markdown]
# **What macro hides, and what accuracy does.** Here labels are equally frequent, and macro F1 says what accuracy says.
# Let nine tenths of the other labels' items go, so that most items are neutral, and compare the base model with one
# that always says *neutral*:

# %%
kept = (on_test["base"]["label"] == "neutral") | (rng.random(len(test)) < 0.1)
rare = on_test["base"][kept]
pair = {"base": rare, "always neutral": rare.assign(predicted="neutral")}
for_labels = {"accuracy": evaluation.accuracy, "macro F1": evaluation.f1, "MCC": evaluation.mcc}
print("neutral:", round((rare["label"] == "neutral").mean(), 2), "of", len(rare), "items")
pd.DataFrame({name: {m: of(answers) for m, of in for_labels.items()} for name, answers in pair.items()}).T.round(2)

# %% [markdown]
# **Check.** By accuracy the rule that reads nothing wins; by macro F1 it loses, because two of its three F1 are 0;
# MCC, the correlation of predicted with gold labels, is undefined for it, since nothing correlates with a constant.
# But macro F1 is no truth either: it gives the few contradictions as much weight as the many neutrals, and it hides
# which label is bad: the mean of .9, .9 and .0 is that of .6, .6 and .6. Look at `by_label`.
#
# ## 4 Two models on the same items
#
# Do the pupils know less of `scenes` than the base model did? Items that both have right, or both wrong, cannot tell.
# **McNemar's test** (1947) looks at the others: if neither model were better, each of them would be won by one or the
# other with probability 1/2.

# %%
pupil_right = on_test["CIFT-CCE"]["predicted"] == on_test["CIFT-CCE"]["label"]
gained, lost = (pupil_right & ~base_right).sum(), (base_right & ~pupil_right).sum()
p_value = min(1, 2 * binom.cdf(min(gained, lost), gained + lost, 0.5))
assert np.isclose(p_value, paired.mcnemar(on_test["CIFT-CCE"], on_test["base"])["p"])
print(f"of {len(test)} items the pupil gained {gained} and lost {lost}; p = {p_value:.1g}")

# %% [markdown]
# A test says whether, not how much. The **paired bootstrap** gives the difference its interval: both models answer the
# same resampled items. By hand:

# %%
change = pupil_right.astype(float) - base_right
drawn = [rng.choice(change, len(change)).mean() for _ in range(2000)]
booted = paired.difference(on_test["CIFT-CCE"], on_test["base"], "accuracy")
by_hand = change.mean(), *np.quantile(drawn, [0.025, 0.975])
assert np.allclose(by_hand, [booted[k] for k in ("difference", "low", "high")], atol=0.01)
print(f"change of accuracy {booted['difference']:+.3f} [{booted['low']:+.3f}, {booted['high']:+.3f}]")

# %% [markdown]
# Why not compare the two accuracies' own intervals? Because that treats the models' errors as unrelated, as if each
# had been given a test of its own. On the same items they are related: hard items are hard for both. What they share
# drops out of the difference, but not out of the two intervals.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 2.6), layout="constrained", width_ratios=(2, 3), sharey=True)
for y, name in enumerate(on_test):
    own = evaluation.proportion(on_test[name]["predicted"] == on_test[name]["label"])
    error = [[own["share"] - own["low"]], [own["high"] - own["share"]]]
    axes[0].errorbar(own["share"], y, xerr=error, fmt=plots.MARKERS[y], color=plots.COLOURS[y], capsize=3)
    if name != "base":
        both = paired.difference(on_test[name], on_test["base"], "accuracy", hypothesis)
        d, ends = both["difference"], np.array([[both["low"]], [both["high"]]])
        apart = 1.96 * np.sqrt(sum(share * (1 - share) for share in (both["value"], both["baseline"])) / len(test))
        axes[1].errorbar(d, y + 0.12, xerr=abs(ends - d), fmt=plots.MARKERS[y], color=plots.COLOURS[y], capsize=3)
        axes[1].errorbar(d, y - 0.12, xerr=apart, fmt=plots.MARKERS[y], color="#999999", capsize=3)
        print(f"{name}: unpaired {2 * apart:.3f} wide, paired {both['high'] - both['low']:.3f}")
for ax, title in zip(axes, ("accuracy on scenes", "change of accuracy from the base model"), strict=True):
    plots.clean_axes(ax).set(yticks=range(3), yticklabels=on_test, ylim=(-0.5, 2.5), xlabel=title)
axes[1].axvline(0, color="#999999", linewidth=1)
plt.show()

# %% [markdown]
# **What to see.** Left, each model's own interval. Right, grey: the interval that two unrelated tests would give the
# change; coloured, above it: the paired one, with whole hypotheses drawn. It is about two thirds as wide, which as
# many as 2.5 times the items would have bought otherwise. Both pupils have surely lost accuracy on `scenes`: that is
# the price of a long lesson of 90 pairs.
#
# So own intervals that overlap do not show that two models are alike. They are for one model alone.
#
# ### Several comparisons
#
# Two pupils, four metrics: eight comparisons. If nothing differed, one p in twenty would still be below .05.
# **Holm's** (1979) adjustment sorts the $m$ p-values and multiplies the smallest by $m$, the next by $m - 1$, and so
# on; each is at least as large as the one before. Now on the exam, 90 items:

# %%
names = ("accuracy", "macro F1", "log-loss", "Brier score")
family = paired.compare(on_exam, "base", names)
ordered = family["p"].sort_values()
by_hand = (ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1)
assert np.allclose(family["p_holm"], by_hand.sort_index())
family[["model", "metric", "value", "baseline", "difference", "low", "high", "p", "p_holm"]].round(3)

# %% [markdown]
# **Check.** Three p are below .05 before the adjustment, one after it: CIFT-CCE's log-loss has become worse. Whoever
# had looked at eight numbers and shown only the best one would have had a result to show for each pupil. Metrics of
# one model are related; Holm's bound holds all the same. And 90 items tell neither pupil's accuracy from the base
# model's.
#
# All of this speaks of other *items*, for these very models. Another seed would have trained other models; a statement
# about recipes needs several seeds, and then differences between seeds (`evaluation.paired_difference`, notebook 12).
#
# ## 5 Judging probabilities: log-loss and Brier score
#
# Accuracy asks which label has the largest probability, and not how large it is. These two look at the probabilities
# $p_k$ of all labels, with $y_k = 1$ for the gold label and 0 for the others:
#
# - **log-loss**: the mean of $-\sum_k y_k \log p_k$; what training with CCE makes small. It has no bound: one confident
#   error can weigh as much as many mild ones.
# - **Brier score** (1950): the mean of $\sum_k (p_k - y_k)^2$; 0 to 2.

# %%
logits = evaluation.logits(on_exam["CIFT-CCE"]).to_numpy()
exam_p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)  # the softmax
assert np.allclose(exam_p, evaluation.probabilities(on_exam["CIFT-CCE"]))
is_gold = losses.one_hot(exam["label"], 3)
log_loss, brier = -np.log(exam_p[is_gold == 1]).mean(), ((exam_p - is_gold) ** 2).sum(axis=1).mean()
assert np.isclose(log_loss, evaluation.log_loss(on_exam["CIFT-CCE"]), atol=1e-6)
assert np.isclose(brier, evaluation.brier(on_exam["CIFT-CCE"]), atol=1e-6)
metrics = {"accuracy": evaluation.accuracy, "log-loss": evaluation.log_loss, "Brier score": evaluation.brier}
pd.DataFrame({name: {m: of(answers) for m, of in metrics.items()} for name, answers in on_exam.items()}).T.round(2)

# %% [markdown]
# **Check.** The pupil with the highest accuracy has the worst probabilities of the three, and the one with the lowest
# accuracy the best. And a model that says 1/3 to each label, whatever it reads, has log-loss $\log 3 = 1.10$ and Brier
# score 0.67: better than all three. On these items they know little, and two of them do not know that.
#
# ## 6 Does confidence deserve its name?
#
# The probability of the predicted label is the model's *confidence*. It is **calibrated** if, of the items answered
# with confidence .8, 80 % are right. The *reliability diagram* groups items by confidence and compares.

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), layout="constrained")
for ax, (name, answers) in zip(axes, on_test.items(), strict=True):
    plots_evaluation.reliability_diagram(reliability.reliability(answers), ax)
    ax.set_title(f"{name} on scenes", fontsize=10)
plt.show()

# %% [markdown]
# **What to see.** On the dashed line confidence is deserved; the grey numbers count items. The base model is somewhat
# too sure of itself. CIFT-CCE is far too sure: of the answers that it gives with .85, just over half are right.
# CIFT-MSE is near the line, and least accurate: calibration is no accuracy, it is knowing what one does not know.
#
# The **expected calibration error** (ECE; Naeini et al. 2015) is the mean distance from that line, weighted by items:

# %%
confidence = evaluation.probabilities(on_test["base"]).max(axis=1).to_numpy()
in_bin = np.ceil(confidence * 10)
by_hand = sum(abs((base_right - confidence)[in_bin == b].sum()) for b in np.unique(in_bin)) / len(base_right)
assert np.isclose(by_hand, reliability.ece(on_test["base"]))
by_size = {size: reliability.calibration(on_test["base"].head(size)) for size in (50, 200, len(test))}
pd.DataFrame(by_size).T.round(3).astype({"n": int})

# %% [markdown]
# **Check.** Read the column `ece_if_calibrated`: let every item be right with just the probability of its confidence,
# so that calibration is perfect; this ECE remains. Chance moves every bin off the line, and absolute values do not
# cancel. With 50 items it is most of the error that was observed. So never compare ECEs of tests of different size,
# and give `p`, how often chance alone does as much.
#
# ### Temperature
#
# An overconfident model can be told to calm down without being trained: divide all logits by a **temperature** $T$
# (Guo et al. 2017). $T$ is chosen for the least log-loss on *validation* pairs; labels, and so accuracy, stay.

# %%
dial = answer(models["CIFT-CCE"], validation)
fitted = reliability.fit_temperature(dial)
grid = np.geomspace(0.5, 8, 60)
curve = [evaluation.log_loss(reliability.scale(dial, T)) for T in grid]
assert abs(np.log(fitted / grid[np.argmin(curve)])) < 0.1
ax = plots.clean_axes(size=(6, 3.2))
ax.plot(grid, curve, color=plots.COLOURS[2])
ax.plot(fitted, evaluation.log_loss(reliability.scale(dial, fitted)), "o", color=plots.COLOURS[5])
ax.axhline(np.log(3), color="#999999", linestyle="--", linewidth=1)
ax.set(xscale="log", xticks=[0.5, 1, 2, 4, 8], xticklabels=[0.5, 1, 2, 4, 8], xlabel="temperature T")
ax.set(ylabel="log-loss", title="CIFT-CCE on validation pairs of scenes")
ax.minorticks_off()
plt.show()
print(f"fitted: T = {fitted:.2f}")
two = {"CIFT-CCE": on_test["CIFT-CCE"], "cooled": reliability.scale(on_test["CIFT-CCE"], fitted)}
with_ece = metrics | {"ECE": reliability.ece}
pd.DataFrame({name: {m: of(answers) for m, of in with_ece.items()} for name, answers in two.items()}).T.round(3)

# %% [markdown]
# **What to see.** One minimum, right of 1: this pupil is too sure of itself. Far to the right all labels become
# equally probable, and the loss goes to $\log 3$ (dashed).
#
# **Check.** On the test pairs accuracy is the same to the last digit; log-loss, Brier score and ECE fall. One number,
# fitted on other pairs, did that. A model that beats another in log-loss may only have the better temperature:
# compare after scaling both.
#
# ## 7 How near to people?
#
# So far the gold label was the truth. Where people disagree, a model may be asked to disagree likewise. Let $p$ be the
# shares of people and $q$ the model's probabilities, on one item, and $m = (p + q)/2$. With
# $\mathrm{KL}(p \| q) = \sum_k p_k \log_2 (p_k / q_k)$, the bits that are lost by taking $q$ for $p$, the
# **Jensen–Shannon distance** is $\sqrt{\mathrm{KL}(p\|m)/2 + \mathrm{KL}(q\|m)/2}$: 0 where they are the same, 1 where
# they have no label in common.


# %%
def kl(p, q):
    return (p * np.log2(p / q)).sum()


one = on_exam["CIFT-CCE"].tail(1)
ours, theirs = evaluation.probabilities(one).to_numpy()[0], distributions.loc[one["item_id"], LABELS].to_numpy()[0]
m = (ours + theirs) / 2
by_hand = np.sqrt((kl(theirs, m) + kl(ours, m)) / 2)
assert np.isclose(by_hand, evaluation.distance_to_people(one, distributions))
nothing = on_exam["base"].assign(**dict.fromkeys(on_exam["base"].filter(like="logit_"), 0.0))
tables = on_exam | {"says 1/3, 1/3, 1/3": nothing}
pd.DataFrame({name: people.closeness(answers, distributions)["value"] for name, answers in tables.items()}).T.round(2)

# %% [markdown]
# One more distance is in the table, *total variation*, the share of answers that would have to change. And one
# correlation, that of the ranks of the *entropies*: does the model doubt the items that people doubt?
#
# **Check.** By all three distances CIFT-MSE is nearest to people, and CIFT-CCE farthest. But look at the last row: to
# say *a third each* to everything is about as near. And none of the three correlations is above 0: the models do not
# doubt what people doubt. Is CIFT-MSE near because it has learnt what people think, or only because it is unsure? The
# control is a temperature: it makes a model unsure without teaching it anything.


# %%
def distance(answers):
    return evaluation.distance_to_people(answers, distributions)


grid = np.geomspace(0.5, 50, 40)
ax = plots.clean_axes(size=(7, 3.6))
for k, (name, answers) in enumerate(on_exam.items()):
    curve = [distance(reliability.scale(answers, T)) for T in grid]
    ax.plot(grid, curve, plots.LINES[k], color=plots.COLOURS[k], label=name)
    ax.plot(1, distance(answers), plots.MARKERS[k], color=plots.COLOURS[k])
    ax.plot(grid[np.argmin(curve)], min(curve), "x", color=plots.COLOURS[k], markersize=9)
    if name == "CIFT-CCE":
        scaled = reliability.scale(answers, grid[np.argmin(curve)])
ax.set(xscale="log", xticks=[0.5, 1, 5, 50], xticklabels=[0.5, 1, 5, 50], xlabel="temperature T")
ax.set(ylabel="distance to people", title="Exam (simulated crowd)")
ax.minorticks_off()
ax.legend(frameon=False)
plt.show()
pd.DataFrame([paired.difference(on_exam["CIFT-MSE"], scaled, distance, draws=300)]).round(3)

# %% [markdown]
# **What to see.** At $T = 1$, the models as they were trained: CIFT-MSE is by far the nearest. Crosses: each model at
# its best temperature, chosen *on the exam itself*, in favour of scaling. There all three are equally near, and
# hardly nearer than at the right end, where they know nothing.
#
# **Check.** The table: CIFT-MSE less the scaled CIFT-CCE, paired; the interval holds 0. So in this small run CIFT-MSE
# did no more than a temperature does. Every claim that soft labels bring a model nearer to people needs this control.
# In the full study on the embedded data, ten seeds of each arm, *temperature* is one of the arms (notebook 12).
#
# ## 8 Accuracy against ability
#
# Accuracy counts all items alike. **Ability** $\theta$ (notebooks 04 and 11) weighs them: each item has a difficulty
# $b$ and a discrimination $a$, estimated from people's answers, and $\theta$ is in standard deviations of the
# (simulated) respondents, 0 their mean. Different people answered the two strata. To put all items on one scale is to
# assume that both crowds are equally able, which is true here by construction.

# %%
answered = pd.concat([crowds.score(*stratum) for stratum in crowd])
bank = irt.calibrate(answered[exam["item_id"]], "exam (simulated)")
placed = pd.concat([ability.place(answers, bank, name) for name, answers in on_exam.items()])
described = {name: error_analysis.describe(answers, probes, bank, distributions) for name, answers in on_exam.items()}

# %%
ax = plots.clean_axes()
for k, (name, answers) in enumerate(described.items()):
    by_b = error_analysis.accuracy_by(answers, "difficulty", bins=5)
    error = [by_b["accuracy"] - by_b["low"], by_b["high"] - by_b["accuracy"]]
    x = by_b["difficulty"] + 0.06 * (k - 1)
    ax.errorbar(x, by_b["accuracy"], error, fmt=plots.MARKERS[k] + plots.LINES[k], color=plots.COLOURS[k], label=name)
fifth = pd.qcut(described["base"]["difficulty"], 5, labels=False)
crowd_right = described["base"].groupby(fifth)[["difficulty", "share_gold"]].mean()
ax.plot("difficulty", "share_gold", "X-", color="#999999", data=crowd_right, label="simulated people")
ax.set(xlabel="difficulty b", ylabel="share right", ylim=(0, 1.03), title="Exam, 18 items a point (simulated crowd)")
ax.legend(frameon=False, loc="upper right", bbox_to_anchor=(1.35, 1))
plt.show()

# %% [markdown]
# **What to see.** People's curve falls with difficulty, as it must. The base model's hardly does: what is easy for
# people is not easy for it. CIFT-MSE's falls, and more steeply than people's. Has it learnt what people find easy?

# %%
gave = {name: {"right": answers["right"].mean(), "entailed": (answers["predicted"] == "entailment").mean()}
        for name, answers in described.items()}  # fmt: skip
print("gold labels of the 18 easiest:", described["base"].nsmallest(18, "difficulty")["label"].value_counts().to_dict())
placed.join(pd.DataFrame(gave).T)[["right", "entailed", "theta", "theta_se", "percentile"]].round(2)

# %% [markdown]
# **Check.** The column `entailed` says no: it answers *entailment* to 70 % of the items, and 14 of the 18 easiest are
# entailments. A slice by one thing (difficulty) is a slice by all that goes with it (the label).
#
# **Equal accuracy, different ability.** Shuffle CIFT-MSE's rights and wrongs over the items, a thousand times: the
# accuracy is the same each time, the items are not. The lines are the extremes: all rights on the items with the
# largest $a$, and all on those with the smallest.

# %%
by_a = bank.items.sort_values("a", ascending=False)["item_id"]
sheet = described["CIFT-MSE"].set_index("item_id").loc[by_a, "right"].to_numpy(float)
extremes = pd.DataFrame([np.sort(sheet)[::-1], np.sort(sheet)], ["largest a", "smallest a"], by_a)
shuffled = pd.DataFrame([rng.permutation(sheet) for _ in range(1000)], columns=by_a)
by_lot, at_ends = (ability.score(sheets, bank)[["theta", "percentile"]] for sheets in (shuffled, extremes))
ax = plots.clean_axes(size=(7, 3))
ax.hist(by_lot["theta"], bins=30, color="#BBBBBB", label="shuffled")
for k, (name, end) in enumerate(at_ends["theta"].items()):
    ax.axvline(end, color=plots.COLOURS[k + 1], linestyle=plots.LINES[k], label=f"right where {name}")
ax.set(xlabel="ability θ", ylabel="of 1,000 sheets", title=f"All sheets: {sheet.sum():.0f} of {len(sheet)} right")
ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
print(f"shuffled: sd of θ {by_lot['theta'].std():.2f}")
at_ends.round({"theta": 1, "percentile": 0})

# %% [markdown]
# **What to see.** With the same 31 of 90 right, ability may be −2.0 or −1.1, the 2nd percentile or the 14th. By
# chance it varies much less, with a standard deviation of .07, which is less than the standard error of a single
# ability (.16). So accuracy and ability tell much the same, until errors have a pattern. *Which* items are right
# enters only through $\sum a_i x_i$, with $x_i = 1$ for a right answer and 0 for a wrong one: a right answer to a hard
# item counts no more than one to an easy item of the same $a$. The difficulties of all items still set the scale.
#
# **Ceilings.** The other way round, equal sheets and different items. Take the thirty easiest and the thirty hardest
# items of the exam as two tests, and have everything right. The ability so far is an average over what is plausible
# (EAP, notebook 11); beside it now the *maximum-likelihood* estimate, the $\theta$ that makes the sheet most probable:

# %% tags=["nbval-check-output"]
from_easy = bank.items.sort_values("b")
tests = {"30 easiest": from_easy.head(30), "30 hardest": from_easy.tail(30)}
tops = []
for name, items in tests.items():
    part = irt.ItemBank(items, bank.population, {"scale": name})
    all_right = pd.DataFrame(1.0, [name], items["item_id"])
    most_likely = ability.score(all_right, part, "mle")["theta"]
    tops.append(ability.score(all_right, part).assign(maximum_likelihood=most_likely))
places = {"theta": 1, "theta_se": 1, "percentile": 0, "maximum_likelihood": 1}
pd.concat(tops)[[*places]].round(places)

# %% [markdown]
# **Check.** Accuracy 1.0 both times, and abilities more than a standard deviation apart, with large standard errors.
# Both numbers lean on the prior that ability is N(0, 1); without it both are infinite. Near 1 accuracy says that the
# test has ended, not how far the model would have got.
#
# ## 9 Slices: where are the errors?
#
# A *slice* is a part of the test set with something in common. `describe` puts what is known about each item beside
# the answer; `accuracy_by` makes a row for each value.

# %%
seen = error_analysis.describe(on_test["base"], test)
by_tag = error_analysis.accuracy_by(seen, "phenomenon").sort_values("accuracy")
error = [by_tag["accuracy"] - by_tag["low"], by_tag["high"] - by_tag["accuracy"]]
ax = plots.clean_axes(size=(7, 5.5))
ax.errorbar(by_tag["accuracy"], by_tag["phenomenon"] + " (" + by_tag["n"].astype(str) + ")", xerr=error, fmt="o",
            color=plots.COLOURS[2], capsize=2)  # fmt: skip
ax.axvline(seen["right"].mean(), color="#999999", linestyle="--")
ax.set(xlabel="accuracy of the base model on scenes, 95 % interval", xlim=(0, 1))
plt.show()
odd = bias.gap(seen, "phenomenon")["p_holm"] < 0.05
print(f"{odd.sum()} of {len(odd)} differ from the rest, after Holm")

# %% [markdown]
# **What to see.** The dashed line, the overall accuracy, is a mean of what the model can do (conjunctions,
# quantifiers) and of what it cannot. At the bottom even the interval is below chance, 1/3: with antonyms it does not
# guess, it is wrong systematically. Small slices have wide intervals; of 25 the lowest is low by luck too, so adjust
# for their number (`bias.gap`).
#
# Other slices are bins of a number: *overlap*, the share of the hypothesis's words that the premise has; length; on
# the exam also people's entropy (how much they disagree, in bits).

# %%
slices = {"overlap": seen, "hypothesis_words": seen, "entropy": described["CIFT-CCE"]}
parts = [error_analysis.accuracy_by(answers, column, bins=3).rename(columns={column: "mean"}).assign(by=column)
         for column, answers in slices.items()]  # fmt: skip
pd.concat(parts).set_index("by").round(2)

# %% [markdown]
# The base model is better where nearly all words of the hypothesis are in the premise, and with *longer* hypotheses.
# Neither is a cause: what a sentence says goes with how long it is. By people's entropy the pupil is best where people
# agree, though 30 items a bin leave wide intervals.
#
# ### Reading errors
#
# Numbers say where; reading says why. Of all errors, `instructive` puts first those to read first: *clear* ones,
# where most people gave the gold label and the model, confidently, another one; and *disputed* ones, where half of
# the people or fewer gave the gold label, so that the item may be at fault.

# %%
errors = error_analysis.instructive(described["CIFT-CCE"], n=3)
errors[["kind", "premise", "hypothesis", "label", "predicted", "confidence", "share_gold"]].round(2)

# %% [markdown]
# **Check.** The first *clear* one needs no expert: the model is certain, and wrong. The *disputed* ones are worth a
# second look at the label: whether a man who reads can be juggling, most (simulated) people would not rule out. On
# `scenes`, where no people were asked, all errors are of a third kind, `unasked`.
#
# ## 10 Groups, and the noise of a gap
#
# Does a model treat all alike? Three measures compare groups of items: **accuracy**; **equalised odds** (Hardt, Price
# & Srebro 2016), the same true and false positive rates for each label; **demographic parity**, each label given
# equally often to every group, whatever is true. Two groupings: whether a pair mentions a woman or a man; and whether
# all of its words were in the training pairs, since a model may fail those who use other words.

# %%
WORDS = {"woman": set("woman women girl mother grandmother sister daughter niece wife her she".split()),
         "man": set("man men boy father grandfather brother son nephew husband his he".split())}  # fmt: skip


def words_of(pair):
    return {"words": sorted(set(re.findall("[a-z]+", f"{pair['premise']} {pair['hypothesis']}".lower())))}


known = {word for pair_words in train.map(words_of)["words"] for word in pair_words}
used = pd.Series(map(set, test.map(words_of)["words"]), index=test["item_id"][:])
who = used.map(lambda own: " and ".join(k for k, those in WORDS.items() if own & those) or "neither")
groupings = {"who": who, "vocabulary": used.map(lambda own: "known" if own <= known else "new words")}
between = pd.concat({name: fairness.gaps(on_test["base"], by) for name, by in groupings.items()})
between["p_holm"] = holm(between["p"].to_numpy())
print({name: by.value_counts().to_dict() for name, by in groupings.items()})
columns = ["difference", "low", "high", "expected", "p", "p_holm", "rate", "label", "highest", "lowest"]
between[columns].round(3)

# %% [markdown]
# A gap is the *largest* difference between any two groups, so it is above 0 by chance alone. `expected` is what chance
# gives when groups are handed out at random; `p` says how often it then is as large as here, `p_holm` takes into
# account that six p are looked at. The largest gap is in a *false positive rate* (`fpr`): how often a label is given to
# pairs that have another. What it rests on, `fairness.rates` says:

# %%
rates, largest = fairness.rates(on_test["base"], who), between.loc[("who", "equalised odds")]
rates[(rates["rate"] == largest["rate"]) & (rates["label"] == largest["label"])].round(2)

# %% [markdown]
# **Check.** *Neutral* is wrongly given to .31 of the pairs with a man and to none of those with a woman. These are 26
# and 20 pairs, fewer than the groups have, since only pairs that are not neutral count. p is .003, and after Holm
# still .02. Before the gap is called unfair: pairs that share a hypothesis are not independent, which p does not
# know; and the groups do not differ in gender alone, but in what is asked. So it is a reason to swap the gender in
# the very same pairs (`cift.counterfactual`), but no verdict. With new words accuracy is .04 lower, p = .06 before
# Holm, with an interval from 0 to .08.
#
# To see that chance alone makes gaps, hand out meaningless groups, by lot:

# %%
meaningless = {}
for n_groups in (2, 5, 20):
    lots = pd.Series(rng.integers(n_groups, size=len(test)), index=test["item_id"][:])
    meaningless[n_groups] = fairness.gaps(on_test["base"], lots, least=5).loc["accuracy"]
pd.DataFrame(meaningless).T.rename_axis("groups")[["difference", "expected", "p"]].astype(float).round(2)

# %% [markdown]
# **Check.** The more groups, the larger the gap, with nothing behind it. A report of "a gap of .2 between 20 groups"
# without `expected` says nothing. And the reverse: no significant gap between small groups is no proof of fairness;
# read `low` and `high`.
#
# ## 11 Training against validation
#
# A model that has learnt its pairs by heart is better on them than on others. The gap says how much of what it learnt
# does not carry over.

# %%
learnt = answer(base, train.select(range(min(VALIDATION_PAIRS, TRAIN_PAIRS))))
gaps = {
    "base: scenes": error_analysis.train_validation_gap(learnt, answer(base, validation)),
    "CIFT-CCE: probes": error_analysis.train_validation_gap(answer(models["CIFT-CCE"], lesson), on_exam["CIFT-CCE"]),
    "CIFT-MSE: probes": error_analysis.train_validation_gap(answer(models["CIFT-MSE"], lesson), on_exam["CIFT-MSE"]),
}
pd.concat(gaps).round(2)

# %% [markdown]
# **Check.** All gaps are real. The base model has begun to know its 3,000 pairs; CIFT-CCE knows its 90 by heart,
# which is the overconfidence of section 6; CIFT-MSE less so. Whether because of target or loss, these two pupils cannot
# tell: they differ in both (notebook 08 takes them apart). Besides, accuracy against gold is capped for a pupil of
# people's shares, if not by much: on a few items of the lesson more people gave another label than the gold one. And
# the gap is a symptom, not a score: what counts is the column `validation`.
#
# ## 12 Cross-validation of a whole fine-tuning
#
# With 180 items it is a pity to learn from 90 and to test on 90. In *k-fold cross-validation* the items are dealt into
# $k$ parts; the model is fine-tuned $k$ times, on all parts but one, and answers that one. In the end every item has
# been answered by a model that never saw it.

# %%
folder = tempfile.TemporaryDirectory()  # is there as long as the kernel runs
base.save_pretrained(folder.name)
tokenizer.save_pretrained(folder.name)
crossed = cross_validate(probes, recipe, folder.name, FOLDS, SEED)
by_fold = crossed.groupby("fold")[crossed.columns].apply(evaluation.accuracy)
of_folds = summary(crossed)
naive = t.ppf(0.975, FOLDS - 1) * of_folds["sd"] / np.sqrt(FOLDS)
print("by fold:", by_fold.round(2).to_list(), f"t · sd / √k would give ± {naive:.2f}")
pd.DataFrame([of_folds], ["CIFT-CCE, cross-validated"]).round(3)

# %% [markdown]
# `sd` is the spread $s$ of the folds' accuracies. It is tempting to write mean ± $t\,s/\sqrt{k}$, with Student's $t$,
# here 2.78, and wrong: the folds are no independent experiments. Any two of the fine-tunings share most of their
# training items, so they err alike, and their spread does not show it. Nadeau & Bengio (2003) take
# $s^2 (1/k + n_{test}/n_{train})$ instead of $s^2/k$; `low` and `high` are made so. They derived it for random splits,
# drawn again and again; for $k$ folds it is a rule of thumb.
#
# Does it matter? A common habit makes it plain: to cross-validate five times with other folds, and to treat the 25
# scores as 25 experiments. **Simulated** data, where the truth is known, and a logistic regression:

# %%
weights = rng.standard_normal(10)


def made(n):
    x = rng.standard_normal((n, 10))
    return x, x @ weights + 2 * rng.logistic(size=n) > 0


truth = np.mean([LogisticRegression().fit(*made(80)).score(*made(2000)) for _ in range(REPEATS)])
folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=5, random_state=SEED)
scores = np.array([cross_val_score(LogisticRegression(), *made(100), cv=folds) for _ in range(REPEATS)])
off, sd = np.abs(scores.mean(axis=1) - truth), scores.std(axis=1, ddof=1)
errors_of_mean = {"t · sd / √25": sd / np.sqrt(25), "corrected": sd * np.sqrt(1 / 25 + 1 / 4)}
held = {name: (off < t.ppf(0.975, 24) * error).mean() for name, error in errors_of_mean.items()}
assert held["t · sd / √25"] < held["corrected"]
pd.Series(held).round(2).to_frame("holds the truth")

# %% [markdown]
# **Check.** Both are called 95 % intervals. The first holds the truth in little more than half of the repetitions: with
# more rounds it becomes as narrow as one likes, while the items remain the same hundred. The corrected one does what it
# says, as far as a hundred repetitions can tell. Neither speaks of choosing: if settings were chosen by these folds,
# the best of them looks better than it is.
#
# ## 13 Generated text
#
# If a model writes hypotheses or explanations, its text is compared with a reference. **ROUGE-1** (Lin 2004) is the F1
# of shared words, ROUGE-2 of shared word pairs, ROUGE-L of the longest common subsequence; **BLEU** (Papineni et al.
# 2002) counts shared runs of one to four words; **BERTScore** (Zhang et al. 2020) matches each token with the most
# similar one of the other text, in an encoder's vectors. The encoder is MiniLM here, so these BERTScores cannot be
# compared with published ones. `generation.PROBES` changes three references in eight ways each; these are the first's:

# %%
reference, candidate = "Three dogs chased the old man.", "The old man chased two dogs."
bags = [Counter(re.findall("[a-z0-9]+", text.lower())) for text in (candidate, reference)]
shared = (bags[0] & bags[1]).total()
by_hand = 2 * shared / (bags[0].total() + bags[1].total())
assert np.isclose(by_hand, generation.score([candidate], [reference])["rouge1"][0])
generation.PROBES.head(8).set_index(["reference", "differs"])

# %%
generation.blind_spots()[["rouge1", "rouge2", "rougeL", "bleu", "bertscore_f1"]].round(2)

# %% [markdown]
# **Check.** Means over the three. Only the first row, the paraphrase, means the same, and ROUGE and BLEU put it with
# *off topic*. A negation, another number or another name costs little by ROUGE and BERTScore, which leave .80 or more;
# BLEU leaves .69 to .83. ROUGE-1 sees neither who chased whom nor scrambled words. BERTScore sees what is off topic,
# and puts all other rows above the paraphrase. Whether a generated text is *right* none of them says; a reader, or a
# model of inference, must.
#
# ## Recap
#
# | question | measure | interval or test | in `cift` |
# |---|---|---|---|
# | how often right? | accuracy | Wilson | `evaluation.proportion`, `evaluate` |
# | right on which labels? | precision, recall, F1; macro F1, MCC | Wilson; bootstrap | `confusion`, `by_label` |
# | are items dependent? | any | bootstrap over groups | `evaluate(groups=)` |
# | is one model better? | difference of any metric | McNemar; paired bootstrap | `paired.mcnemar`, `difference` |
# | several comparisons? | p | Holm | `paired.compare` |
# | good probabilities? | log-loss, Brier score | bootstrap | `evaluation.log_loss`, `brier` |
# | confidence deserved? | ECE, reliability diagram | bootstrap; expected if calibrated | `reliability.calibration` |
# | like people? | Jensen–Shannon, KL, total variation, entropies | bootstrap | `people.closeness` |
# | how able? | θ | standard error | `ability.place` |
# | where are the errors? | accuracy by slice | Wilson; Holm over slices | `error_analysis`, `bias.gap` |
# | alike for all groups? | largest gap, equalised odds | expected under no difference | `fairness.gaps` |
# | learnt by heart? | train less validation | Newcombe, Welch | `train_validation_gap` |
# | how good is the recipe? | mean of folds | corrected t | `cross_validation.summary` |
# | is generated text right? | none of ROUGE, BLEU, BERTScore says | | `generation.blind_spots` |
#
# ## Exercises
#
# 1. Draw the reliability diagram of the pupils on the *exam*, with bins of equal mass (`equal_mass=True`). How much of
#    the ECE would chance alone give with 90 items?
# 2. Work out how many items McNemar's test needs for a p just below .05 where the accuracies differ by .02, if one of
#    the two models is right and the other wrong on 10 % of the items. And if on 40 %? Hint: p is .05 where
#    $z = (lost - gained) / \sqrt{lost + gained}$ is 1.96, nearly.
# 3. Fit the temperature to *people* instead of gold labels: `reliability.fit_temperature(..., targets=distributions)`
#    on half of the exam, and measure the distance on the other half.
# 4. Call `fairness.gaps(seen, "phenomenon")`. How large is `expected` with 25 groups, and which are too small to count?
# 5. Cross-validate CIFT-MSE, from `folder.name` again: give `distributions=distributions` and
#    `replace(recipe, loss="mse")`. Is its pooled accuracy better than that of CIFT-CCE? Use `paired.difference` on the
#    two tables.
# 6. Write a sentence and another that contradicts it, so that BERTScore gives them more than .96, the highest mean of
#    section 13. Then a true paraphrase of yours, in other words, that beats the negation (.82).
#
# ## Where next
#
# Notebook 11 is about ability: estimates, ceilings, adaptive tests. Notebook 12 reads the full studies, with ten seeds
# of each arm, and says what holds.
