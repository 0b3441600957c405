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
# - find one label an item by majority or by Dawid and Skene's model, and find the people who do not read;
# - give label distributions with intervals, and say where gold and majority differ and what that does to a model.
#
# **Time.** About 45 minutes to read; it runs in less than a minute on a laptop with 2 cores. **Needs:** the embedded
# data and records, no network; two cells also show real answers where they can be had. **Makes:** a questionnaire in
# `build/`, nothing that is kept.

# %% [markdown]
# ## Set-up
#
# Two **simulated** crowds serve here, because of them the truth is known. The crowd of the `probes` is *dense*: 1,000
# respondents each answered all ninety items of a stratum. The other one is *sparse*, as on a paid platform: each item
# has ten answers, and people differ in how many they give and in whether they read at all. What real people did comes
# from the record `results/consensus.json`.

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
# A **qualification** is a short test beforehand, with a pass mark. It can fail twice: someone who guesses gets
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
pd.DataFrame(checks).T.rename_axis("wrong answers allowed").astype(float).round(3)

# %% [markdown]
# **Check.** Three checks catch 96 % of those who guess throughout, $1 - (1/3)^3$, but whoever rejects at the first
# wrong answer also rejects 6 % of honest people, $1 - 0.98^3$. Five checks with one slip allowed catch as many and
# accuse hardly anybody. Decide, and tell people, before the first answer comes in.
#
# ### 1.3 What it costs
#
# Pay for time, and for all of it: practice, checks and instructions are work. 180 items with ten answers each, thirty
# items a person at twelve seconds, 15 an hour, and a platform that adds 30 %:

# %% tags=["nbval-check-output"]
terms = {"seconds_per_item": 12, "hourly_wage": 15, "extra_items": 8, "extra_minutes": 2, "platform_fee": 0.3}
costs = {each: collecting.payment(180, 10, each, **terms) for each in (10, 30, 90)}
pd.DataFrame(costs).T.rename_axis("items a person").astype(float).round(2)

# %% [markdown]
# In the middle row everybody works $(30 + 8) \cdot 12/60 + 2 = 9.6$ minutes, for 2.40; the total holds the fee. Longer
# sessions are cheaper, for the extra items are paid once a person; but people tire, and fewer people mean less
# variety.
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
# `answers_for_share` solves for Wilson's interval, which also holds near 0 and 1. Ten answers give a share to plus or
# minus 0.3 only. They are enough for a label, as section 8 shows; not for a distribution.
#
# ### 1.5 How many answers for a difficulty
#
# In the two-parameter logistic model (2PL; notebook 04) an item has a discrimination $a$ and a difficulty $b$, and
# someone of ability $\theta$ is right with probability $P = 1/(1 + e^{-a(\theta - b)})$. What one answer tells about
# $(a, b)$ is its Fisher information, integrated over the people, $\theta \sim N(0, 1)$:
#
# $$I = \mathrm{E}_\theta\!\left[ P(1-P) \begin{pmatrix} (\theta - b)^2 & -a(\theta - b) \\ -a(\theta - b) & a^2
# \end{pmatrix} \right], \qquad \mathrm{SE}(b) = \sqrt{\frac{(I^{-1})_{bb}}{n}}.$$


# %%
def se_of_b(a, b, n):
    theta = np.linspace(-8, 8, 2001)
    people = np.exp(-(theta**2) / 2)
    p = 1 / (1 + np.exp(-a * (theta - b)))
    slopes = np.stack([theta - b, np.full_like(theta, -a)])
    information = (people / people.sum() * p * (1 - p) * slopes) @ slopes.T
    return np.sqrt(np.linalg.inv(information)[1, 1] / n)


three = pd.DataFrame({"a": 1.5, "b": [0.0, -1.0, -2.0]}, index=["b 0", "b −1", "b −2"])
by_hand = [se_of_b(a, b, CLASS) for a, b in three.to_numpy()]
assert np.allclose(collecting.expected_errors(three, CLASS)["b_se"], by_hand, rtol=1e-3)

