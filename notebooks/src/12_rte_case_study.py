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
# # 12 The RTE case study: does learning from the crowd make a model more able?
#
# **The question.** Fine-tune a model on the few items that a crowd has answered. Does its *ability* on items
# that it has not seen go up, as people's ability is measured? Does it matter whether it learns the gold label
# (CCE) or the crowd's whole distribution (MSE)? And would any extra items do as well?
#
# **After this notebook you can**
#
# - read the protocol: base model, supplemental set, held-out scale, arms, controls, seeds;
# - run some cells of it live and find them again in the ledger;
# - read a record: abilities with standard errors, paired differences with intervals, and their limits;
# - look behind a mean: by scale, by arm, by backbone;
# - say of each claim about CIFT whether it was reproduced here, and how you would try it again.
#
# **Time.** 25 minutes to read; about 2 minutes to run on 2 cores, because the full-size numbers come from
# committed records. **Needs:** embedded data and weights, records in `results/`. **Makes:** a base model, trials and
# cells in the cache folder that `cift doctor` names.

# %% tags=["parameters"]
RECORD = "../results/embedded.json"  # the full-size run that sections 5 and 6 show
LIVE_SCALE = "5GS-C"  # the scale of the cells that section 4 runs live
LIVE_PAIRS = 1000  # sentence pairs of base training in the live run; 11000 is the study's own size
LIVE_TEST_PAIRS = 500
LIVE_SEEDS = 1

# %% [markdown]
# ## Set-up
#
# The packages and the machine that the numbers below come from.

# %%
import json
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from cift import arms, casestudy, casestudy_report, claims, outcomes, plots, report
from cift.ability import eap
from cift.corpora import LABELS
from cift.doctor import machine, versions
from cift.irt import information
from cift.losses import cce, mse
from cift.studies import load_study

{name: versions()[name] for name in ("cift", "python", "torch", "transformers")} | machine()

# %% [markdown]
# ## 1 The material
#
# A *study* says which corpus, which crowd, which scales and which recipe. The study `embedded` needs no
# network: its corpus is the generated `scenes`, its items are the `probes`, its crowd is **simulated**.

# %%
study = load_study("embedded")
parts = ("base", "validation", "pool", "test")
pd.Series({name: len(getattr(study, name)) for name in parts}, name="pairs").to_frame()

# %% [markdown]
# `base` is what the base model learns from; `validation` is for choosing a learning rate; `pool` are further pairs of
# the same corpus, kept aside for a control; `test` is the corpus's test set.

# %%
scales = pd.DataFrame(
    {
        name: {
            "items": len(held.items),
            "mean a": held.bank.items["a"].mean(),
            "mean b": held.bank.items["b"].mean(),
            "items to learn from": len(set(held.supplement["item_id"])),
        }
        for name, held in study.held_out.items()
    }
).T
scales.round({"mean a": 1, "mean b": 1}).astype({"items": int, "items to learn from": int})

# %% [markdown]
# **What to see.** Six scales, one per stratum (`5GS`: five of five annotators agree, `4GS`: four of five) and label.
# Entailment in `5GS-E` is easy for the simulated crowd (mean difficulty far below 0); contradiction in `4GS-C` is the
# hardest, near the average respondent. To be measured on one scale, a model learns from the items of the *other*
# groups only, and of those the ones that surely discriminate: here all do, in `lalor2016` not.

# %%
for name, held in study.held_out.items():
    assert not set(held.supplement["item_id"]) & set(held.items["item_id"]), name
print("No held-out item is learnt from.")

# %% [markdown]
# ## 2 What a scale can say
#
# An easy scale cannot tell a good model from an excellent one: whoever gets everything right has reached its
# **ceiling**. The ability printed there is pulled towards the average and only says: nobody can be placed higher.

# %%
ceilings = {}
for name, held in study.held_out.items():
    perfect = pd.DataFrame(1.0, index=["all right"], columns=held.bank.items["item_id"])
    ceilings[name] = eap(perfect, held.bank).loc["all right", ["theta", "theta_se", "percentile"]]
