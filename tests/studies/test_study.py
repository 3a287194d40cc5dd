"""Studies: rows times seeds, shared stages made once, a table that states its command."""

import json
import shlex

import pytest

from conftest import TINY
from recam.errors import RecipeError
from recam.recipe.toml import parse_setting
from recam.studies.study import MAPS, MINUTES, Study, run_study, spread, studies


def test_spread_by_hand():
    assert spread((1.0, 3.0), 2) == "2.00 ± 1.41"
    assert spread((1.25,), 1) == "1.2"
    assert spread((1.0, None), 2) == "–"
    assert spread((), 2) == "–"


@pytest.mark.parametrize("name", sorted(studies))
def test_every_study_names_settings_that_exist(name):
    from recam.recipe.recipe import load_recipe

    study = studies[name]()
    assert study.rows
    for row, own in study.rows.items():
        load_recipe(study.recipe, own)
        assert set(study.published.get(row, {})) <= {column.title for column in study.columns}


def test_an_unknown_study_is_answered_with_near_matches(tmp_path):
    with pytest.raises(RecipeError, match="Did you mean 'weights'"):
        run_study("weihgts", output=tmp_path)


@pytest.mark.slow
def test_rows_share_what_they_have_in_common(tmp_path, monkeypatch):
    rows = {"CAM": {"training": "cam"}, "w′": {"maps.weighting": "w_prime"}, "w": {"maps.weighting": "w"}}
    monkeypatch.setitem(studies._entries, "toy", lambda: Study("A toy", "tiny", rows, (MAPS, MINUTES), "masks"))
    result = run_study("toy", output=tmp_path, seeds=[3], settings=TINY)
    trained = [tmp_path / "runs" / f"{n:02d}-seed-3" / "train/cam/weights.safetensors" for n in (1, 2, 3)]
    assert len({path.stat().st_ino for path in trained}) == 1, "one training for three rows, by hard links"
    written = json.loads((tmp_path / "toy.json").read_text())
    assert written["seeds"] == [3]
    assert len(written["rows"]["w"][MAPS.title]) == 1
    (line,) = [line for line in (tmp_path / "toy.md").read_text().splitlines() if "recam study" in line]
    words = shlex.split(line)
    assert words[:7] == ["recam", "study", "toy", "--seeds", "3", "-o", str(tmp_path)]
    assert dict(map(parse_setting, words[8::2])) == TINY
    assert (tmp_path / "toy.csv").read_text().count("\n") == 1 + 3 * 2
    assert "| w′ |" in str(result)