ax = plots.clean_axes(size=(6.4, 3.8))
people = np.geomspace(10, 3000, 60)
for k, (name, (a, b)) in enumerate(three.T.items()):
    ax.plot(people, [se_of_b(a, b, n) for n in people], plots.LINES[k], color=plots.COLOURS[k], label=f"a 1.5, {name}")
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
# of middle difficulty takes about 250 respondents, one that nearly all get right almost 1,900: hence the thousand of
# Lalor, Wu & Yu (2016).
#
# The formula takes abilities as known. They are not, so it is a lower bound. `calibration_errors` sends simulated
# crowds through the whole calibration and compares:

# %%
group = truth[truth.index.str.startswith("g4c")]
sizes = collecting.calibration_errors(group, [CLASS, 100, 1000], REPLICATIONS, SEED)
names = ["b_error", "b_expected", "b_correlation", "a_error", "a_expected", "a_correlation", "needed_priors"]
sizes[names].round(2)

# %% [markdown]
# **Check.** These are thirty items of middle difficulty, the best case. The actual errors of $b$ are near the
# formula's. A class of 25 already puts such items into a good order (`b_correlation`), though the single difficulty is
# uncertain by 0.4, and that only with priors (`needed_priors`: share of crowds too small for maximum likelihood). Of
# the discriminations it learns much less.
#
# ## 2 A class as its own crowd, in twenty minutes
#
# `questionnaire.write` makes `items.csv` and `form.html`, one file that runs in any browser without a network and
# sends nothing. Practice items come first, with feedback; checks are mixed in. We ask the ninety items of the stratum
# G4 and give each student thirty.


# %%
def pick(*items):
    return probes.filter(lambda item: item in items, input_columns="item_id")


asked = probes.filter(lambda stratum: stratum == "G4", input_columns="stratum")
form = questionnaire.write(
    asked,
    Path("../build/crowd"),
    title="What follows from a sentence?",
    contact="Seminar on language models; ask the lecturer",
    practice=pick("g5e03", "g5n03", "g5c01"),
    checks=pick("g5e02", "g5n04", "g5c02"),
    per_person=30,
    seed=SEED,
)
print(form, f"{form.stat().st_size / 1024:.0f} KB")
pd.read_csv(form.with_name("items.csv"))[["item_id", "kind", "hypothesis", "label"]].iloc[[0, 3, -1]]

# %% [markdown]
# To use it: give the file out (a stick, a mail, a shared folder) and the numbers 1, 2, 3, ... to the students; the
# number picks one of 200 balanced parts. At the end each saves a small CSV file and hands it in. Keep `items.csv`,
# with the labels, to yourself. Students are people: the form asks for consent and takes no names; do not make it an
# exam.
#
# Here the class is simulated, in files of the form's own format. The form carries its questions as JSON. One student,
# the last, clicks through without reading.

# %%
inside = questionnaire.contents(form)
kinds = pd.read_csv(form.with_name("items.csv"), index_col="item_id")
would_say = simulate_crowd.respond(truth.loc[kinds.index], kinds["label"], rng.standard_normal(CLASS), rng)
would_say.iloc[-1] = rng.choice(LABELS, len(kinds))
handed_in = form.parent / f"class-of-{CLASS}"
handed_in.mkdir(exist_ok=True)
for number, part in enumerate(inside["parts"][:CLASS]):
    mixed = [inside["items"][place]["item_id"] for place in part] + [item["item_id"] for item in inside["checks"]]
    items = [item["item_id"] for item in inside["practice"]] + list(rng.permutation(mixed))
    typical = 2 if number == CLASS - 1 else 14
    sheet = pd.DataFrame({"item_id": items, "kind": kinds.loc[items, "kind"].to_numpy()})
    sheet = sheet.assign(respondent=f"student-{number + 1}", order=sheet.index + 1, form=inside["id"])
    sheet["answer"] = would_say.loc[number, items].to_numpy()
    sheet["seconds"] = rng.lognormal(np.log(typical), 0.4, len(items)).round(1)
    sheet[questionnaire.COLUMNS].to_csv(handed_in / f"answers-{number + 1}.csv", index=False)