pd.DataFrame(ceilings).T.infer_objects().round({"theta": 2, "theta_se": 2, "percentile": 0})

# %% [markdown]
# **What to see.** A perfect answer sheet on `5GS-E` is worth far less than one on `4GS-C`. A percentile near the
# ceiling is about the scale as much as about the model.
#
# The same table is a warning. All items of a scale have **one gold label**, so a model that always says
# *contradiction* has the top ability on both C scales, and the lowest on the other four. Read the six scales together,
# and look at the test accuracy beside them.

# %% [markdown]
# **Check.** Where does the scale look? The information curve says at which abilities its items tell most; together
# with the population's own information, 1, it gives the standard error, about $1/\\sqrt{1 + I}$.

# %%
theta = np.linspace(-4, 4, 161)
ax = plots.clean_axes()
for k, (name, held) in enumerate(study.held_out.items()):
    total = information(theta, held.bank.items).sum(axis=1)
    ax.plot(theta, total, plots.LINES[k % 4], color=plots.COLOURS[k], label=name)
ax.set(xlabel="ability θ", ylabel="test information I", title="Six scales (simulated crowd)")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# **What to see.** `5GS-E` peaks far to the left: it hardly separates models above average ability. Both contradiction
# scales peak near the average respondent.

# %% [markdown]
# ## 3 Arms and controls
#
# Every arm starts from the same base model, and arms share their seeds, so differences between fine-tuned arms are
# *paired*.

# %%
pd.DataFrame({name: vars(arm) for name, arm in arms.ARMS.items()}).T.fillna("-")

# %% [markdown]
# - **no fine-tuning** is the base model as it is, **temperature** only divides its logits by a number, so that it is on
#   average as sure as the crowd.
# - **random items** is fine-tuned on as many items with the same gold labels, drawn at random from `pool`; **5x** on
#   five times as many. If they gain as much as CIFT, the gain is not the crowd's. If they gain less, the reason may be
#   the crowd, or only that its sentences are of another kind: `pool` is of the base corpus, the crowd's items are not.
#   **SICK items** are of neither (where that corpus can be had).
# - **CIFT-CCE** learns the gold labels of the crowd's items, **CIFT-CCE majority** what most people said: minus the log
#   of that label's probability.
# - **CIFT-MSE** learns the crowd's distribution: the mean squared difference between the model's probabilities and the
#   crowd's shares. **CIFT-soft** learns it by cross-entropy, so that CCE and MSE, which differ in target *and* loss,
#   have something between them. **label smoothing** is as soft as the crowd is on average, the same for every item.
# - **third: ...** learn a third of the crowd's items, as many of each label, chosen by what IRT says of them;
#   **third: random** is what they have to beat. **10, 30, 90 items** are random ones.
#
# The first run is of five arms (`--arms main`), all of them with `--arms all`.
#
# Learning rate and epochs are chosen by the same small search for every kind of arm: 3 rates x 2 numbers of epochs, on
# a fifth of the lesson set aside and on validation pairs, by the log-loss of the gold label. Nothing that is measured
# has a part in it.
#
# Leaving out a whole group leaves the tested label half as frequent as the other two, and a model then learns to avoid
# just the label that it is measured on. (Tried so, all arms, the control too, fell *below chance* on the held-out
# items.) So the lesson repeats the items of the rarer label until all three are equally frequent.
#
# What the two losses ask for is not the same. On an item that divides people, the gold label wants certainty and
# the distribution wants doubt:

# %%
people = torch.tensor([[0.45, 0.50, 0.05]])  # a divided crowd; the gold label is the second
gold = torch.tensor([[0.0, 1.0, 0.0]])
for logits in (people.log(), 4 * people.log(), 20 * people.log()):
    p = logits.softmax(1)[0]
    print(f"model {p[0]:.2f} {p[1]:.2f} {p[2]:.2f}   CCE {cce(logits, gold):.2f}   MSE {mse(logits, people):.3f}")

