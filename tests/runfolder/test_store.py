"""The run folder: maps that survive storing, stages kept by key and taken over, a lock, nothing half written."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from named_stages import name_stages
from recam.errors import StoreError
from recam.files import TEMPORARY_ENDING, write_bytes
from recam.runfolder import store
from recam.runfolder.maps import read_seed, save_seed
from recam.runfolder.store import RunFolder, StageFolder, make_key, read_json, read_record, write_json
from recam.tensors import load_tensors, save_tensors
from recam.types import SeedMaps

KEYS = ("a" * 16, "b" * 16)


def smooth_maps(n, size, seed=0, cell=16, noise=0.0):
    """Maps as a network gives them: one value each `cell` pixels, upsampled to a quarter of the image, the maximum at
    1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, n, -(-size[0] // cell), -(-size[1] // cell), generator=generator) ** 2
    maps = F.interpolate(coarse, (-(-size[0] // 4), -(-size[1] // 4)), mode="bilinear", align_corners=False)[0]
    maps = (maps + noise * torch.rand(maps.shape, generator=generator)).clamp(0)
    return (maps / maps.amax((1, 2), keepdim=True)).numpy()


def as_seed(maps, size):
    return SeedMaps(maps, np.arange(len(maps)), size)


@pytest.mark.parametrize(("bits", "error"), [(8, 1 / 510), (16, 1 / 131070)])
def test_a_seed_survives_storing(tmp_path, bits, error):
    maps = np.stack([np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3), np.zeros((2, 3), np.float32)])
    save_seed(tmp_path / "sub" / "a.npz", SeedMaps(maps, np.array([4, 7]), (8, 12)), bits)
    back = read_seed(tmp_path / "sub" / "a.npz")
    assert np.abs(back.maps - maps).max() <= error + 1e-7
    assert back.maps.dtype == np.float32
    assert (back.maps.min(), back.maps.max()) == (0, 1)
    assert back.class_indices.tolist() == [4, 7]
    assert back.size == (8, 12)


def test_an_image_without_labels_has_an_empty_seed(tmp_path):
    save_seed(tmp_path / "a.npz", SeedMaps(np.zeros((0, 2, 3), np.float32), np.zeros(0, np.int64), (8, 12)))
    assert read_seed(tmp_path / "a.npz").maps.shape == (0, 2, 3)


# A feature covers 16 pixels; at four scales the finest view covers 8, and the sum of scales roughens the maps a little.
@pytest.mark.parametrize(("cell", "noise"), [(64, 0.0), (16, 0.0), (8, 0.0), (16, 0.02)])
def test_a_seed_takes_at_most_20_kb_an_image_and_class(tmp_path, cell, noise):
    size = (375, 500)
    save_seed(tmp_path / "a.npz", as_seed(smooth_maps(3, size, cell=cell, noise=noise), size))
    assert (tmp_path / "a.npz").stat().st_size <= 3 * 20_000


def test_seeds_hold_no_pickle(tmp_path):
    save_seed(tmp_path / "a.npz", as_seed(smooth_maps(1, (32, 32)), (32, 32)))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert {name: file[name].dtype.kind for name in file.files} == {"maps": "u", "class_indices": "i", "size": "i"}


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "scrambled", "not-zip"])
def test_a_damaged_seed_is_named(tmp_path, damage):
    path = tmp_path / "a.npz"
    save_seed(path, as_seed(smooth_maps(1, (64, 64)), (64, 64)))
    content = path.read_bytes()
    middle = len(content) // 3
    scrambled = content[:middle] + bytes(255 - byte for byte in content[middle : middle + 40]) + content[middle + 40 :]
    damaged = {"empty": b"", "cut": content[: len(content) // 2], "scrambled": scrambled, "not-zip": b"no seed at all"}
    path.unlink()
    if damage != "missing":
        path.write_bytes(damaged[damage])
    with pytest.raises(StoreError, match=r"a\.npz cannot be read as class maps .*`recam run` makes it again"):
        read_seed(path)


def test_keys():
    parts = {"stage": "x", "settings": {"epochs": 3, "scales": (1.0, 0.5)}, "data": {"train": "f"}}
    assert len(make_key(parts)) == 16
    assert make_key(parts) == make_key(json.loads(json.dumps(parts)))
    assert make_key(parts) == make_key(dict(reversed(parts.items())))
    others = [
        parts | {"settings": {"epochs": 4, "scales": (1.0, 0.5)}},
        parts | {"settings": {"epochs": 3, "scales": (0.5, 1.0)}},
        parts | {"data": {"train": "g"}},
        parts | {"version": 2},
    ]
    assert len({make_key(each) for each in [parts, *others]}) == 5


def make_stage(run, name, key, files):
    stage = run.open_stage(name, key)
    stage.begin({})
    for file, content in files.items():
        write_bytes(stage.path / file, content)
    stage.finish({"results": {}})
    return stage


def contents(path):
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name not in ("stage.json", "manifest.json")
    }


def test_stages_of_several_keys_lie_side_by_side(tmp_path):
    run = RunFolder(tmp_path / "run")
    make_stage(run, "maps/x", KEYS[0], {"w/a.npz": b"1", "w/sub/b.npz": b"2"})
    other = run.open_stage("maps/x", KEYS[1])
    assert not other.is_done
    assert contents(other.path) == {}
    make_stage(run, "maps/x", KEYS[1], {"w/a.npz": b"3"})
    assert contents(run.root / "maps" / "x") == {"w/a.npz": b"3"}  # the link shows the one that was opened last
    back = run.open_stage("maps/x", KEYS[0])
    assert back.is_done
    assert contents(back.path) == contents(run.root / "maps" / "x") == {"w/a.npz": b"1", "w/sub/b.npz": b"2"}
    assert run.open_stage("maps/x", KEYS[1]).is_done
    name_stages(run, **{"maps/x": KEYS[1]})
    assert run.done_stages() == ["maps/x"]
    assert [stage.key for stage in run.kept_stages()] == list(KEYS)


def test_links_show_the_stages_in_force_and_no_others(tmp_path):
    run = RunFolder(tmp_path / "run")
    for name in ("maps/x", "maps/y", "check"):
        make_stage(run, name, KEYS[0], {"a.npz": b"1"})
    make_stage(run, "maps/x", KEYS[1], {"a.npz": b"2"})
    run.link_stages({"maps/x": KEYS[0], "masks": KEYS[0]})
    assert (run.root / "maps" / "x" / "a.npz").read_bytes() == b"1"
    assert not (run.root / "maps" / "y").exists()
    assert not (run.root / "masks").exists()
    assert (run.root / "check").is_dir()  # which no plan names
    assert run.at("maps/y", KEYS[0]).is_done


def test_a_finished_stage_of_a_run_beside_is_taken_over(tmp_path):
    one, two = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "two")
    made = make_stage(one, "maps/x", KEYS[0], {"w/a.npz": b"1"})
    assert two.find("maps/x", KEYS[0]).path == made.path
    assert two.find("maps/x", KEYS[1]) is None
    taken = two.open_stage("maps/x", KEYS[0])
    assert taken.is_done
    assert taken.path.is_relative_to(two.root)
    assert (taken.path / "w" / "a.npz").samefile(made.path / "w" / "a.npz")
    made.discard()
    assert taken.is_done
    begun = one.open_stage("masks", KEYS[0])
    begun.begin({})
    assert two.find("masks", KEYS[0]) is None


def test_a_stage_that_is_cleaned_while_it_is_taken_over_is_made_here(tmp_path, monkeypatch):
    one, two = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "two")
    made = make_stage(one, "maps/x", KEYS[0], {"a.npz": b"1"})

    def cleaned(source, target):
        made.discard()
        raise FileNotFoundError(source)

    monkeypatch.setattr(store, "_take_over", cleaned)
    stage = two.open_stage("maps/x", KEYS[0])
    assert (stage.record, contents(stage.path)) == ({}, {})
    made = make_stage(one, "maps/x", KEYS[0], {"a.npz": b"1"})
    monkeypatch.setattr(
        store, "_take_over", lambda source, target: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full"))
    )
    with pytest.raises(OSError, match="full"):
        RunFolder(tmp_path / "three").open_stage("maps/x", KEYS[0])


