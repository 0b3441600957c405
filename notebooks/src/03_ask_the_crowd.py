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
# # 03 Ask the crowd: from a question to labels that can be trusted
#
# **The question.** Many people say what label a sentence pair should have, and they disagree. Some of them did not
# read. What do we ask, of how many, and what do we believe afterwards?
#
# **After this notebook you can**
#
# - plan a collection: qualification, attention checks, payment, and how many answers a wanted standard error takes;
# - hand a class a questionnaire and read what comes back, or read anybody's answers, long or wide;
# - measure agreement beyond chance, and say what the correction for chance does;
# - find one label per item by majority or by Dawid and Skene's model, and find the people who do not read;
# - give label distributions with intervals, and say where gold and majority differ and what that does to the loss.
#
# **Time.** About 60 minutes to read; it runs in about a minute on a laptop with 2 cores. **Needs:** the embedded
# data and records, no network; two cells also show real answers where they can be had. **Makes:** a questionnaire in
# `build/`, nothing that is kept.

# %% [markdown]
# ## Set-up
#
# Two **simulated** crowds serve here, because of them the truth is known. The crowd of the `probes` is *dense*: 1,000
# respondents each answered all ninety items of a *stratum*. G5 and G4 are the 5GS and 4GS groups of notebook 00, ninety
# items each. The other crowd is *sparse*, as on a paid platform: each item has ten answers, and people differ in how
# many they give and in how they answer (`simulate_crowd.KINDS`):
#
# | kind | of 100 people | how they answer |
# |---|---|---|
# | careful, average | 30, 35 | mostly right |
# | hasty | 8 | often wrong |
# | learning, tiring | 5, 5 | accuracy rises, falls |
# | biased | 5 | 30 % of the answers are one favourite label |
# | constant, random | 5, 7 | do not read: always one label, any label |
#
# What real people did comes from the record `results/consensus.json`.

# %% tags=["parameters"]
CLASS = 25  # students who answer the questionnaire
REPLICATIONS = 10  # simulated crowds behind each line of the table on calibration
REPEATS = 20  # random choices of few answers out of many
SEED = 0

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.special import digamma
from scipy.stats import beta, binom

from cift import (
    agreement,
    collecting,
    consensus,
    crowds,
    distributions,
    plots,
    questionnaire,
    simulate_crowd,
    spam,
    workers,
)
from cift.corpora import LABELS, load_corpus
from cift.errors import InputError
from cift.fetch import available

rng = np.random.default_rng(SEED)
record = json.loads(Path("../results/consensus.json").read_text(encoding="utf-8"))
probes = load_corpus("probes")
truth = pd.read_csv("../data/probes/truth_items.csv", index_col="item_id")
print(f"record of {record['date'][:10]}: {record['snow2008']['answers']} answers of snow2008, and more")

# %% [markdown]
# ## 1 Before anybody is asked
#
# ### 1.1 What to ask
#
# People answer the question that they read, not the one you mean. Experts say *entailment*; a crowd needs a button
# with plain words, and instructions that settle the case on which everybody stumbles: how much of what everybody knows
# may be used. The words of the questionnaire below:

# %%
print(questionnaire.INSTRUCTIONS)
pd.Series({label: questionnaire.WORDS[label] for label in LABELS}, name="words on the button").to_frame()

# %% [markdown]
# Try such a text on three people first, and let them think aloud.
#
# ### 1.2 Who may answer: qualification and attention checks
#
# A **qualification** is a short test beforehand, with a pass mark. It can fail in two ways: someone who guesses gets
# through, or someone able does not. Both are tails of a binomial distribution. Say that able people get 85 % right,
# and that a guesser hits one label of three:

# %% tags=["nbval-check-output"]
n, mark = 9, 6
by_hand = binom.sf(mark - 1, n, 1 / 3), binom.cdf(mark - 1, n, 0.85)
marks = collecting.qualification(n, accuracy=0.85)
assert np.allclose(marks.loc[mark], by_hand)
marks.loc[4:8].round(3)

# %% [markdown]
# Raising the mark stops guessers and turns away the able. `shortest_qualification(0.85)` searches for the fewest items
# that keep both errors at 5 %: nine items, six right.
#
# An **attention check** is an item with a label beyond doubt, mixed in among the others. It catches those who stop
# reading later on. Say that attentive people slip at 2 % of checks:

# %% tags=["nbval-check-output"]
checks = {allowed: collecting.attention_checks(allowed=allowed) for allowed in (0, 1)}
pd.DataFrame(checks).T.rename_axis("wrong answers allowed").astype(float).round(3).astype({"checks": int})

# %% [markdown]
# **Check.** Three checks catch 96 % of those who guess throughout, $1 - (1/3)^3$, but whoever rejects at the first
# wrong answer also rejects 6 % of honest people, $1 - 0.98^3$. Five checks with one slip allowed catch as many and
# accuse hardly anybody. Decide, and tell people, before the first answer comes in.
#
# ### 1.3 What it costs
#
# Pay for time, and for all of it: qualification, checks and instructions are work. 180 items with ten answers each,
# thirty items per person at twelve seconds, 9 + 5 extra items as planned above, 15 an hour, and a platform that adds
# 30 %:

# %% tags=["nbval-check-output"]
terms = {"seconds_per_item": 12, "hourly_wage": 15, "extra_items": 9 + 5, "extra_minutes": 2, "platform_fee": 0.3}
costs = {each: collecting.payment(180, 10, each, **terms) for each in (10, 30, 90)}
pd.DataFrame(costs).T.rename_axis("items per person").astype(float).round(2).astype({"respondents": int})

# %% [markdown]
# In the middle row everybody works $(30 + 14) \cdot 12/60 + 2 = 10.8$ minutes, for 2.70; the total holds the fee.
# Longer sessions are cheaper, for the extra items are paid once per person; but people tire, and fewer people mean
# less variety.
#
# ### 1.4 How many answers for a share
#
# An item's label distribution consists of shares. A share $p$ of $n$ answers has the standard error $\sqrt{p(1-p)/n}$,
# at most $1/(2\sqrt n)$. For a 95 % interval of plus or minus $h$ one needs about $1/h^2$ answers:

# %% tags=["nbval-check-output"]
needs = [
    [h, 1.96**2 / (4 * h**2), collecting.answers_for_share(h), collecting.answers_for_share(h, 0.9)]
    for h in (0.3, 0.2, 0.1, 0.05)
]
columns = ["half width", "formula", "share 0.5", "share 0.9"]
pd.DataFrame(needs, columns=columns).round({"formula": 1}).set_index("half width")