# %% [markdown]
# **What to see.** As the model becomes more certain (downwards), CCE falls all the time, while MSE rises from zero:
# it punishes being surer than people are.

# %% [markdown]
# **Check.** Where is the crowd divided? The entropy of its distribution over three labels is 0 bits when all give the
# same label, and 1.58 bits when all three are equally frequent.

# %%
shares = study.distributions[["entailment", "neutral", "contradiction"]]
entropy = -(shares * np.log2(shares.where(shares > 0, 1))).sum(axis=1)
entropy.groupby(entropy.index.str[:3]).mean().round(2).rename("mean entropy (bits)").to_frame()

# %% [markdown]
# Most in the contradiction items of the less agreed stratum (`g4c`), least in `g5e`, where people nearly all agree and
# the two targets are nearly the same.

# %% [markdown]
# ## 4 Cells, live
#
# One *cell* is one arm, one held-out scale and one seed. Here are the cells of one scale, with a base model
# that has read only `LIVE_PAIRS` pairs, so that this takes two minutes.

# %%
small = replace(
    study,
    base=study.base.select(range(LIVE_PAIRS)),
    test=study.test.select(range(LIVE_TEST_PAIRS)),
    held_out={LIVE_SCALE: study.held_out[LIVE_SCALE]},
)
live = casestudy.run(small, seeds=range(LIVE_SEEDS))

# %% [markdown]
# First the search. A row an arm that was tuned, the log-loss of each setting; the smallest of a row was taken.

# %%
trials = pd.DataFrame(live["search"])
trials.pivot(index="arm", columns=["epochs", "learning_rate"], values="log_loss").round(3)

# %%
columns = ["arm", "seed", "n_train", "learning_rate", "epochs", "theta", "theta_se", "accuracy", "test_accuracy", "jsd"]
pd.DataFrame(live["results"])[columns].round({"learning_rate": 6} | dict.fromkeys(columns[5:], 2))

# %% [markdown]
# Each trial and each cell went into the *ledger*, a folder of small files in the cache. Run the study again, or after
# an interruption: what is finished is not done twice.

# %%
again = casestudy.run(small, seeds=range(LIVE_SEEDS))
assert again["results"] == live["results"]
print(f"{again['run']['cells_from_ledger']} of {len(again['results']['arm'])} cells came from the ledger")

# %% [markdown]
# These numbers are from a base model that has read little, and one seed. They show how it works and are **not a
# finding**.

# %% [markdown]
# ## 5 The record of the full study
#
# A record holds one row per cell, and where it came from: data hashes, recipe, versions, machine, seconds,
# memory.

# %%
record = json.loads(Path(RECORD).read_text())
print(casestudy_report.headline(record))

# %% [markdown]
# Abilities: θ ± its standard error, and the percentile, averaged over seeds.

# %%
casestudy_report.abilities(record)[[name for name in arms.MAIN]]

# %% [markdown]
# Means over all scales and seeds, of everything that is measured:

# %%
casestudy_report.means(record).round(3)

# %%
plots.study(record)
plt.show()

# %% [markdown]
# **What to see.** Left: where each arm stands on each held-out scale. The bars are the standard error of *one*
# ability; thirty items allow no smaller one. Right: the changes from the base model. An interval that crosses the grey
# line is compatible with no change. A lower *distance to people* is better.

# %% [markdown]
# **Check.** The questions at the top, one line each: is the crowd better than nothing, better than random items, and
# is the distribution better than the gold label?

# %%
QUESTIONS = {
    "CIFT-CCE less no fine-tuning": ("CIFT-CCE", arms.BASELINE),
    "CIFT-MSE less no fine-tuning": ("CIFT-MSE", arms.BASELINE),
    "CIFT-CCE less random items": ("CIFT-CCE", arms.CONTROL),
    "CIFT-MSE less random items": ("CIFT-MSE", arms.CONTROL),
    "CIFT-MSE less CIFT-CCE": ("CIFT-MSE", "CIFT-CCE"),
}