def test_a_run_copied_with_its_links_followed_goes_on_as_one(tmp_path):
    run = RunFolder(tmp_path / "run")
    made = make_stage(run, "maps/x", KEYS[0], {"w/a.npz": b"1"})
    name_stages(run, **{"maps/x": KEYS[0]})
    shutil.copytree(run.root, tmp_path / "copied" / "run", symlinks=False)
    assert not (tmp_path / "copied" / "run" / "maps" / "x").is_symlink()
    copied = RunFolder(tmp_path / "copied" / "run")
    copied.link_stages({"maps/x": KEYS[0]})
    assert (copied.root / "maps" / "x").is_symlink()
    assert copied.open_stage("maps/x", KEYS[0]).is_done
    (tmp_path / "other").mkdir()
    shutil.copytree(run.root, tmp_path / "other" / "run", symlinks=False)
    edited = RunFolder(tmp_path / "other" / "run")
    write_bytes(edited.root / "maps" / "x" / "w" / "a.npz", b"2")  # somebody's work in the copy is not thrown away
    with pytest.raises(StoreError, match="would be shown"):
        edited.link_stages({"maps/x": KEYS[0]})
    assert made.is_done


def test_what_is_taken_over_is_read_where_all_is_verified(tmp_path):
    one, two = RunFolder(tmp_path / "one"), RunFolder(tmp_path / "two")
    made = make_stage(one, "maps/x", KEYS[0], {"a.npz": b"1"})
    times = (made.path / "a.npz").stat()
    (made.path / "a.npz").write_bytes(b"2")
    os.utime(made.path / "a.npz", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert two.find("maps/x", KEYS[0]) is not None  # size and time are believed
    assert two.find("maps/x", KEYS[0], verify=True) is None
    assert not two.open_stage("maps/x", KEYS[0], verify=True).is_done


def test_a_file_where_a_stage_would_be_shown_is_refused(tmp_path):
    run = RunFolder(tmp_path / "run")
    write_bytes(run.root / "masks" / "a.png", b"of who knows what")
    with pytest.raises(StoreError, match=r"masks lies where the stage 'masks' would be shown\. Move it away"):
        run.open_stage("masks", KEYS[0])


def test_a_stage_is_done_only_while_all_of_it_is_there(tmp_path):
    run = RunFolder(tmp_path / "run")
    stage = make_stage(run, "masks", KEYS[0], {"a.png": b"1", "sub/b.png": b"2"})
    assert stage.is_done
    assert not StageFolder("masks", stage.path, KEYS[1]).is_done
    (stage.path / "sub" / "b.png").unlink()
    assert not stage.is_done
    stage.begin({})
    write_bytes(stage.path / "sub" / "b.png", b"2")
    assert not stage.is_done
    stage.finish({})
    assert stage.is_done


def test_what_a_killed_process_left_half_written_is_swept_away(tmp_path):
    run = RunFolder(tmp_path / "run")
    stage = run.open_stage("masks", KEYS[0])
    (stage.path / "sub").mkdir()
    for half in (stage.path / f".a.png.0{TEMPORARY_ENDING}", stage.path / "sub" / f".b.png.1{TEMPORARY_ENDING}"):
        half.write_bytes(b"half")
    assert stage.count_files() == 0
    stage.begin({})
    assert contents(stage.path) == {}


def test_only_finished_stages_are_read(tmp_path):
    run = RunFolder(tmp_path / "run")
    stage = run.open_stage("masks", KEYS[0])
    stage.begin({})
    for keys in ({}, {"masks": KEYS[0]}, {"masks": KEYS[1]}):
        name_stages(run, **keys)
        with pytest.raises(StoreError, match="no finished stage 'masks'"):
            run.stage("masks")
    name_stages(run, masks=KEYS[0])
    stage.finish({})
    assert run.stage("masks").key == KEYS[0]


def test_foreign_folders_and_files_are_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    with pytest.raises(StoreError, match="holds files that are no run of recam"):
        RunFolder(tmp_path / "photos")
    with pytest.raises(StoreError, match="is a file; name a folder"):
        RunFolder(tmp_path / "photos" / "a.jpg")
    (tmp_path / "empty").mkdir()
    RunFolder(tmp_path / "empty")
    with (
        pytest.raises(StoreError, match=r"cannot be written .*Name another folder"),
        RunFolder(Path(os.devnull) / "run").lock(),
    ):
        pass


def test_json(tmp_path):
    write_json(tmp_path / "a.json", {"x": (1, 2), "y": None})
    assert read_json(tmp_path / "a.json") == {"x": [1, 2], "y": None}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == {"x": [1, 2], "y": None}
    (tmp_path / "a.json").write_text('{"x": ')
    with pytest.raises(StoreError, match=r"a\.json cannot be read .*makes it again"):
        read_json(tmp_path / "a.json")
    with pytest.raises(StoreError, match=r"b\.json is not there"):
        read_json(tmp_path / "b.json")


@pytest.mark.parametrize("write", ["json", "seed", "tensors"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, write):
    path = tmp_path / "file"
    writers = {
        "json": lambda value: write_json(path, {"value": value}),
        "seed": lambda value: save_seed(path, as_seed(np.full((1, 2, 2), value, np.float32), (8, 8))),
        "tensors": lambda value: save_tensors(path, {"x": torch.full((2,), float(value))}, {}),
    }
    writers[write](1)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"disk full while writing .*file; nothing was damaged"):
        writers[write](0)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_tensors_keep_type_and_text(tmp_path):
    tensors = {"a": torch.arange(6, dtype=torch.int64).reshape(2, 3).T, "b": torch.zeros(2, 2, dtype=torch.bfloat16)}
    save_tensors(tmp_path / "x.safetensors", tensors, {"step": 3, "name": "ü"})
    back, meta = load_tensors(tmp_path / "x.safetensors")
    assert meta == {"step": 3, "name": "ü"}
    assert all(torch.equal(back[name], value) and back[name].dtype == value.dtype for name, value in tensors.items())
    (tmp_path / "x.safetensors").write_bytes(b"\x80\x04no tensors")
    with pytest.raises(StoreError, match=r"x\.safetensors cannot be read"):
        load_tensors(tmp_path / "x.safetensors")


@pytest.mark.parametrize("kind", ["int64", "float32"])
def test_maps_of_another_type_are_refused_not_read_as_zero(tmp_path, kind):
    np.savez(tmp_path / "a.npz", maps=np.ones((1, 2, 2), kind), class_indices=np.array([0]), size=np.array([8, 8]))
    with pytest.raises(StoreError, match=f"its maps are {kind}; they must be uint8 or uint16"):
        read_seed(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "content", ["[]", "null", '"x"', "3", "[" * 100_000, '{"x": NaN}', '{"x": Infinity}', "\ufeff\ufeff{}"]
)
def test_json_that_is_no_record_is_named(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(
        StoreError, match=r"(?s)a\.json (holds|cannot be read) .*Delete it; the same command makes it again"
    ):
        read_json(tmp_path / "a.json")


def shown(tile):
    return {"id": "a", "caption": "", "kind": "", "of": "", "miou": None, "tiles": {"x": tile}}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"key": "../../elsewhere"}, "key: "),
        ({"key": "x" * 256}, "key: "),
        ({"results": {"shown": [shown("é" * 128)]}}, "tiles.x: .*255 bytes"),
        ({"seconds": "0"}, "seconds: "),
        ({"seconds": -1.0}, "seconds: "),
        ({"results": []}, "results: "),
        ({"results": {"threshold": "0.5"}}, "results.threshold: "),
        ({"results": {"threshold": 1.5}}, "results.threshold: "),
        ({"inputs": {"classes": "cat"}}, "inputs.classes: "),
        ({"results": {"shown": [shown("../y")]}}, "tiles.x: "),
    ],
)
def test_a_record_that_no_stage_writes_is_refused(tmp_path, changed, told):
    run = RunFolder(tmp_path / "run")
    stage = make_stage(run, "masks", KEYS[0], {})
    record = json.loads((stage.path / "stage.json").read_text())
    (stage.path / "stage.json").write_text(json.dumps(record | changed))
    name_stages(run, masks=KEYS[0])
    with pytest.raises(
        StoreError,
        match=rf"masks/{KEYS[0]}/stage\.json is damaged: .*{told}.*Delete it; the same command makes it again",
    ):
        run.stage("masks")


