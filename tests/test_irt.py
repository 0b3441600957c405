"""Calibration: known parameters come back, published abilities are met, errors are said."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from cift import crowds, irt, selection
from cift.ability import eap
from cift.errors import InputError


def simulate(people: int, items: int, seed: int, missing: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scored answers of a 2PL crowd with theta ~ N(0, 1), and the items' true parameters."""
    rng = np.random.default_rng(seed)
    truth = pd.DataFrame(
        {"a": np.exp(rng.normal(0.3, 0.3, items)), "b": rng.normal(0, 1, items), "c": 0.0, "d": 1.0},
        index=[f"i{j}" for j in range(items)],
    )
    theta = rng.standard_normal(people)
    right = (rng.random((people, items)) < irt.probability(theta, truth)).astype(float)
    right[rng.random(right.shape) < missing] = np.nan
    return pd.DataFrame(right, columns=truth.index), truth.assign(item_id=truth.index)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_true_parameters_come_back(missing):
    scored, truth = simulate(4000, 40, seed=1, missing=missing)
    bank = irt.calibrate(scored)
    error_a = bank.items["a"].to_numpy() - truth["a"].to_numpy()
    error_b = bank.items["b"].to_numpy() - truth["b"].to_numpy()
    assert bank.info["converged"]
    assert np.sqrt(np.mean(error_a**2)) < 0.10
    assert np.sqrt(np.mean(error_b**2)) < 0.10
    assert abs(bank.population["theta"].mean()) < 0.05


def test_standard_errors_cover_the_truth():
    covered = []
    for seed in range(8):
        scored, truth = simulate(800, 25, seed)
        items = irt.calibrate(scored).items
        for name in "ab":
            covered.append(np.abs(items[name].to_numpy() - truth[name].to_numpy()) < 1.96 * items[f"{name}_se"])
    assert 0.91 < np.mean(covered) < 0.99  # 400 intervals of 95 %: within 4 points of it


def test_a_long_test_keeps_the_unit_of_the_scale():
    scored, truth = simulate(600, 300, seed=3)
    bank = irt.calibrate(scored)
    slope = np.polyfit(truth["b"], bank.items["b"], 1)[0]
    assert slope == pytest.approx(1, abs=0.1)  # a fixed grid of 61 nodes distorts it by a quarter and more
    assert bank.population["theta"].std() == pytest.approx(1, abs=0.1)


def test_map_stays_finite_where_answers_are_few():
    scored, truth = simulate(40, 60, seed=4)
    bank = irt.calibrate(scored, method="map")
    assert bank.info["converged"]
    assert bank.items["a"].between(0.2, 6).all()
    assert np.corrcoef(bank.items["b"], truth.loc[bank.items["item_id"], "b"])[0, 1] > 0.85


def test_invariance():
    scored, _ = simulate(500, 12, seed=5, missing=0.1)
    bank = irt.calibrate(scored)
    shuffled = irt.calibrate(scored.sample(frac=1, random_state=0)[scored.columns[::-1]])
    items, reordered = (found.items.set_index("item_id") for found in (bank, shuffled))
    pd.testing.assert_frame_equal(items, reordered.loc[items.index], rtol=1e-3)
    silent = pd.concat([scored, pd.DataFrame(np.nan, index=["silent"], columns=scored.columns)])
    with_silent = irt.calibrate(silent)
    # someone who answered nothing adds no information, only their prior: theta 0, SE 1
    assert with_silent.population.loc["silent"].tolist() == pytest.approx([0, 1], abs=1e-6)
    assert np.allclose(bank.items["b"], with_silent.items["b"], atol=0.02)