def answers(record):
    rows = {}
    for question, (arm, other) in QUESTIONS.items():
        found = casestudy_report.differences(record, other).set_index(["arm", "metric"]).loc[arm]
        rows[question] = {
            outcomes.METRICS[name].words: casestudy_report.in_words(row) for name, row in found.iterrows()
        }
    return pd.DataFrame(rows).T


answers(record)

# %% [markdown]
# An interval without zero is evidence for a difference *of this base model, on these items*. There are twenty
# intervals: at 95 %, one false alarm among them is to be expected. Their limits:
#
# - They are over seeds of the fine-tuning. Another base model, other items or another calibration would add to them,
#   and the control redraws its items for every seed while the CIFT arms always learn the same ones.
# - On easy scales abilities are shrunk towards the average, and so are their differences.
# - The crowd is simulated, and the corpus is generated: this says how the method behaves where its assumptions hold,
#   and nothing about people or English at large.

# %% [markdown]
# ## 6 Behind the mean
#
# A mean over six scales may be made of six different things. The gain of each arm over *no fine-tuning*, scale by
# scale:

# %%
results = pd.DataFrame(record["results"])
by_scale = results.pivot_table("theta", "held_out", "arm", sort=False)
by_scale[list(arms.MAIN[1:])].sub(by_scale[arms.BASELINE], axis=0).round(2).rename_axis(index=None, columns=None)

# %% [markdown]
# **What to see.** Learning the distribution raises θ on the four scales of *entailment* and *neutral*, and lowers it by
# about two standard deviations on the two of *contradiction*. Gold labels do harm there too, and elsewhere little. This
# is not more or less ability to read: an arm has come to say one label more and another less, and each scale sees one
# label only. The mean over scales, which is what counts, is a loss.
#
# **Check.** Could it be the number of people who say *contradiction* at all? The labels that a lesson teaches, if one
# scale is left out, by gold label and by the crowd's distribution:

# %%
taught = {}
for name in ("5GS-E", "5GS-C"):
    lesson = arms.lesson("CIFT-MSE", study, study.held_out[name], seed=0)
    for arm in ("CIFT-CCE", "CIFT-MSE"):
        taught[name, arm] = arms.targets(arm, lesson, study.distributions).mean(axis=0)
pd.DataFrame(taught, index=LABELS).T.round(2)

# %% [markdown]
# **What to see.** By gold label the lessons are balanced, by what people say they are not: *contradiction* has less
# than a quarter, because it is the label that people doubt most. So a model that learns distributions learns to say it
# seldom. That explains a part of the fall on the two *C* scales, not all: gold labels, a third each, lower θ there too.
# If one group is left out, the thirty remaining items of its label come twice, and are all that the model learns of it.
#
# ### Which items, which labels, how many
#
# The record holds the other arms as well. Gains over *no fine-tuning*, and what is lost on the corpus's own test set:

# %%
other = casestudy_report.differences(record, arms.BASELINE, ["theta", "jsd", "test_accuracy"])
other["gain"] = [casestudy_report.in_words(row) for _, row in other.iterrows()]
table = other.pivot_table("gain", "arm", "metric", aggfunc="first", sort=False)
table.rename(columns={name: outcomes.METRICS[name].words for name in table}).rename_axis(index=None, columns=None)