def test_what_readers_take_from_a_finished_stage_must_be_there(tmp_path):
    stage = make_stage(RunFolder(tmp_path / "run"), "masks", KEYS[0], {})
    with pytest.raises(
        StoreError, match=r"damaged: seconds is missing|peak_memory_mb is missing; results\.images is missing"
    ):
        read_record(stage.path / "stage.json", "masks")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"size": np.array([8.0, 8.0])}, "not height and width"),
        ({"size": np.array([0, 8])}, "not height and width"),
        ({"size": np.array([8, 2**40])}, "not height and width"),
        ({"class_indices": np.array([0, 1])}, "do not fit together"),
        ({"class_indices": np.array([-1])}, "from 0 to 253"),
        ({"maps": np.ones((1, 20, 2), np.uint8)}, "larger than the image"),
        ({"ignore": np.zeros(2, np.uint8)}, "ignored pixels are not those"),
    ],
)
def test_arrays_that_do_not_fit_are_no_class_maps(tmp_path, changed, told):
    whole = {"maps": np.ones((1, 2, 2), np.uint8), "class_indices": np.array([0]), "size": np.array([8, 8])}
    np.savez(tmp_path / "a.npz", **(whole | changed))
    with pytest.raises(StoreError, match=f"a.npz cannot be read as class maps .*{told}"):
        read_seed(tmp_path / "a.npz")


def test_a_head_that_is_no_object_is_no_tensors_file(tmp_path):
    save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, [])
    with pytest.raises(StoreError, match=r"x\.safetensors cannot be read .*is list, not fields"):
        load_tensors(tmp_path / "x.safetensors")