# %% [markdown]
# Reading takes the folder and the form, and refuses files of another form, files with rows missing and edited ones.

# %%
class_answers = questionnaire.read(handed_in, form)
right = class_answers["answer"] == class_answers["item_id"].map(kinds["label"])
by_student = right.groupby([class_answers["respondent"], class_answers["kind"]]).mean().unstack()
by_student["minutes"] = class_answers.groupby("respondent")["seconds"].sum() / 60
class_responses = crowds.to_wide(class_answers[class_answers["kind"] == "item"])
answered = class_responses.notna().sum()
print(f"{len(class_responses)} students; an item has {answered.min()} to {answered.max()} answers")
by_student.sort_values("minutes").head(4).round(2)

# %% [markdown]
# **Check.** The columns are shares of right answers. The student who clicked through needed little more than a minute,
# and missed a check. The others needed about eight minutes and more; with instructions and handing in that makes
# twenty. An able student may miss a check, too: one alone proves nothing.
#
# ## 3 Answers, wide and long
#
# Answers come in two shapes. **Wide**: a row a respondent, a column an item, good where everyone answered everything.
# **Long**: a row an answer, good where most cells would be empty, and the only shape with room for order and seconds.
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
# A few people do most of the work, as everywhere on such platforms. If one of them does not read, a large part of the
# answers is worth nothing.
#
# `crowds.read_answers` reads long files, `crowds.read_responses` wide ones. `labels={"1": "entailment", "0":
# "not_entailment"}` translates codes, `labels={"1": 1.0, "0": 0.0}` reads answers that are already scored, and
# `columns={"respondent": "worker_id"}` renames. Files are wrong in many ways, and it is bad to learn of them one by
# one, so every problem is listed at once. A file with five:

# %%
broken = form.with_name("broken.csv")
rows = "ann,pair-001,entailment,1 ann,pair-001,not_entailment,2 bob,pair-002,perhaps,1 bob,pair-999,entailment,2"
rows = ["respondent,item_id,answer,order", *rows.split(), ",pair-003,entailment,3", "cem,pair-001,n,first"]
broken.write_text("\n".join(rows), encoding="utf-8")
try:
    crowds.read_answers(broken, labels, items=list(gold.index))
except InputError as error:
    print(str(error).replace("; ", ";\n  "))

# %% [markdown]
# **Check.** Five faults, each with its row; "n" is none of them, as an unambiguous initial stands for its label.
# Nothing was skipped quietly: an answer that you do not notice losing is worse than an error.
#
# ## 4 Do they agree?
#
# **Percent agreement** is the share of pairs of answers to the same item that are alike. Two people who say
# *entailment* nine times out of ten, without reading, agree 82 % of the time. **Cohen's kappa** (1960) takes that out:
# with $P_o$ the observed agreement and $P_e$ the agreement of two people who keep their habits but guess,
#
# $$\kappa = \frac{P_o - P_e}{1 - P_e}.$$


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
# explains, and the less is left for kappa. Neither number is wrong: kappa asks whether people can *tell the labels
# apart*, and on items of one kind nobody can show that. So compare kappas only between sets with similar labels, and
# give percent agreement beside them.
#
# **Fleiss' kappa** (1971) is for many people. Let $n_{ij}$ of the $n_i$ answers to item $i$ be label $j$. Agreement on
# an item is the share of pairs that are alike; chance is the sum of the squared shares of the labels:

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
# On the human answers of `lalor2016` the same function gives the published .60 (G5) and .43 (G4) (Lalor, Wu & Yu
# 2016); a test holds it to them. **Krippendorff's alpha** (2004), one less the observed over the expected
# disagreement, copes better with few and unequal numbers of answers. `agreement.agreement` gives all four, with
# intervals from resampled items (*bootstrap*):

# %%
tables = {"class, G4": class_responses, "sparse crowd": wide, "30 of the dense crowd": dense.head(30)}
found = {name: agreement.agreement(table, SEED, draws=300).round(2) for name, table in tables.items()}
pd.concat(found, axis=1, names=["simulated"])

