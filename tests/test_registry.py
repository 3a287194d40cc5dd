"""The registry: a mapping that answers unknown names with near matches, and other packages' entries."""

from importlib.metadata import EntryPoint

import pytest

from recam import registry as module
from recam.errors import DependencyError, RecamError, RecipeError
from recam.registry import Registry


@pytest.fixture
def animals():
    found = Registry("animal")
    for name in ("horse", "cow"):
        found.register(name)(name.upper())
    return found


def test_it_is_a_mapping(animals):
    assert animals["cow"] == "COW"
    assert list(animals) == ["horse", "cow"]
    assert dict(animals) == {"horse": "HORSE", "cow": "COW"}
    assert "cow" in animals
    assert "dog" not in animals
    assert animals.get("cow") == "COW"
    assert animals.get("dog") is None
    assert animals.get("dog", "none") == "none"


def test_an_unknown_name_is_a_mistake_in_a_recipe_with_near_matches(animals):
    with pytest.raises(RecipeError, match=r"^unknown animal 'hrose'\. Did you mean 'horse'\?$") as caught:
        animals["hrose"]
    assert isinstance(caught.value, RecamError)
    assert isinstance(caught.value, ValueError)


def test_a_name_is_registered_once(animals):
    entry = animals["cow"]
    assert animals.register("cow")(entry) is entry, "the same again, as when a module is imported twice"
    with pytest.raises(ValueError, match="animal 'cow' is registered twice"):
        animals.register("cow")("another")


def test_entries_of_other_packages(monkeypatch):
    points = {"farm.animals": [EntryPoint("sheep", "builtins:len", "farm.animals")]}
    monkeypatch.setattr(module, "entry_points", lambda group: points.get(group, []))
    assert Registry("animal", "farm.animals")["sheep"] is len


def test_a_package_that_cannot_be_imported_is_named_at_each_look_up(monkeypatch):
    broken = [EntryPoint("goat", "no_such_module:goat", "farm.animals")]
    monkeypatch.setattr(module, "entry_points", lambda group: broken)
    animals = Registry("animal", "farm.animals")
    for _ in range(2):
        with pytest.raises(DependencyError, match=r"animal 'goat' of an installed package cannot be imported.*Fix or"):
            animals.get("cow")
