"""pyproject.toml, requirements.lock and environment.yml say the same."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def asked_for() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def locked() -> dict[str, Requirement]:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def pinned(requirement: Requirement) -> str:
    (pin,) = requirement.specifier
    assert pin.operator == "=="
    return pin.version


def test_the_lock_pins_all_that_is_asked_for():
    lock = locked()
    for name, requirement in asked_for().items():
        assert pinned(lock[name]) in requirement.specifier, name
    assert pinned(lock["torch"]) == "2.13.0"
    assert str(lock["py-irt"].marker) == str(asked_for()["py-irt"].marker) == 'python_version < "3.12"'


def test_conda_users_get_the_same_versions_and_every_reason():
    text = (ROOT / "environment.yml").read_text()
    dependencies = yaml.safe_load(text)["dependencies"]
    pip = [Requirement(line) for line in dependencies[-1]["pip"] if line != "-e ."]
    lock = locked()
    assert {canonicalize_name(r.name) for r in pip} == set(asked_for())
    for requirement in pip:
        assert pinned(requirement) == pinned(lock[canonicalize_name(requirement.name)]), requirement.name
    unexplained = [line for line in re.findall(r"^ +- \w[\w.-]*==.*$", text, re.M) if "  # " not in line]
    assert not unexplained


@pytest.mark.parametrize("name", sorted(locked()))
def test_what_is_installed_is_what_is_locked(name):
    requirement = locked()[name]
    if requirement.marker and not requirement.marker.evaluate():
        pytest.skip(f"{name} is not for this Python: {requirement.marker}")
    try:
        assert version(name).partition("+")[0] == pinned(requirement)
    except PackageNotFoundError:
        pytest.fail(f"{name} is in requirements.lock but not installed; run `make install`")