@pytest.mark.parametrize(
    ("scale", "wrong", "published"),
    [("5GS-E", 2, -0.133), ("5GS-C", 0, 1.540), ("5GS-N", 1, 0.424), ("4GS-N", 2, 0.441)],
)
def test_published_abilities(mirror, scale, wrong, published):
    """Some pattern with the printed number of wrong answers gets the printed ability (DESIGN: which is not printed)."""
    stratum = crowds.load_crowd("lalor2016")[f"G{scale[0]}"]
    items = crowds.groups(stratum.gold, f"G{scale[0]}")[scale]
    kept = selection.drop_positions(items, selection.PUBLISHED_DROPS[scale])
    bank = irt.calibrate(crowds.score(stratum.responses, stratum.gold)[kept], scale)
    patterns = np.ones((sum(1 for _ in itertools.combinations(kept, wrong)), len(kept)))
    for row, chosen in enumerate(itertools.combinations(range(len(kept)), wrong)):
        patterns[row, list(chosen)] = 0
    thetas = eap(pd.DataFrame(patterns, columns=kept), bank)["theta"]
    assert (thetas - published).abs().min() < 0.002


def test_curves_and_information():
    items = pd.DataFrame({"a": [1.0, 2.0], "b": [0.0, 1.0], "c": [0.0, 0.2], "d": [1.0, 1.0]})
    p = irt.probability(np.array([0.0, 1.0, 50.0, -50.0]), items)
    assert p[0, 0] == 0.5
    assert p[1, 1] == pytest.approx(0.6)  # half way from c to d at theta = b
    assert p[2] == pytest.approx([1, 1]) and p[3] == pytest.approx([0, 0.2])
    assert irt.information(np.array([0.0]), items)[0, 0] == pytest.approx(0.25)  # a^2 p (1 - p)
    slope = (irt.probability(np.array([0.3 + 1e-6]), items) - irt.probability(np.array([0.3 - 1e-6]), items)) / 2e-6
    p = irt.probability(np.array([0.3]), items)
    assert irt.information(np.array([0.3]), items) == pytest.approx(slope**2 / (p * (1 - p)))


def test_py_irt_agrees_and_leaves_global_state_alone():
    pyro = pytest.importorskip("pyro", reason="py-irt installs on Python 3.11 only")
    scored, truth = simulate(300, 15, seed=6, missing=0.05)
    before = scored.copy()
    pyro.get_param_store().clear()
    pyro.param("mine", torch.tensor(1.0))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    bank, again = (irt.calibrate(scored, method="py-irt", seed=7) for _ in range(2))
    assert torch.rand(1) == expected
    assert list(pyro.get_param_store().keys()) == ["mine"]
    pyro.get_param_store().clear()
    pd.testing.assert_frame_equal(scored, before)
    pd.testing.assert_frame_equal(bank.items, again.items)
    ours = irt.calibrate(scored)
    assert np.corrcoef(bank.items["b"], ours.items["b"])[0, 1] > 0.97
    assert np.corrcoef(bank.items["b"], truth["b"])[0, 1] > 0.95


def test_bank_is_stored_losslessly(tmp_path):
    scored, _ = simulate(100, 5, seed=8)
    bank = irt.calibrate(scored, "a scale")
    bank.save(tmp_path / "bank.json")
    loaded = irt.ItemBank.load(tmp_path / "bank.json")
    pd.testing.assert_frame_equal(loaded.items, bank.items)
    pd.testing.assert_frame_equal(loaded.population, bank.population, check_names=False)
    assert loaded.info == bank.info
    (tmp_path / "broken.json").write_text('{"items": {}}')
    with pytest.raises(InputError, match="broken.json: not an item bank"):
        irt.ItemBank.load(tmp_path / "broken.json")