# %% [markdown]
# `answers_for_share` solves for Wilson's interval, which also holds near 0 and 1: seven answers for 0.3; ten give a
# share to ±0.26. They are enough for a label, as section 8 shows; not for a distribution.
#
# ### 1.5 How many answers for a difficulty
#
# In the two-parameter logistic model (2PL; notebook 04) an item has a discrimination $a$ and a difficulty $b$, and
# someone of ability $\theta$ is right with probability $P = 1/(1 + e^{-a(\theta - b)})$. The **Fisher information**
# says how sharply the likelihood peaks; its inverse is the variance of the estimates. That of one answer about
# $(a, b)$, averaged over people with $\theta \sim N(0, 1)$:
#
# $$I = \mathrm{E}_\theta\!\left[ P(1-P) \begin{pmatrix} (\theta - b)^2 & -a(\theta - b) \\ -a(\theta - b) & a^2
# \end{pmatrix} \right], \qquad \mathrm{SE}(b) = \sqrt{\frac{(I^{-1})_{bb}}{n}}.$$


# %%
def se_of_b(a, b, n):
    theta = np.linspace(-8, 8, 2001)
    density = np.exp(-(theta**2) / 2)
    p = 1 / (1 + np.exp(-a * (theta - b)))
    slopes = np.stack([theta - b, np.full_like(theta, -a)])
    information = (density / density.sum() * p * (1 - p) * slopes) @ slopes.T
    return np.sqrt(np.linalg.inv(information)[1, 1] / n)


three = pd.DataFrame({"a": 1.5, "b": [0.0, -1.0, -2.0]}, index=["b 0", "b −1", "b −2"])
by_hand = [se_of_b(a, b, CLASS) for a, b in three.to_numpy()]
assert np.allclose(collecting.expected_errors(three, CLASS)["b_se"], by_hand, rtol=1e-3)

ax = plots.clean_axes(size=(6.4, 3.8))
respondents = np.geomspace(10, 3000, 60)
for k, (name, (a, b)) in enumerate(three.T.items()):
    errors = [se_of_b(a, b, n) for n in respondents]
    ax.plot(respondents, errors, plots.LINES[k], color=plots.COLOURS[k], label=f"a 1.5, {name}")
ax.axvline(CLASS, color="#BBBBBB", zorder=0)
ax.annotate("a class", (CLASS, 0.035), (4, 0), textcoords="offset points", color="#666666")
ax.axhline(0.1, color="#BBBBBB", zorder=0)
ax.set(xscale="log", yscale="log", xlabel="respondents", ylabel="standard error of b")
ax.set(yticks=[0.03, 0.1, 0.3, 1], yticklabels=[0.03, 0.1, 0.3, 1], title="By the formula; nothing is simulated")
ax.set(xticks=[10, 100, 1000], xticklabels=["10", "100", "1,000"])
ax.legend(frameon=False)
plt.show()
{name: collecting.answers_for_difficulty(0.1, a, b) for name, (a, b) in three.T.items()}

# %% [markdown]
# **What to see.** Four times the people halve the error. For an error of 0.1 (a tenth of the spread of people) an item
# of middle difficulty takes about 250 respondents, one that nearly all get right almost 1,900 (Lalor, Wu & Yu 2016
# asked a thousand).
#
# The formula takes abilities as known, so for maximum likelihood it is a lower bound. `calibration_errors` sends
# simulated crowds through the whole calibration and compares. Its errors are root mean square errors of an item,
# medians over items:

# %%
group = truth[truth.index.str.startswith("g4c")]
sizes = collecting.calibration_errors(group, [CLASS, 100, 1000], REPLICATIONS, SEED)
names = ["b_error", "b_expected", "b_correlation", "a_error", "a_expected", "a_correlation", "needed_priors"]
sizes[names].round(2)

# %% [markdown]
# **Check.** These are thirty items of middle difficulty, the best case. The actual errors of $b$ are about 30 % above
# the formula's for 25 people, less for more. A class already puts such items into a good order (`b_correlation`),
# though the single difficulty is uncertain by 0.4. With 25 people that takes priors (`needed_priors`: share of crowds
# too small for maximum likelihood), which hold estimates back: the error of $a$ is even below the formula's. Still, of
# the discriminations a class learns much less.
#
# ## 2 A class as its own crowd, in twenty minutes
#
# `questionnaire.write` makes `items.csv` and `form.html`, one file that runs in any browser without a network and
# sends nothing. We ask the ninety items of G4 and give each student thirty. Three practice items come first, with
# feedback, in place of a qualification; five checks are mixed in, and one slip is allowed. Checks must be items that
# nearly everybody gets right, with different labels, or always clicking one button would do:


# %%
def pick(*items):
    return probes.filter(lambda item: item in items, input_columns="item_id")


checks = ["g5e02", "g5e04", "g5n01", "g5n04", "g5c07"]
form = questionnaire.write(
    probes.filter(lambda stratum: stratum == "G4", input_columns="stratum"),
    Path("../build/crowd"),
    title="What follows from a sentence?",
    contact="Seminar on language models; ask the lecturer",
    practice=pick("g5e03", "g5n03", "g5c03"),
    checks=pick(*checks),
    per_person=30,
    seed=SEED,
)
print(form, f"{form.stat().st_size / 1024:.0f} KB")
kinds = pd.read_csv(form.with_name("items.csv"), index_col="item_id")
right = crowds.score(*crowds.load_crowd("probes")["G5"]).mean()
kinds.loc[checks, ["hypothesis", "label"]].assign(simulated_crowd_right=right.round(2))

# %% [markdown]
# To use it: give the file out (a stick, a mail, a shared folder) and the numbers 1, 2, 3, ... to the students; the
# number picks one of 200 balanced parts. At the end each saves a small CSV file and hands it in. Keep `items.csv`,
# with the labels, to yourself. Students are people: the form asks for consent and takes no names; do not make it an
# exam.
#
# Here `hand_in` simulates the class, in files of the form's own format; one student, the last, clicks through without
# reading. `read` takes the folder and the form. It refuses files of another form, files with rows missing, unknown
# answers, and two different files of one person. A changed answer it cannot see.

