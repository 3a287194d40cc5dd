import json
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_plain_tensors(capsys):
    runpy.run_path(str(EXAMPLES / "plain_tensors.py"), run_name="__main__")
    told = [line.split(": ") for line in capsys.readouterr().out.splitlines()]
    steps, weightings = told[:6], told[6:]
    losses = [float(loss.split()[-1]) for _, loss in steps]
    assert losses[2] < losses[0]
    assert losses[5] < losses[3]
    assert [name for name, _ in weightings] == ["w", "w_prime", "add", "mul"]
    for _, maps in weightings:
        assert maps.startswith("maps (3, 16, 24), mean ")
        assert 0 < float(maps.split()[-1]) < 1


def test_lightning_module():
    pytest.importorskip("lightning", reason="an extra is not installed: recam[tools]")
    made = runpy.run_path(str(EXAMPLES / "lightning_module.py"))["main"](3)
    assert len(made) == 8
    for maps in made:
        assert maps.shape[1:] == (16, 24)
        assert not len(maps) or (maps.min() >= 0 and maps.amax((1, 2)).allclose(maps.new_ones(len(maps)), atol=1e-3))


def test_the_notebook_runs_from_top_to_bottom():
    """Its cells one after the other in one namespace: no kernel is needed."""
    cells = json.loads((EXAMPLES / "recam_on_tensors.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "outputs are not kept: they age"
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    losses, sheet = names["losses"], names["sheet"]
    assert losses[29] < losses[0]
    assert losses[-1] < losses[30]
    assert sheet.shape[2] == 3
    assert {name: maps.shape[1:] for name, maps in names["maps"].items()} == {"w": (64, 64), "mul": (64, 64)}