# %% [markdown]
# **Check.** Read the rows in groups.
#
# - *Temperature* brings the model nearer to people than any lesson does, and costs nothing. *Label smoothing* is as
#   near as the crowd's own distributions. So on these items the softness is not worth more for being item by item.
# - Random items of the base corpus, as many or five times as many, change next to nothing: the crowd's are other
#   sentences.
# - *Fewer* items do less harm: ten, thirty, ninety, all. But forty-eight chosen by IRT do less than forty-eight random
#   ones: the most informative, the hard and the disputed third cost (nearly) no ability, the easy third most.
#
# That last one is the idea of CIFT, seen from the other side: which items are learnt matters. That they *raise*
# ability is not seen.
#
# ## 7 Real sentences, real people
#
# The study `chaosnli` runs the same protocol on SNLI and on the 100 labels per item of ChaosNLI (Nie, Zhou &
# Bansal 2020). Half of its items, by premise, are the lesson; nothing is selected by IRT here. The scale consists of
# 300 items of the SNLI test set, calibrated on the answers of **90 model checkpoints** (Vania et al. 2021): 18 models
# at five stages of training. A percentile here is among *models*, the average one is half-trained, and the 90 rows
# are not independent. MiniLM itself had seen SNLI pairs in its contrastive pre-training.

# %%
chaos = json.loads(Path("../results/chaosnli.json").read_text())
print(casestudy_report.headline(chaos))
casestudy_report.means(chaos).round(3)

# %%
plots.study(chaos)
plt.show()

# %% [markdown]
# **What to see.** One scale of 300 items instead of six of thirty, with all labels on it: the bars are shorter, and a
# preference for one label gains nothing. *CIFT-CCE* raises θ a little, and as many random pairs of SNLI do not. All
# arms that learn the crowd's distribution or its majority lower θ and accuracy, by about the same. What they gain is
# nearness to people, and here neither a temperature nor smoothing gives that: both make it worse.

# %%
answers(chaos)

# %% [markdown]
# **Check.** Why does the distribution cost accuracy? ChaosNLI took items on which SNLI's five annotators were divided,
# and on a quarter of them the hundred new people's commonest label is another one than the gold label (`run["crowd"]`
# in the record). The scale and the test set are marked by gold labels. *CIFT-CCE majority* has no softness at all and
# loses as much: it is the other label that costs, not the doubt.
#
# The study `snow-rte` has people on its scales. 164 workers answered 20 to 800 of the 800 test pairs of RTE-1, ten to
# each pair (Snow et al. 2008). Labels are two, *entailment* or not. Base corpus is SNLI; a fifth of the pairs is
# measured on, the others are learnt, five times; the large test are RTE-2's and RTE-3's test pairs: news, several times
# as long as SNLI's captions.

# %%
snow = json.loads(Path("../results/snow-rte.json").read_text())
print(casestudy_report.headline(snow))
casestudy_report.means(snow).round(3)

# %%
plots.study(snow)
plt.show()

# %% [markdown]
# **What to see.** Three seeds so far. The base model, which has read captions, is barely above chance on news, and
# surer than it should be. 640 pairs of the crowd's kind teach it more about RTE-2 and RTE-3 than as many captions do,
# and bring its doubts much nearer to people's. Ability does not move with gold labels, and falls with distributions: in
# 14 % of the items the ten workers' commonest label is not the experts'.
#
# ### Another model
#
# The published study fine-tuned the Neural Semantic Encoder (Munkhdalai & Yu 2017), which reads words through a memory
# and knows nothing at the start. It has records as well. What each arm does to $\theta$, by study and backbone:

# %%
records, published = report.read_records("../results")
gains = {}
for each in records:
    found = casestudy_report.differences(each, arms.BASELINE, ["theta"]).set_index("arm").loc[list(arms.MAIN[1:])]
    gains[each["study"], each["run"]["model"]] = found.apply(casestudy_report.in_words, axis=1)
pd.DataFrame(gains).T.rename_axis(columns=None)