# %%
handed_in = simulate_crowd.hand_in(form, truth, CLASS, seed=2)
class_answers = questionnaire.read(handed_in, form)
right = class_answers["answer"] == class_answers["item_id"].map(kinds["label"])
by_student = right.groupby([class_answers["respondent"], class_answers["kind"]]).mean().unstack()
by_student["minutes"] = class_answers.groupby("respondent")["seconds"].sum() / 60
by_student["fails"] = by_student["check"] < 0.7  # more than one of five is wrong
honest = by_student.index != f"student-{CLASS}"
class_responses = crowds.to_wide(class_answers[class_answers["kind"] == "item"])
answered = class_responses.notna().sum()
print(f"an item has {answered.min()} to {answered.max()} answers")
print(f"{by_student['fails'][honest].sum()} of the {honest.sum()} students who read fail the rule")
by_student.sort_values(["fails", "minutes"], ascending=[False, True]).head(4).round(2)

# %% [markdown]
# **Check.** The columns are shares of right answers. Times are simulated here (14 seconds per item); in a real class
# they are what you learn. Look at checks and time together: who clicked through missed two checks and was fast; the
# other who fails took as long as everybody and is right on 30 % of the items: somebody who read and found it hard.
# Weak readers slip at more than the 2 % of section 1.2. And guessing can succeed: with `seed=0` the one who clicks
# through is right on all five checks.
#
# ## 3 Answers, wide and long
#
# Answers come in two shapes. **Wide**: a row per respondent, a column per item, good where everyone answered
# everything. **Long**: a row per answer, good where most cells would be empty, and the only shape with room for order
# and seconds.
#
# From here on the sparse crowd: 164 simulated people, ten answers to each of 800 items, two labels, the size of the
# RTE answers that Snow et al. (2008) collected on Mechanical Turk (`snow2008`; `crowds.load_crowd("snow2008")` loads
# them where they can be had). Its items have a gold label and no text.

# %%
labels = ["entailment", "not_entailment"]
gold = pd.Series(np.resize(labels, 800), index=[f"pair-{k:03d}" for k in range(1, 801)], name="label")
answers, who = simulate_crowd.sparse_answers(gold, n_respondents=164, answers_per_item=10, seed=SEED)
wide = crowds.to_wide(answers)
back = crowds.to_long(wide)
assert len(back) == len(answers)
busy = who["n"].sort_values(ascending=False)
print(f"long {len(answers)} rows; wide {wide.shape}, {wide.notna().mean().mean():.0%} filled")
print(f"the ten busiest of {len(who)} people gave {busy.head(10).sum() / busy.sum():.0%} of the answers")
answers.head(3)

# %% [markdown]
# A few people do most of the work; on `snow2008`, too, the ten busiest gave half of the answers. If one of them does
# not read, a large part of the answers is worth nothing.
#
# `crowds.read_answers` reads long files: `columns=` says what the file calls our columns, `labels=` what its values
# mean. `crowds.read_responses` reads wide files. Files are wrong in many ways, and it is bad to learn of them one by
# one, so every problem is listed at once. First a file that is right, then one with five faults:

# %%
right_file, broken = form.with_name("right.csv"), form.with_name("broken.csv")
rows = "worker,item_id,answer ann,pair-001,1 ann,pair-002,0 bob,pair-001,1 bob,pair-002,1"
right_file.write_text("\n".join(rows.split()), encoding="utf-8")
meanings = {"1": "entailment", "0": "not_entailment"}
print(crowds.read_answers(right_file, meanings, columns={"respondent": "worker"}), "\n")

rows = "ann,pair-001,entailment,1 ann,pair-001,not_entailment,2 bob,pair-002,perhaps,1 bob,pair-999,entailment,2"
rows = ["respondent,item_id,answer,order", *rows.split(), ",pair-003,entailment,3", "cem,pair-001,n,first"]
broken.write_text("\n".join(rows), encoding="utf-8")
try:
    crowds.read_answers(broken, labels, items=list(gold.index))
except InputError as error:
    print(str(error).replace("; ", ";\n  "))

# %% [markdown]
# **Check.** Five faults, each with its row. The last row's answer, `n`, is no fault: an initial that fits one label
# only stands for it. Nothing was skipped quietly: an answer that you do not notice losing is worse than an error.
#
# ## 4 Do they agree?
#
# **Percent agreement** is the share of pairs of answers to the same item that are alike. Two people who say
# *entailment* nine times out of ten, without reading, agree 82 % of the time. **Cohen's kappa** (1960) takes that out.
# With $P_o$ the observed agreement, and $p_k$, $q_k$ how often the first and the second person give label $k$,
#
# $$\kappa = \frac{P_o - P_e}{1 - P_e}, \qquad P_e = \sum_k p_k q_k,$$
#
# $P_e$ being the agreement if each drew labels at random at these rates.


# %%
def cohen(table):
    p = np.array(table) / np.sum(table)
    by_chance = p.sum(axis=1) @ p.sum(axis=0)
    return (np.trace(p) - by_chance) / (1 - by_chance)


made_up = {"both labels common": [[45, 5], [5, 45]], "one label rare": [[88, 5], [5, 2]]}
share = np.linspace(0.5, 0.95, 91)
chance = share**2 + (1 - share) ** 2
ax = plots.clean_axes(size=(6.4, 3.6))
for k, observed in enumerate((0.95, 0.9, 0.8)):
    kappa = (observed - chance) / (1 - chance)
    kappa[share > (1 + observed) / 2] = np.nan  # who share such habits agree more often
    ax.plot(share, kappa, plots.LINES[k], color=plots.COLOURS[k], label=f"{observed:.0%} agreement")
ax.axhline(0, color="#BBBBBB", zorder=0)
ax.set(xlabel="share of the more frequent label", ylabel="Cohen's kappa", ylim=(-0.2, 1))
ax.set_title("Two people with the same habits (formula)")
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(0, 0.36))
plt.show()
pd.Series({name: cohen(table) for name, table in made_up.items()}, name="Cohen's kappa").round(2).to_frame()