def sparse_crowd(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """164 people, 800 items, ten answers an item: the shape of the RTE-1 answers of Snow et al. (2008)."""
    scored, truth = simulate(164, 800, seed)
    rng = np.random.default_rng(seed)
    asked = rng.random(scored.shape).argsort(axis=0) < 10
    return scored.where(asked), truth


@pytest.mark.parametrize("seed", range(3))
def test_few_answers_an_item_get_priors_and_say_so(seed):
    scored, truth = sparse_crowd(seed)
    with pytest.warns(UserWarning, match="half of the items have 10 answers or fewer"):
        bank = irt.calibrate(scored)
    truth = truth.loc[bank.items["item_id"]]
    assert bank.info["method"] == "map" and "priors estimated from the items" in bank.info["notes"][0]
    assert bank.info["converged"] and (bank.items["a"] > 0).all()
    assert np.corrcoef(bank.items["b"], truth["b"])[0, 1] > 0.72
    covered = (bank.items["b"].to_numpy() - truth["b"].to_numpy()) / bank.items["b_se"].to_numpy()
    assert 0.9 < np.mean(np.abs(covered) < 1.96) < 0.99


@pytest.mark.parametrize("model", ["2pl", "3pl"])
def test_the_workers_of_snow_2008(mirror, model):
    """Real answers, 10 an item: maximum likelihood runs away, the default does not."""
    table = pd.read_csv(mirror / "snow2008" / "rte.standardized.tsv", sep="\t")
    table["right"] = (table["response"] == table["gold"]).astype(float)
    scored = table.pivot(index="!amt_worker_ids", columns="orig_id", values="right")
    with pytest.warns(UserWarning, match="maximum likelihood would fail"):
        bank = irt.calibrate(scored, model=model)
    assert bank.info["method"] == "map" and bank.info["converged"] and len(bank.info["left_out"]) == 78
    assert bank.items["b"].between(-5, 3).all() and bank.items["b_se"].between(0.2, 1).all()
    accuracy = scored.mean(axis=1)[scored.notna().sum(axis=1) >= 100]
    assert np.corrcoef(bank.population.loc[accuracy.index, "theta"], accuracy)[0, 1] > 0.85


@pytest.mark.parametrize("seed", range(4))
def test_a_handful_of_people_who_have_nothing_in_common_get_a_finite_scale(seed):
    answers = pd.DataFrame((np.random.default_rng(seed).random((25, 20)) < 0.85).astype(float))
    with pytest.warns(UserWarning, match="priors"):
        items = irt.calibrate(answers.loc[:, answers.nunique() > 1]).items
    assert items["a"].median() > 0.12 and items["b"].abs().max() < 12  # without priors on the centres 0.03 and 56


def test_a_slope_without_a_maximum_gets_priors():
    rng = np.random.default_rng(0)
    scored, _ = simulate(200, 6, seed=2)
    scored["copy"] = scored["i0"]  # two answers that are always alike: their slopes grow without end
    scored["again"] = scored["i0"].where(rng.random(200) > 0.01, 1 - scored["i0"])
    with pytest.warns(UserWarning, match="maximum likelihood would fail"):
        bank = irt.calibrate(scored)
    assert bank.info["method"] == "map" and bank.info["converged"]
    assert np.isfinite(bank.items[["a", "b", "a_se", "b_se"]].to_numpy()).all()


def test_given_priors_are_used():
    scored, _ = simulate(60, 8, seed=21)
    tight = irt.calibrate(scored, method="map", priors=irt.Priors(log_a=(0.0, 0.01), b=(0.5, 0.01)))
    assert np.allclose(tight.items["a"], 1, atol=0.05) and np.allclose(tight.items["b"], 0.5, atol=0.05)
    assert {name: pytest.approx(value) for name, value in tight.info["priors"].items()} == {
        "b": [0.5, 0.01],
        "log_a": [0.0, 0.01],
    }


@pytest.mark.parametrize(
    "wrong", [{"guessing": 0.0}, {"upper": 1.0}, {"b": (0.0, 0.0)}, {"b": 0.5}, {"guessing_sd": 0.0}]
)
def test_priors_that_are_none_are_refused(wrong):
    with pytest.raises(InputError, match="priors: "):
        irt.Priors(**wrong)


def test_larger_models_are_compared_with_smaller_ones():
    """2PL answers: the 2PL is far better than the 1PL, and a third parameter finds nothing."""
    scored, truth = simulate(3000, 20, seed=22)
    banks = [irt.calibrate(scored, model=model) for model in ("3pl", "1pl", "2pl")]
    table = irt.compare(*banks).set_index("model")
    assert list(table.index) == ["1pl", "2pl", "3pl"] and list(table["n_parameters"]) == [21, 40, 60]
    assert table.loc["2pl", "p"] < 1e-6 and not table.loc["3pl", "p"] < 0.01
    assert table["bic"].idxmin() == "2pl"
    assert banks[1].items["a"].nunique() == 1
    other, _ = simulate(3000, 20, seed=23)
    with pytest.raises(InputError, match="fitted to other answers"):
        irt.compare(banks[0], irt.calibrate(other))


def test_guessing_is_found_where_the_answers_tell():
    rng = np.random.default_rng(24)
    truth = pd.DataFrame({"a": 1.6, "b": rng.normal(0, 1, 30), "c": 0.25, "d": 1.0})
    right = rng.random((6000, 30)) < irt.probability(rng.standard_normal(6000), truth)
    three, two = (irt.calibrate(pd.DataFrame(right), model=model) for model in ("3pl", "2pl"))
    hard = truth["b"] > 0  # an easy item hardly ever shows what guessers do
    assert three.items.loc[hard, "c"].to_numpy() == pytest.approx(0.25, abs=0.08)
    rmse = [np.sqrt(np.mean((bank.items["b"] - truth["b"]) ** 2)) for bank in (three, two)]
    assert rmse[0] < 0.15 < rmse[1]
    assert three.info["bic"] < two.info["bic"]
    assert (three.items["c_se"] > 0).all() and (two.items["c_se"] == 0).all()


def test_a_miskeyed_item_has_a_negative_slope_and_is_named():
    scored, _ = simulate(800, 12, seed=25)
    scored["i3"] = 1 - scored["i3"]
    with pytest.warns(UserWarning, match="a < 0 for i3: .* check their gold labels"):
        bank = irt.calibrate(scored)
    assert (bank.items.set_index("item_id")["a"] < 0).sum() == 1


def test_the_same_numbers_again_and_from_any_kind_of_cell():
    scored, _ = simulate(300, 8, seed=26)
    bank = irt.calibrate(scored)
    for same in (scored, scored.astype(int), scored.astype(bool), scored.astype("Int64"), scored.astype(object)):
        pd.testing.assert_frame_equal(irt.calibrate(same).items, bank.items)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_gpu_gives_the_same_numbers():
    scored, _ = simulate(2000, 50, seed=27)
    for model in irt.MODELS[:4]:
        here, there = (irt.calibrate(scored, model=model, device=device).items for device in ("cpu", "cuda"))
        assert np.allclose(here[["a", "b"]], there[["a", "b"]], atol=1e-4)


def test_an_item_that_everyone_got_right_is_left_out_and_reported():
    scored, _ = simulate(100, 5, seed=9)
    scored["i2"] = 1.0
    with pytest.warns(UserWarning, match="left out i2"):
        bank = irt.calibrate(scored)
    assert list(bank.items["item_id"]) == ["i0", "i1", "i3", "i4"]
    assert bank.info["left_out"] == ["i2"]


def test_bad_input_is_named():
    scored, _ = simulate(20, 3, seed=10)
    bad = scored.copy()
    bad.loc[4, "i1"] = 2.0
    with pytest.raises(InputError, match="respondent 4, item 'i1': 2.0 is not 1, 0 or missing"):
        irt.calibrate(bad)
    with pytest.raises(InputError, match="'entailment' is not 1, 0 or missing; score raw labels"):
        irt.calibrate(scored.astype(object).replace({"i0": {1.0: "entailment"}}))
    with pytest.raises(InputError, match="item 'i0' has two columns"):
        irt.calibrate(pd.concat([scored, scored[["i0"]]], axis=1))
    with pytest.raises(InputError, match="1 respondents"), pytest.warns(UserWarning):
        irt.calibrate(scored.head(1))
    with pytest.raises(InputError, match="method 'mcmc': unknown; choose from mml, map, py-irt"):
        irt.calibrate(scored, method="mcmc")
    with pytest.raises(InputError, match="model 'rasch': unknown; choose from 1pl, 2pl, 3pl, 4pl, nominal"):
        irt.calibrate(scored, model="rasch")