# %% [markdown]
# **Check.** The encoder starts from nothing, so its base models are weaker (69 % on the scenes' test set and 65 % on
# SNLI's, MiniLM 83 % and 78 %), and every lesson costs them more test accuracy. The small gain of *CIFT-CCE* in
# `chaosnli` is not found again. That distributions bring a model nearer to people than temperature and smoothing do, is
# (section 8).
#
# ## 8 The claims
#
# What was claimed of CIFT, and what these records say. A claim is *reproduced* if its difference, after Holm's
# correction for the number of claims, is beyond chance and in the direction claimed; *not reproduced* if it is in the
# other direction, or if the interval leaves no room for a difference that would matter; else *inconclusive*. (Where
# not being worse is claimed, the interval is compared with the smallest loss that would matter.) With five scales or
# more the interval is over *scales*: it speaks of other scales like these, and is wider than those above, which are
# over seeds. The paper's own tables could not be found: claims are taken from its abstract and from guides that follow
# it.

# %%
told = claims.table(records, published)
pd.crosstab(told["verdict"], [told["study"], told["model"]])

# %%
claims.verdicts(told)

# %% [markdown]
# **Check.** The rows of `lalor2016` are the numbers printed for the published scales; they come out of the same answers
# here (`python -m cift.claims`, where the crowd's file can be had):

# %%
printed = report.in_brief(told[told["study"] == "lalor2016"])
printed[["claim", "effect", "verdict"]].set_index("claim")

# %% [markdown]
# `cift claims` prints the same with effects and with the command that measures each row anew; `make report` writes it
# all as one page.
#
# ### Why?
#
# *CIFT raises ability* is reproduced in `chaosnli` with MiniLM, by .06 standard deviations, and nowhere else. What can
# explain that, and what do the records rule out?
#
# - **Labels instead of items.** On scales with one gold label (`embedded`), and with lessons that lack it, θ mostly
#   shows which label an arm has come to prefer (section 6). On the scale of `chaosnli`, which has all labels, gold
#   labels help.
# - **Another kind of text.** A base model that knows generated scenes only unlearns them for the sake of 150 other
#   sentences. Where base corpus and crowd's items are captions alike (`chaosnli`), next to nothing is unlearnt.
# - **The crowd is not gold.** Where people's majority is another label, learning from people is punished by scales and
#   tests that are marked by gold. That is a choice of the study, and not a fault of the model.
# - **Too few scales.** Over six scales an interval of θ is one to three standard deviations wide. Inconclusive it
#   stays, with any number of seeds: more *scales* are needed.
# - **Not tested here.** The published crowd's own sentences, which come with SNLI's zip (`--study lalor2016`); a base
#   model that has read all of SNLI; larger models.

# %% [markdown]
# ## Recap
#
# - A study is data; the protocol is the same for every study.
# - Held-out scales, a random control and shared seeds separate CIFT from longer training on the base corpus. They do
#   not separate the crowd from the kind of sentences.
# - A mean over scales is to be looked behind: by scale, by label, by arm.
# - Temperature and smoothing are rivals that cost nothing: on simulated people they do as well as the crowd, on
#   real people they do not.
# - An ability on thirty items has a standard error from a quarter (middle of the scale) to three quarters (ceiling of
#   an easy one) of a standard deviation; means over scales and seeds are needed to see a change.
# - Records carry everything that is needed to repeat them.

# %% [markdown]
# ## Exercises
#
# 1. Set `LIVE_SEEDS = 3` and another `LIVE_SCALE`. How far do the arms' abilities move from seed to seed? Compare
#    that with the standard error.
# 2. What would a model that always says *contradiction* get on the six scales? Make its predictions table and `place`
#    it. What is its mean ability, and its mean accuracy?
# 3. Which arm changes the *distance to people* most, and why could that happen without any change in accuracy?
# 4. Run section 4 again with `small = replace(small, recipe=replace(small.recipe, learning_rate=3e-5))`. Why do the
#    cells not come from the ledger now, while the base model still comes from the cache?

# %% [markdown]
# ## Where next
#
# On the command line, `cift case-study --study chaosnli` repeats section 7 (an hour on 2 cores), `--study lalor2016`
# runs the published crowd where the SNLI zip is at hand, and `--model` takes any model of the Hugging Face hub.