# %% [markdown]
# **Check.** Fleiss and Krippendorff are nearly the same. Cohen's mean over pairs has no interval where pairs share few
# items, and is not to be relied on there. What is a *good* kappa? There is no such number: low agreement can mean
# careless people, or items that leave room for two opinions. The next sections take these apart.
#
# ## 5 One label an item: consensus
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
# A majority counts everyone alike. **Dawid & Skene** (1979) give each respondent a table of errors (a *confusion
# matrix*): how often do they say $l$ when the truth is $k$? With the truth known, that is counting. With everyone's
# errors known, the truth has a posterior by Bayes' rule. Neither is known, so do both in turn until nothing changes:
# this is *expectation maximization* (EM). The start is the majority.


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
errors.loc[busy.head(5).index].assign(kind=who["kind"], answers=busy).round(2)

# %% [markdown]
# **Check.** `yes→no` is how often somebody says *not entailment* when it is. The truth of each simulated person is
# beside it: where the two rows of a person's table are alike (`no→yes` as large as `yes→yes`), the answer has nothing
# to do with the item, and the model gives it no weight. No gold label was used.
#
# `compare` holds several methods against gold: votes weighted by agreement (*wawa*), one accuracy a person
# (*one-coin*), and *mace*, in which people know or guess. The same for the human answers of `snow2008`, from the
# record, with *glad*, in which items differ in difficulty and people in ability.

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
snow[["accuracy", "ties", "log_loss", "difference", "difference_low", "difference_high"]].astype(float).round(3)

# %% [markdown]
# **What to see.** In both crowds the models are better than the majority, by about three points on `snow2008` (the
# table: the interval of the paired `difference` excludes 0), and hardly differ among themselves. But look at
# `log_loss` (minus the log of the gold label's probability): Dawid–Skene's probabilities are *worse* than the
# majority's shares. It takes errors as independent given the truth; where an item misleads many people, it is sure and
# wrong. *glad*, which knows that items differ in difficulty, is better here, and took by far the longest. Use
# Dawid–Skene's labels; distrust its probabilities.
#
# ## 6 Who reads, and who does not
#
# `quality` lists, without gold: how often somebody agrees with the others on the same items, and the **skill** from
# the confusion matrix (1 never errs, 0 answers without reading, whatever labels are preferred). With gold, accuracy is
# beside them.

# %%
quality = workers.quality(answers, gold)
ax = plots.clean_axes(size=(6.4, 4))
groups = {"who read": ~who["spammer"], "random": who["kind"] == "random", "constant": who["kind"] == "constant"}
for k, (name, members) in enumerate(groups.items()):
    some = quality[members.loc[quality.index]]
    style = {"color": plots.COLOURS[(6, 0, 5)[k]], "marker": plots.MARKERS[k], "alpha": 0.8, "linewidth": 0}
    ax.scatter(some["skill"], some["accuracy"], 6 * some["n"] ** 0.5, label=name, **style)
ax.set(xlabel="skill, from answers alone", ylabel="accuracy, from gold")
ax.set_title("164 simulated people; larger: more answers")
ax.legend(frameon=False, loc="lower right")
plt.show()
quality[["n", "agreement", "skill", "median_seconds", "accuracy"]].head(4).round(2).assign(kind=who["kind"])

# %% [markdown]
# **What to see.** Skill is found without gold and orders people much as gold does. Those who do not read lie at the
# lower left. The small points scatter: twenty answers are few.
#
# Where to draw the line? A low number alone could be bad luck or hard items. `spam.suspects` tests four things and
# gives its reasons: agreement no better than chance *and* lower than a typical respondent's on these items; nearly all
# answers one label; too fast; answers in a pattern. The p-values are corrected for the number of people (Benjamini &
# Hochberg 1995).

# %%
pd.set_option("display.max_colwidth", 150)
verdicts = spam.suspects(answers)
print(verdicts["verdict"].value_counts().to_dict())
verdicts[["n", "reasons"]].head(4)

# %%
suspect = (verdicts["verdict"] == "suspect").loc[who.index]
both = (suspect & who["spammer"]).sum()
print(f"simulated crowd: {suspect.sum()} suspects, {both} of them spammers, of {who['spammer'].sum()}")
blind = pd.DataFrame(record["spammers found (simulated)"]).set_index("answers")
blind[["respondents", "spammer", "suspect", "precision", "recall"]].round(2)