# %% [markdown]
# **What to see.** Kappa falls along each line although agreement stays, and both made-up tables agree on 90 of 100
# items. This is the **prevalence paradox** (Feinstein & Cicchetti 1990): the rarer a label, the more agreement chance
# explains, and the less is left for kappa. Below 0 people agree less than by chance. A line ends where two people with
# such habits must agree more often than it says. Kappa asks whether people can *tell the labels apart*, and
# on items of one kind nobody can show that. So compare kappas only between sets with similar labels, and give percent
# agreement beside them.
#
# **Fleiss' kappa** (1971) is for many people. With $n_{ij}$ of the $n_i$ answers to item $i$ being label $j$, and $p_j$
# the share of label $j$ among all answers, $P_o$ is the mean over items of
#
# $$P_i = \frac{\sum_j n_{ij} (n_{ij} - 1)}{n_i (n_i - 1)}, \qquad \text{and} \quad P_e = \sum_j p_j^2.$$

# %%
dense, dense_gold = crowds.load_crowd("probes")["G5"]
counts = crowds.label_counts(dense).to_numpy()
n = counts.sum(axis=1)
observed = ((counts * (counts - 1)).sum(axis=1) / (n * (n - 1))).mean()
chance = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
by_hand = (observed - chance) / (1 - chance)
assert np.isclose(by_hand, agreement.fleiss_kappa(dense))
print(f"Fleiss' kappa, G5 of the probes (simulated): {by_hand:.2f}")

# %% [markdown]
# On the human answers of `lalor2016`, `fleiss_kappa` gives .60 for G5 and .43 for G4, as published (Lalor, Wu & Yu
# 2016); `tests/test_agreement.py` holds it to them. **Krippendorff's alpha** (2004) is one less the observed over the
# expected disagreement. `agreement.agreement` gives all four, with intervals from resampled items (*bootstrap*):

# %%
tables = {"class, G4": class_responses, "sparse crowd": wide, "30 of the dense crowd": dense.head(30)}
found = {name: agreement.agreement(table, SEED, draws=300).round(2) for name, table in tables.items()}
pd.concat(found, axis=1, names=["simulated"])

# %% [markdown]
# **Check.** Fleiss and Krippendorff are nearly the same. Cohen's mean over pairs has no interval where pairs share few
# items, and is not to be relied on there. No kappa is *good* as such: low agreement can mean careless people, or items
# that leave room for two opinions. The next sections take these apart.
#
# ## 5 One label per item: consensus
#
# The **majority** is the obvious choice. With an even number of answers there are ties, and a tie is no label:
# `consensus` says None rather than draw one. Against the gold labels a tie counts one half, as drawing would give on
# average.

# %%
majority = consensus.consensus(answers)
credit = consensus.credit(majority, gold)
print(f"{majority['tie'].sum()} ties; the majority is right on {credit.mean():.3f} of the items")
majority[majority["tie"]].head(2)

# %% [markdown]
# A majority counts everyone alike. **Dawid & Skene** (1979) give each respondent $r$ a table of errors (a *confusion
# matrix*), $e_r(k \to l)$: how often does $r$ say $l$ when the truth is $k$? With $\pi$ the share of *entailment*
# (*yes*), Bayes' rule gives for an item on which respondents $r$ say $l_r$
#
# $$\log \frac{P(\text{yes})}{P(\text{no})} = \log \frac{\pi}{1 - \pi}
# + \sum_r \log \frac{e_r(\text{yes} \to l_r)}{e_r(\text{no} \to l_r)}.$$
#
# Someone whose two rows are equal, who says *yes* as often whatever the truth, adds $\log 1 = 0$. The tables need the
# truth, and the truth the tables; so do both in turn until nothing changes (*expectation maximization*, EM), beginning
# with the majority.


# %%
def dawid_skene(answers, steps=100):
    item, items = pd.factorize(answers["item_id"])
    person, people = pd.factorize(answers["respondent"])
    said = (answers["answer"] == "entailment").to_numpy(int)
    p = np.bincount(item, said) / np.bincount(item)  # P(entailment) of each item
    for _ in range(steps):
        truth = np.stack([1 - p, p])
        errors = np.zeros((len(people), 2, 2))  # person, truth, answer
        for k in (0, 1):
            np.add.at(errors, (person, k, said), truth[k, item])
        errors /= errors.sum(axis=2, keepdims=True)
        tells = np.log(np.clip(errors[person, :, said], 1e-10, None))  # answers x truth
        log_odds = np.bincount(item, tells[:, 1] - tells[:, 0]) + np.log(p.mean() / (1 - p.mean()))
        p = 1 / (1 + np.exp(-np.clip(log_odds, -500, 500)))
    return pd.Series(p, items), pd.DataFrame(errors.reshape(-1, 4), people, ["no→no", "no→yes", "yes→no", "yes→yes"])


by_hand, errors = dawid_skene(answers)
library = consensus.consensus(answers, "dawid-skene")["entailment"]
assert np.allclose(by_hand[library.index], library, atol=0.03)
assert ((by_hand[library.index] > 0.5) == (library > 0.5)).all()
print("The library's labels are the same, its probabilities within 0.03 (it stops a little earlier).")

# %% [markdown]
# Three people's tables, with gold beside them. Column `kind` says how the person was simulated:

# %%
tables = {}
for name in ("sim-065", "sim-119", "sim-147"):
    one = answers[answers["respondent"] == name]
    counted = pd.crosstab(one["item_id"].map(gold), one["answer"], normalize="index").rename_axis("truth")
    estimate = pd.DataFrame(errors.loc[name].to_numpy().reshape(2, 2)[::-1, ::-1], counted.index, counted.columns)
    tables[name, who["kind"][name]] = pd.concat({"estimate": estimate, "counted with gold": counted}, axis=1)
pd.concat(tables, names=["respondent", "kind"]).round(2)

# %% [markdown]
# **Check.** The model used no gold label, and its estimates are close to the counts. Where the two rows of a person are
# nearly equal, as with the last, the answers hardly count.
#
# `compare` holds several methods against gold: votes weighted by agreement with the outcome (*wawa*), and models with
# one accuracy per person (*one-coin*), with tables (*dawid-skene*), or in which people know or guess (*mace*). The same
# for the human answers of `snow2008`, from the record, with *glad*: items differ in difficulty and people in ability.

# %%
methods = ["majority", "wawa", "one-coin", "dawid-skene", "mace"]
compared = consensus.compare(answers, gold, methods, SEED)
snow = pd.DataFrame(record["snow2008"]["compare"]).set_index("method")
ax = plots.clean_axes(size=(7, 3.4))
tables = {"sparse crowd (simulated)": compared, "snow2008 (164 people, record)": snow}
for k, (name, table) in enumerate(tables.items()):
    table = table.reindex([*methods, "glad"])
    y = np.arange(len(table)) + 0.2 * k - 0.1
    error = [table["accuracy"] - table["low"], table["high"] - table["accuracy"]]
    ax.errorbar(
        table["accuracy"], y, xerr=error, fmt=plots.MARKERS[k], color=plots.COLOURS[k * 2], capsize=3, label=name
    )
