"""What keeps stale and damaged results from passing for finished ones: results are compared with their hashes before a
run trusts them, and inputs, when a stage has read them, with what they were when its key was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from recam.digests import FileDigests
from recam.errors import DataError
from recam.runfolder.store import RunFolder, StageFolder

_SHOWN = 3


def reopen_damaged(folder: RunFolder, keys: dict[str, str], verify: bool, report: Callable[[str], None]) -> None:
    """Have finished stages make again what of theirs is missing or damaged; says so by `report`.

    Args:
        keys: by stage, what it must have been made from.
        verify: read all files; else only those whose time has changed, of the others the size is believed.
    """
    for name, key in keys.items():
        stage = folder.at(name, key)
        if not stage.claims_done:
            continue
        damage = stage.find_damage(verify)
        if damage:
            first = [f"{stage.path / file} {wrong}" for file, wrong in list(damage.items())[:_SHOWN]]
            more = f"; … and {len(damage) - _SHOWN} more" if len(damage) > _SHOWN else ""
            report(f"{name}: {len(damage)} of its files cannot be used and are made again: {'; '.join(first)}{more}.")
            stage.reopen(damage)
        else:
            stage.accept_times()


def discard_unfinished(folder: RunFolder, digests: FileDigests, report: Callable[[str], None]) -> None:
    """Throw away what unfinished stages have made, where input files were touched since they began.

    A stage that was killed could not compare its inputs, and content alone does not show that a file was another for a
    while. To be called before `digests` is saved.
    """
    touched = digests.take_touched()
    if not touched:
        return
    for stage in list(folder.kept_stages()):
        if stage.record.get("state") == "begun":
            stage.discard()
            report(f"{stage.name} was not finished and begins again: {_name_files(touched)} changed since it began.")


def refuse_changed(stage: StageFolder, digests: FileDigests, inputs: Iterable[str]) -> None:
    """Compare the input files of a stage that has just read them with what they were when its key was made.

    Raises:
        DataError: some are gone, have changed, or have changed and been put back; what the stage made is thrown away.
    """
    changed = digests.changed(inputs)
    if changed:
        stage.discard()
        raise DataError(
            f"{stage.name}: {_name_files(changed)} changed while the stage ran, so nobody knows which content its"
            " results are of;"
            " they were thrown away. Leave the data set's files alone while a run works on them, and run the same"
            " command again."
        )


def _name_files(paths: Sequence[str]) -> str:
    shown = ", ".join(str(Path(path)) for path in paths[:_SHOWN])
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return f"{len(paths)} file{'s' * (len(paths) != 1)} ({shown}{more})"