# %% [markdown]
# **Check.** Here times gave them away: **precision** (the share of suspects who are spammers) and **recall** (the
# share of spammers who are suspects) are nearly perfect. The table, from the record, is harder: twenty simulated
# crowds without times and order. With forty answers or more about nine in ten are right both ways; of those who gave
# only twenty, a third stay unnoticed, and some accused did read. Real spammers may be cleverer than simulated ones. A
# verdict is a reason to look, not to withhold pay.
#
# On `snow2008` five of 164 people are suspects, and four of them gave 180 to 800 answers each with an accuracy near
# one half. What do labels gain if these are left out?

# %%
read = answers[~answers["respondent"].isin(suspect.index[suspect])]
rows = {
    "simulated, all": compared,
    "simulated, without suspects": consensus.compare(read, gold, ["majority", "dawid-skene"], SEED),
    "snow2008, all": snow,
    "snow2008, without suspects": pd.DataFrame(record["snow2008"]["compare_without_suspects"]).set_index("method"),
}
accuracies = {name: table.loc[["majority", "dawid-skene"], "accuracy"].astype(float) for name, table in rows.items()}
before, after = agreement.fleiss_kappa(wide), agreement.fleiss_kappa(crowds.to_wide(read))
print(f"Fleiss' kappa of the simulated crowd: {before:.2f}, without suspects {after:.2f}")
pd.DataFrame(accuracies).T.rename_axis(columns="accuracy").round(3)

# %% [markdown]
# **Check.** On `snow2008` the plain majority without the suspects is as good as Dawid–Skene: most of what the model
# gained was knowing whom not to believe. The simulated crowd is a warning. Agreement rises there, too, but the
# majority gains nothing: what harms it most are two tired people with 1,180 answers hardly better than chance. They
# did read, so they are no suspects. A filter keeps or drops; a model can give little weight.
#
# ## 7 Practice and fatigue, and a trap
#
# Do people get better or tired? Plot accuracy against the order of a person's answers:

