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