ax.set(yticks=range(len(table)), yticklabels=table.index, xlabel="share of 800 items with the gold label, 95 %")
ax.invert_yaxis()
ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
columns = ["accuracy", "log_loss", "difference", "difference_low", "difference_high", "seconds"]
snow.loc[[*methods, "glad"], columns].astype(float).round(3)

# %% [markdown]
# **What to see.** In both crowds the models are better than the majority, on `snow2008` by about three points (the
# interval of the paired `difference` excludes 0), and hardly differ among themselves. But Dawid–Skene's probabilities
# are *worse* than the majority's shares: see `log_loss`, minus the log of the gold label's probability. The model takes
# errors as independent given the truth; where an item misleads many people, it is sure and wrong. *glad*, which knows
# that items differ, is better here, and slower. Use Dawid–Skene's labels; distrust its probabilities.
#
# ## 6 Who reads, and who does not
#
# `quality` lists, without gold: how often somebody agrees with the others on the same items, and the **skill** from
# the confusion matrix; with two labels, the share of yes said to yes plus that of no said to no, less 1. It is 1 for
# who never errs and 0 for who answers without reading, whatever labels are preferred. With gold, accuracy is beside
# them.

# %%
quality = workers.quality(answers, gold)
ax = plots.clean_axes(size=(6.4, 4))
groups = {"who read": ~who["spammer"], "random": who["kind"] == "random", "constant": who["kind"] == "constant"}
for k, (name, members) in enumerate(groups.items()):
    some = quality[members.loc[quality.index]]
    style = {"color": plots.COLOURS[(6, 0, 5)[k]], "marker": plots.MARKERS[k], "alpha": 0.8, "linewidth": 0}
    ax.scatter(some["skill"], some["accuracy"], 6 * some["n"] ** 0.5, label=name, **style)
ax.set(xlabel="skill, from answers alone", ylabel="accuracy, from gold")
ax.set_title("164 people (simulated); larger: more answers")
ax.legend(frameon=False, loc="lower right")
plt.show()
print(f"Spearman's correlation: {quality['skill'].corr(quality['accuracy'], method='spearman'):.2f}")
quality[["n", "agreement", "skill", "median_seconds", "accuracy"]].head(4).round(2).assign(kind=who["kind"])

# %% [markdown]
# **What to see.** Skill is found without gold and orders people much as gold does (Spearman's correlation .86). Those
# who do not read lie at the lower left, with them two big pale circles: tired readers. The small points scatter:
# twenty answers are few.
#
# Where to draw the line? A low number alone could be bad luck or hard items. `spam.suspects` tests four things and
# gives its reasons: agreement no better than chance *and* lower than a typical respondent's on these items; nearly all
# answers one label; too fast; answers in a pattern. The p-values, over people and criteria together, are corrected so
# that few of the suspects are expected to be false (Benjamini & Hochberg 1995). *unclear* are those with too few
# answers to tell from chance.

# %%
pd.set_option("display.max_colwidth", 150)
verdicts = spam.suspects(answers)
print(verdicts["verdict"].value_counts().to_dict())
verdicts[["n", "reasons"]].head(4)

# %%
suspect = (verdicts["verdict"] == "suspect").loc[who.index]
untimed = (spam.suspects(answers.drop(columns="seconds"))["verdict"] == "suspect").loc[who.index]
for name, found in {"all four tests": suspect, "without seconds": untimed}.items():
    print(f"{name}: {found.sum()} suspects, {(found & who['spammer']).sum()} of the {who['spammer'].sum()} spammers")
blind = pd.DataFrame(record["spammers found (simulated)"]).set_index("answers")
blind[["respondents", "spammer", "suspect", "precision", "recall"]].round(2)

# %% [markdown]
# **Check.** Times give spammers away: with them **precision** (the share of suspects who are spammers) is 1 and
# **recall** (the share of spammers who are suspects) 19 of 20; without them precision stays, recall is 12 of 20. The
# table, from the record, adds up twenty simulated crowds without times and order. With forty answers or more about nine
# in ten are right both ways; of those who gave only twenty, a third stay unnoticed, and some accused did read. Real
# spammers may be cleverer than simulated ones. A verdict is a reason to look, not to withhold pay.
#
# The next cell lists the suspects among the 164 people of `snow2008`, and shows what labels gain if suspects are left
# out; in the simulated crowd, also if the two tired people of the figure are.

# %%
found = pd.DataFrame(record["snow2008"]["suspects"]).set_index("respondent")["verdict"]
people = pd.DataFrame(record["snow2008"]["quality"]).set_index("respondent")
print(people.loc[found.index[found == "suspect"], ["n", "agreement", "skill", "accuracy"]].round(2))

suspects, tired = list(suspect.index[suspect]), ["sim-096", "sim-119"]
rows = {"simulated, all": compared}
left_out = {"suspects": suspects, "the two tired": tired, "suspects and the two tired": suspects + tired}
for name, out in left_out.items():
    read = answers[~answers["respondent"].isin(out)]
    rows[f"simulated, without {name}"] = consensus.compare(read, gold, ["majority", "dawid-skene"], SEED)
rows["snow2008, all"] = snow
rows["snow2008, without suspects"] = pd.DataFrame(record["snow2008"]["compare_without_suspects"]).set_index("method")
accuracies = {name: table.loc[["majority", "dawid-skene"], "accuracy"].astype(float) for name, table in rows.items()}
pd.DataFrame(accuracies).T.rename_axis(columns="accuracy").round(3)

# %% [markdown]
# **Check.** On `snow2008` the plain majority without the suspects is as good as Dawid–Skene: most of what the model
# gained was knowing whom not to believe. In the simulated crowd the majority gains nothing without the suspects: what
# harms it most are two tired people with 1,180 answers hardly better than chance. They read, so they are no suspects;
# without them it gains nearly three points, and without both four. A filter keeps or drops; a model can give little
# weight.
#
# ## 7 Practice and fatigue, and a trap
#
# Do people get better or tired? Plot accuracy against the order of a person's answers. `curve` gives it in bins, and
# `adjusted` beside it: each answer less its person's mean, plus the mean of all, so that people are compared with
# themselves only.