# %%
kinds_only = {"learning": 1.0, "tiring": 1.0}
changing, kind = simulate_crowd.sparse_answers(gold[:400], 40, 20, seed=SEED, kinds=kinds_only)
is_learning = changing["respondent"].map(kind["kind"]) == "learning"
together = workers.curve(answers, gold, bins=6)
curves = {
    "all answers alike": (together, "accuracy"),
    "within people": (together, "adjusted"),
    "learning": (workers.curve(changing[is_learning], gold, bins=6), "adjusted"),
    "tiring": (workers.curve(changing[~is_learning], gold, bins=6), "adjusted"),
}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
ticks = [3, 10, 30, 100, 300]
for k, (name, (table, column)) in enumerate(curves.items()):
    ax, middle = plots.clean_axes(axes[k // 2]), (table["from"] * table["to"]) ** 0.5
    style, colour = plots.MARKERS[k] + plots.LINES[k % 2], plots.COLOURS[(5, 2, 3, 0)[k]]
    ax.plot(middle, table[column], style, color=colour, label=name)
    ax.set(xscale="log", xlabel="a person's k-th answer", xticks=ticks, xticklabels=ticks)
    ax.legend(frameon=False, loc="lower left")
axes[0].set(ylabel="share right", title="the sparse crowd (simulated)", ylim=(0.4, 1))
axes[1].set_title("who all learn or tire (simulated)")
plt.show()
trends = {
    "sparse crowd": workers.trend(answers, gold),
    "all learn": workers.trend(changing[is_learning], gold),
    "all tire": workers.trend(changing[~is_learning], gold),
}
pd.concat(trends).round(4)

# %% [markdown]
# **What to see.** Left, accuracy falls by fifteen points and more along the solid line, as if people tired badly. They
# hardly do: late answers come from other people, the few who stay for hundreds of items, and some of these were poor
# from the start. This is **Simpson's trap**. Compared with their own means only (dashed), people hardly change. Right,
# in a crowd where everyone learns or tires, the same comparison finds it; the last points are those of very few
# people.
#
# **Check.** The table says it in numbers: change of accuracy for ten more answers. *Pooled* is the trap; *within*
# compares people with themselves, and its interval allows for dependence between a person's answers. The sixteen
# people of the sparse crowd who do learn or tire drown among the rest.
#
# ## 8 How many answers are enough?
#
# It depends on what for. Draw one, two, three, ... of each item's answers at random and look at two things: how often
# the majority is the gold label, and how far the shares are from where they should be, in **total variation** (half
# the sum of the absolute differences, 0 to 1). The second has a formula: a share's mean absolute error is about
# $\sqrt{2p(1-p)/(\pi n)}$.

# %%
few = workers.enough(answers, gold, range(1, 10), REPEATS, SEED)
g4 = crowds.load_crowd("probes")["G4"]
sizes = [1, 2, 5, 10, 20, 50, 100]
spread = workers.enough(crowds.to_long(g4.responses), g4.gold, sizes, max(2, REPEATS // 4), SEED)
shares = crowds.label_distributions(g4.responses)[list(LABELS)]
formula = [(2 * shares * (1 - shares) / (np.pi * size)).pow(0.5).sum(axis=1).mean() / 2 for size in sizes]
spread[["total_variation"]].assign(formula=formula).T.round(3)

# %%
recorded = {name: pd.DataFrame(table).set_index("size") for name, table in record["snow2008"]["enough"].items()}
human = {n: pd.DataFrame(record["lalor2016"][n]["enough"]).set_index("size") for n in ("G5", "G4")}
left = {"majority (simulated)": few} | {f"{name}, snow2008": table for name, table in recorded.items()}
right = {"probes G4 (simulated)": spread} | {f"{n}, lalor2016": table for n, table in human.items()}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for ax, tables, column in zip(axes, (left, right), ("accuracy", "total_variation"), strict=True):
    for k, (name, table) in enumerate(tables.items()):
        style = plots.MARKERS[k] + plots.LINES[k]
        plots.clean_axes(ax).plot(table.index, table[column], style, color=plots.COLOURS[(5, 2, 0)[k]], label=name)
    ax.set(xlabel="answers an item")
    ax.legend(frameon=False, fontsize=9)
axes[0].set(ylabel="share of items with the gold label", xticks=range(1, 11))
axes[1].set(ylabel="total variation from all answers", xscale="log", yscale="log")
axes[1].set(yticks=[0.02, 0.05, 0.1, 0.2, 0.4], yticklabels=[0.02, 0.05, 0.1, 0.2, 0.4])
axes[1].set(xticks=[1, 3, 10, 30, 100], xticklabels=[1, 3, 10, 30, 100])
axes[1].minorticks_off()
plt.show()

# %% [markdown]
# **What to see.** Left, a second answer adds nothing to a majority, since it only makes ties, and each further pair
# brings less than the one before. On `snow2008`, Dawid–Skene with five answers is about as good as the majority of
# ten; with one answer an item it has nothing to learn from. Right, the error of a distribution falls as $1/\sqrt n$: a
# line of slope −½, without a bend where one could stop. With ten answers it is still about 0.1. Labels are cheap,
# distributions are not.
#
# ## 9 Label distributions from few answers
#
# Three people of three said *entailment*. Is the share of *neutral* 0? Say that before any answer every distribution
# is equally plausible: a **Dirichlet** distribution with one pseudo-count a label. Answers are added to the counts;
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
# How much people disagree is the **entropy** of the shares, in bits: 0 where all agree, $\log_2 3 = 1.58$ where three
# labels are equally frequent. Of few answers it comes out too low, since rare labels do not occur. A prior mends that,
# if it is a good one: `prior_of` takes it from all items together (*empirical Bayes*).

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
ax.set(xscale="log", xticks=sizes, xticklabels=sizes, xlabel="answers an item")
ax.set(ylabel="mean entropy, bits", ylim=(0, 1.4))
ax.set_title("180 items of the probes (simulated crowd)")
ax.minorticks_off()
ax.legend(frameon=False, loc="lower right", fontsize=9)
plt.show()

# %% [markdown]
# **What to see.** Observed shares understate disagreement, with two or three answers by half or more. The uniform
# prior overstates it, for it expects every item to be disputed. The prior of the crowd, which has learnt that most are
# not, stays nearest to the truth.
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
# **Check.** Spearman's correlation is .32 (a test repeats it): models err more where people disagree, and most of what
# makes them err is something else. Part of the gap is noise, as five labels say little of an item's entropy.
#
# ## 10 Gold against majority
#
# The gold label is what an author or a few experts decided. The crowd may differ, for two reasons: too few answers, or
# a real difference. `gold_against_majority` lists the items, and with `p_gold` the posterior probability that gold
# would be the most frequent label after all, had everybody answered:

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
differ.tail(6).round(2)

# %% [markdown]
# **What to see.** Each row is one of thirty items whose gold label is *contradiction*. With a thousand answers the
# intervals are short: for most of the open circles this is no accident; the table has `p_gold` of the simulated ones.
# In the human data (Lalor, Wu & Yu 2016; drawn where they can be had) 13 of 30 items have another most frequent label
# than gold, and in ten of these 13 that is beyond reasonable doubt (`p_gold` below .05; a test repeats both counts).
# Part of that is a habit that all share: Dawid–Skene, which models habits, finds gold on .90 of the ninety G4 items of
# `lalor2016`, the majority on .81 (record).
#
# Why that matters for fine-tuning: categorical cross-entropy (CCE), $-\sum_l t_l \log p_l$, pulls the model's
# probabilities $p$ towards the target $t$. Three models, three targets, one such item:

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
# as people do pays for its doubt, and the gradient, $p - t$, rests only when all doubt is gone. That may be right (the
# experts know) or wrong (the item leaves room). Against the majority, the experts are overruled, and a near tie
# becomes a certainty. The crowd's distribution keeps the doubt: that is the target of CIFT's loss MSE (notebook 00).
# Before you choose, read the items on which gold and majority differ; usually there are few.
#
# ## Recap
#
# - Plan by arithmetic: both errors of a qualification, all paid time, $1/h^2$ answers for a share, hundreds for a
#   difficulty.
# - Kappa is agreement beyond chance, and depends on how common the labels are. There is no universal "good".
# - Models of errors beat the majority where some people do not read; in real answers, leaving those people out did
#   nearly the same. Dawid–Skene's probabilities are too sure.
# - People who do not read can be found without gold, if they gave enough answers. Look before you judge.
# - Late answers come from other people than early ones: compare people with themselves.
# - Ten answers do for a label; a distribution takes a hundred, or an interval and a prior from the crowd.
# - Where gold and majority differ, the loss decides whom the model believes.

# %% [markdown]
# ## Exercises
#
# 1. Plan a collection of 100 items with twenty answers each for 200 of your currency. What wage is left? What would
#    you cut?
# 2. Open `build/crowd/form.html` in a browser, answer it, and read your file with `questionnaire.read`. Then delete a
#    row of it and read again.
# 3. Make a crowd half of whom are spammers: `simulate_crowd.sparse_answers(gold, kinds={"careful": 1, "random": 1})`.
#    Does Dawid–Skene still find the gold labels? Does `spam.suspects` still find the spammers? At what share do they
#    break?
# 4. Start `dawid_skene` from the *minority* (`p = 1 - p`). What does it converge to, and why can the answers alone not
#    say that this is wrong?
# 5. Leave `seconds` and `order` out of `answers`. How do precision and recall of `spam.suspects` change?
# 6. Section 9 drew answers at random. Redo the entropy figure with the prior of *another* crowd, G5's for the items of
#    G4. What goes wrong?

# %% [markdown]
# ## Where next
#
# `04_fit_irt` turns a crowd's right and wrong answers into item curves, `05_select_items` asks which items deserve to
# stay, and `12_rte_case_study` fine-tunes on them with gold, majority and distribution. On the command line, `cift irt
# fit ANSWERS.csv --gold KEY.csv` does the first on your own file.