# %%
equal = {"learning": 1.0, "tiring": 1.0}
changing, kind = simulate_crowd.sparse_answers(gold[:400], 40, 20, seed=SEED, kinds=equal)
learns = changing["respondent"].map(kind["kind"]) == "learning"
tires = answers["respondent"].map(who["kind"]) == "tiring"
together = workers.curve(answers, gold, bins=6)
curves = {
    "all answers alike": (together, "accuracy", "-"),
    "the same without all who tire": (workers.curve(answers[~tires], gold, bins=6), "accuracy", ":"),
    "within people": (together, "adjusted", "--"),
    "learning, within people": (workers.curve(changing[learns], gold, bins=6), "adjusted", "--"),
    "tiring, within people": (workers.curve(changing[~learns], gold, bins=6), "adjusted", "--"),
}
figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.8), layout="constrained", sharey=True)
ticks = [3, 10, 30, 100, 300]
for k, (name, (table, column, line)) in enumerate(curves.items()):
    ax, x = plots.clean_axes(axes[k // 3]), (table["from"] * table["to"]) ** 0.5
    ax.plot(x, table[column], plots.MARKERS[k] + line, color=plots.COLOURS[(5, 6, 2, 3, 0)[k]], label=name)
    ax.set(xscale="log", xlabel="a person's k-th answer", xticks=ticks, xticklabels=ticks)
    ax.legend(frameon=False, loc="lower left", fontsize=9)
for _, row in together.iterrows():
    middle = (row["from"] * row["to"]) ** 0.5
    axes[0].text(middle, row["accuracy"] - 0.04, f"{row['respondents']:.0f}", fontsize=8, ha="center")
axes[0].set(ylabel="share right", title="Sparse crowd (simulated)", ylim=(0.4, 1))
axes[1].set_title("A crowd in which everyone learns or tires (simulated)", fontsize=10.5)
plt.show()
spans = ["1–20", "21–100", "101–200", "201–400", "401–800"]
scored = answers.assign(answers=pd.cut(answers["order"], [0, 20, 100, 200, 400, 800], labels=spans))
scored["right"] = scored["answer"] == scored["item_id"].map(gold)
by_span = scored.pivot_table("right", "respondent", "answers", observed=True)
by_span.loc[busy.index[:6]].round(2).assign(kind=who["kind"])

# %% [markdown]
# **What to see.** Left, accuracy falls by fifteen points and more along the solid line (the numbers count the people
# behind each point), as if people tired. Two things are behind that. Two busy people really tire: the table has
# `sim-096` fall from .90 to one half, and `sim-119` from .95 to .41, and they gave a third of the answers in the last
# two bins. But leave out all who tire (dotted), and the line still falls, from .80 to .68 and .73: late answers come
# from a few people who stay for hundreds of items, and some of these were poor from the start. That is **Simpson's
# paradox**: a trend of the whole that its parts do not have. Compared with themselves (dashed), people together
# hardly change. Right, where everyone learns or tires, the same comparison finds it; the last points are those of
# very few people.
#
# `trend` says it in numbers: change of accuracy for ten more answers. *Pooled* is the solid line; *within* compares
# people with themselves, and its interval allows for dependence between a person's answers.

# %%
trends = {
    "sparse crowd": workers.trend(answers, gold),
    "all learn": workers.trend(changing[learns], gold),
    "all tire": workers.trend(changing[~learns], gold),
}
pd.concat(trends).round(4)

# %% [markdown]
# **Check.** Within people the interval of the sparse crowd includes 0: its sixteen who learn or tire go opposite ways,
# and a straight line makes little of a fall within the first hundred answers. The table of single people shows it.
#
# ## 8 How many answers are enough?
#
# It depends on what for. Draw one, two, three, ... of each item's answers at random and look at two things: how often
# the majority is the gold label, and how far the shares are from where they should be, in **total variation** (half
# the sum of the absolute differences, 0 to 1). The second has a formula. The mean absolute value of a normal variable
# is $\sigma\sqrt{2/\pi}$, so a share, with $\sigma^2 = p(1-p)/n$, errs by about $\sqrt{2p(1-p)/(\pi n)}$; with two
# labels that is the total variation, with more take half the sum over labels.

# %%
few = workers.enough(answers, gold, range(1, 11), REPEATS, SEED)
g4 = crowds.load_crowd("probes")["G4"]
sizes = [1, 2, 5, 10, 20, 50, 100]
spread = workers.enough(crowds.to_long(g4.responses), g4.gold, sizes, max(2, REPEATS // 4), SEED)
shares = crowds.label_distributions(g4.responses)[list(LABELS)]
formula = [(2 * shares * (1 - shares) / (np.pi * size)).pow(0.5).sum(axis=1).mean() / 2 for size in sizes]
recorded = {name: pd.DataFrame(table).set_index("size") for name, table in record["snow2008"]["enough"].items()}
human = {n: pd.DataFrame(record["lalor2016"][n]["enough"]).set_index("size") for n in ("G5", "G4")}
left = {"majority (simulated)": few} | {f"{name}, snow2008": table for name, table in recorded.items()}
right = {"probes G4 (simulated)": spread} | {f"{n}, lalor2016": table for n, table in human.items()}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for ax, tables, column in zip(axes, (left, right), ("accuracy", "total_variation"), strict=True):
    for k, (name, table) in enumerate(tables.items()):
        style = plots.MARKERS[k] + plots.LINES[k]
        plots.clean_axes(ax).plot(table.index, table[column], style, color=plots.COLOURS[(5, 2, 0)[k]], label=name)
    ax.set(xlabel="answers per item")
    ax.legend(frameon=False, fontsize=9)
axes[0].set(ylabel="share of items with the gold label", xticks=range(1, 11))
axes[1].set(ylabel="total variation from all answers", xscale="log", yscale="log")
axes[1].set(yticks=[0.02, 0.05, 0.1, 0.2, 0.4], yticklabels=[0.02, 0.05, 0.1, 0.2, 0.4])
axes[1].set(xticks=[1, 3, 10, 30, 100], xticklabels=[1, 3, 10, 30, 100])
axes[1].minorticks_off()
plt.show()
spread[["total_variation"]].assign(formula=formula).T.round(3)

# %% [markdown]
# **What to see.** Left, a second answer adds nothing to a majority, since it only makes ties, and each further pair
# brings less than the one before. On `snow2008`, Dawid–Skene with five answers is about as good as the majority of
# ten. With one answer per item it is worse than the majority (.67 against .73), for nobody can be compared with
# anybody. Right, the error of a distribution falls as $1/\sqrt n$: a line of slope −½, without a bend where one could
# stop. With ten answers it is still 0.10 to 0.14. Labels are cheap, distributions are not.
#
# ## 9 Label distributions from few answers
#
# Three people of three said *entailment*. Is the share of *neutral* 0? Say that before any answer every distribution
# is equally plausible: a **Dirichlet** distribution with one pseudo-count per label. Answers are added to the counts;
# the mean is the smoothed share, and each share has a Beta distribution, whose quantiles are an interval:

# %%
three = pd.DataFrame([[3, 0, 0]], index=["an item"], columns=LABELS)
posterior = three.to_numpy()[0] + 1
sure = distributions.intervals(three)
assert np.allclose(sure["share"], posterior / posterior.sum())
assert np.allclose(sure["high"], beta.ppf(0.975, posterior, posterior.sum() - posterior))
sure.round(2)

# %% [markdown]
# After three answers of three the share of *neutral* may still be one half. (`smooth` gives the means alone.) How this
# narrows, on an item of the probes that divides the simulated crowd:

# %%
item = "g4c26"
all_counts = crowds.label_counts(pd.concat([stratum.responses for stratum in crowds.load_crowd("probes").values()]))
all_gold = pd.concat([stratum.gold for stratum in crowds.load_crowd("probes").values()])
sizes = [3, 10, 30, 100, 300]
drawn = pd.DataFrame([rng.multivariate_hypergeometric(all_counts.loc[item], n) for n in sizes], sizes, list(LABELS))
sure = distributions.intervals(drawn)
ax = plots.clean_axes(size=(6.8, 3.6))
for k, label in enumerate(LABELS):
    one, colour = sure.xs(label, level="label"), plots.COLOURS[(2, 5, 0)[k]]
    error = [one["share"] - one["low"], one["high"] - one["share"]]
    x = np.array(sizes) * 1.12 ** (k - 1)  # side by side
    ax.errorbar(x, one["share"], yerr=error, fmt=plots.MARKERS[k], color=colour, capsize=3, label=label)
    share = all_counts.loc[item, label] / all_counts.loc[item].sum()
    ax.axhline(share, color=colour, linestyle=plots.LINES[k], linewidth=1)
ax.set(xscale="log", xticks=sizes, xticklabels=sizes, xlabel="answers drawn")
ax.set(ylabel="share, 95 % interval", ylim=(0, 1))
ax.set_title(f"{item} (simulated); lines: all 1,000 answers")
ax.minorticks_off()
ax.legend(frameon=False, loc="upper right", fontsize=9)
plt.show()

# %% [markdown]
# **What to see.** With three answers nearly everything is possible. With thirty it is clear that *neutral* is rare;
# which of the other two is more frequent is open even with 300.
#
# How much people disagree is the **entropy** of the shares, $-\sum_l p_l \log_2 p_l$, in bits: 0 where all agree,
# $\log_2 3 = 1.58$ where three labels are equally frequent. Of few answers it comes out too low, since rare labels do
# not occur. A prior mends that, if it is a good one: `prior_of` takes it from all items together (*empirical Bayes*).

# %%
sizes = [2, 3, 5, 10, 20, 50, 100]
means = pd.DataFrame(index=sizes, columns=["observed shares", "uniform prior", "prior of the crowd"], dtype=float)
for n in sizes:
    drawn = [rng.multivariate_hypergeometric(row, n) for row in all_counts.to_numpy()]
    drawn = pd.DataFrame(drawn, all_counts.index, all_counts.columns)
    estimates = [distributions.entropy(drawn, prior)["entropy"] for prior in (1.0, distributions.prior_of(drawn))]
    means.loc[n] = [distributions.bits(drawn / n).mean(), *(each.mean() for each in estimates)]
ax = plots.clean_axes(size=(6.8, 3.6))
for k, name in enumerate(means):
    ax.plot(sizes, means[name], plots.MARKERS[k] + plots.LINES[k], color=plots.COLOURS[(5, 2, 0)[k]], label=name)
actual = distributions.bits(all_counts.div(all_counts.sum(axis=1), axis=0)).mean()
ax.axhline(actual, color="#BBBBBB", linewidth=3, zorder=0, label="all 1,000 answers")
ax.set(xscale="log", xticks=sizes, xticklabels=sizes, xlabel="answers per item")
ax.set(ylabel="mean entropy, bits", ylim=(0, 1.4))
ax.set_title("180 items of the probes (simulated crowd)")
ax.minorticks_off()
ax.legend(frameon=False, loc="lower right", fontsize=9)
plt.show()
by_uniform = (digamma(4) - digamma(2)) / np.log(2)  # mean entropy of three shares that are uniform on the simplex
print(f"mean entropy: {actual:.2f} bits in this crowd, {by_uniform:.2f} under the uniform prior alone")

# %% [markdown]
# **What to see.** Observed shares understate entropy. The uniform prior overstates it: it expects 1.20 bits on average,
# this crowd has 0.89. The crowd's prior has learnt that from the answers themselves. (One draw per size.)
#
# **Do models fail where people disagree?** Where the data can be had, the next cell asks it of 90 model checkpoints on
# the 9,824 SNLI test pairs (Vania et al. 2021) and the four or five labels that people gave each pair.

# %% tags=["nbval-skip"]
if available("model-crowd/snli_irt_all_coded.csv") and available("snli/snli_1.0_test.jsonl.gz"):
    snli = load_corpus("snli", "test").to_pandas().set_index("item_id")
    disagreement = distributions.bits(snli[[f"p_{label}" for label in LABELS]])
    wrong = 1 - crowds.load_model_crowd().mean()
    print(distributions.entropy_against_models(disagreement, wrong, SEED, draws=300).round(2).to_string())
else:
    print("Not at hand: fetch.fetch downloads both files once (see README).")

# %% [markdown]
# **Check.** Spearman's correlation is .32 (a test repeats it): models err more where people disagree. Four or five
# labels tell an item's entropy only roughly, so the relation itself is probably stronger.
#
# ## 10 Gold against majority
#
# The gold label is what an author or a few experts decided. The crowd may differ, for two reasons: too few answers, or
# a real difference. `gold_against_majority` lists the items, and with `p_gold` the posterior probability that gold
# would be the most frequent label after all, had everybody answered. The figure shows 4GS-C, the thirty items of G4
# whose gold label is *contradiction*:

# %% tags=["nbval-skip"]
names = {"probes": "simulated crowd of the probes"}
if available("lalor2016/data_emnlp2016.zip"):
    names["lalor2016"] = "people, lalor2016"
size = (4.6 * len(names), 3.6)
figure, axes = plt.subplots(1, len(names), figsize=size, layout="constrained", sharey=True, squeeze=False)
for ax, (name, title) in zip(axes[0], names.items(), strict=True):
    responses, labels_of = crowds.load_crowd(name)["G4"]
    counts = crowds.label_counts(responses).loc[crowds.groups(labels_of, "G4")["4GS-C"]]
    sure = distributions.intervals(counts).xs("contradiction", level="label").sort_values("share")
    overruled = sure.index.isin(distributions.gold_against_majority(counts, labels_of).index)
    for k, (which, label) in enumerate(((overruled, "another label is more frequent"), (~overruled, "gold is"))):
        y, some = np.flatnonzero(which), sure[which]
        error = [some["share"] - some["low"], some["high"] - some["share"]]
        style = {"fmt": plots.MARKERS[k], "color": plots.COLOURS[(5, 2)[k]], "mfc": ("white", None)[k]}
        plots.clean_axes(ax).errorbar(some["share"], y, xerr=error, markersize=5, label=label, **style)
    ax.set(xlabel="share of the gold label, 95 %", title=f"4GS-C, {title}", xlim=(0, 1))
axes[0, 0].set(ylabel="30 items, by share", yticks=[])
axes[0, 0].legend(frameon=False, fontsize=9, loc="lower right")
plt.show()
differ = distributions.gold_against_majority(all_counts, all_gold).drop(columns="n_responses")
differ.sort_values("p_gold").round(2)

# %% [markdown]
# **What to see.** A row per item. An interval says how sure the share of gold is; whether another label is really more
# frequent, `p_gold` says. The table has all eleven such items of the 180 simulated ones: for nine it is no accident,
# for two (g5c24 and g5c30) it is open. In the human data (Lalor, Wu & Yu 2016; drawn where they can be had) 13 of the
# 30 items have another most frequent label than gold, ten of them beyond reasonable doubt (`p_gold` below .05; a test
# repeats both counts).
#
# Part of that is a habit that many share. On the ninety G4 items of `lalor2016` the majority finds gold on .81, the
# one-coin model, which knows only how good people are, on .82, and Dawid–Skene, which knows which labels they confuse,
# on .90 (record).
#
# Why that matters for fine-tuning: categorical cross-entropy (CCE), $-\sum_l t_l \log p_l$, pulls the model's
# probabilities $p$ towards the target $t$; its gradient with respect to the logits is $p - t$. Three models, three
# targets, one such item:

# %% tags=["nbval-check-output"]
item = "g4c30"
crowd = (all_counts.loc[item] / all_counts.loc[item].sum()).to_numpy()
one = np.eye(3)
targets = {"gold": one[LABELS.index(all_gold[item])], "majority": one[crowd.argmax()], "crowd": crowd}
models = {
    "sure of gold": 0.97 * targets["gold"] + 0.01,
    "sure of majority": 0.97 * targets["majority"] + 0.01,
    "as the crowd": crowd,
}
loss = {name: {of: -(target * np.log(p)).sum() for of, target in targets.items()} for name, p in models.items()}
pd.DataFrame(loss).T.rename_axis(columns="CCE against").round(2)

# %% [markdown]
# **Check.** Each target rewards another model (the smallest loss of each column). Against gold, the model that doubts
# as people do pays for it, and the gradient rests only when all doubt is gone: right if the experts know, wrong if the
# item leaves room. Against the majority, the experts are overruled, and a near tie becomes a certainty. The crowd's
# distribution keeps the doubt.
#
# This is the choice that crowd-informed fine-tuning (CIFT, notebook 00) is about. Its loss takes the crowd's
# distribution as target, too, but measures the distance by the mean squared error (MSE). Before you choose, read the
# items on which gold and majority differ: here 11 of 180 simulated items, and 17 of the 90 human G4 items.
#
# ## Recap
#
# - Plan by arithmetic: both errors of a qualification, all paid time, $1/h^2$ answers for a share, hundreds for a
#   difficulty.
# - Kappa is agreement beyond chance, and depends on how common the labels are. There is no universal "good".
# - Models of errors beat the majority where some people do not read; in real answers, leaving those people out did
#   nearly the same.
# - People who do not read can be found without gold, if they gave enough answers. Look before you judge.
# - Late answers come from other people than early ones: compare people with themselves.
# - Ten answers give a usable label (seven to nine still gained two points on `snow2008`); a distribution takes a
#   hundred, or an interval.
# - Where gold and majority differ, the loss decides whom the model believes.

# %% [markdown]
# ## Exercises
#
# 1. Plan a collection of 100 items with twenty answers each for 100 of your currency, `per_person=30`. What wage is
#    left? What would you cut?
# 2. Open `build/crowd/form.html` in a browser, answer it, and read your file with `questionnaire.read`. Then delete a
#    row of it and read again.
# 3. Make a crowd in which one in ten does not read: `simulate_crowd.sparse_answers(gold, kinds={"careful": 0.9,
#    "random": 0.1})`. Does Dawid–Skene find the gold labels, and `spam.suspects` the spammers? Raise the share: which
#    breaks first, and why?
# 4. In section 5 edit `dawid_skene` so that it starts from the *minority*: `p = 1 - p`, before the loop. What does it
#    converge to, and why can the answers alone not say that this is wrong?
# 5. Without `seconds`, vary `alpha` of `spam.suspects` between 0.001 and 0.5, for ten seeds of `sparse_answers`. What
#    do precision and recall cost each other?
# 6. Redo the entropy figure (section 9) with the prior of *another* crowd, G5's for the items of G4. What goes wrong?

# %% [markdown]
# ## Where next
#
# `04_fit_irt` turns a crowd's right and wrong answers into item curves, `05_select_items` asks which items deserve to
# stay, and `12_rte_case_study` fine-tunes on them with gold, majority and distribution. On the command line, `cift irt
# fit ANSWERS.csv --gold KEY.csv` does the first on your own file.
