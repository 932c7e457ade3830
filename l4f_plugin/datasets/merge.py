"""One set of the shards that several machines drew, each into a folder of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..bundles.files import open_plain, remove
from ..bundles.locks import lock
from ..errors import UserError
from ..jobs import CancelToken, Progress
from .export import begin
from .export_plan import STATE_FOLDER, Plan, check_same, read_plan
from .finishing import complete, is_complete
from .shards import ShardRecord, is_done, missing_shards, read_record, record_path, write_file, write_record

_NAMED = 8  # missing shards that are named


def merge(
    parts: Sequence[Path], folder: Path, *, progress: Progress | None = None, cancel: CancelToken | None = None
) -> Plan:
    """Copies what `folder` lacks from the parts, checks every hash on the way and puts the set together; its plan.

    `folder` may be one of the parts. What a killed merge has copied stays, and the same call goes on from there.
    Raises `UserError` for parts that are none or not of one plan, for damaged files, and where shards are missing.
    """
    cancel = cancel or CancelToken()
    plan = _plan_of(parts)
    begin(plan, folder)
    with lock(folder / STATE_FOLDER / "merge.lock"):
        for shard in range(plan.shards):
            cancel.check()
            if not is_done(folder, shard):
                _bring(parts, folder, shard)
            if progress:
                progress(shard + 1, plan.shards, f"{shard + 1:,} of {plan.shards:,} shards")
        missing = missing_shards(folder, plan)
        if missing:
            named = ", ".join(map(str, missing[:_NAMED])) + (", ..." if len(missing) > _NAMED else "")
            raise UserError(
                f"{len(missing)} of {plan.shards} shards are in none of these folders ({named}); draw them with the "
                "command that drew the others, and merge again."
            )
        if not is_complete(folder, plan):
            complete(plan, folder)
    return plan


def _plan_of(parts: Sequence[Path]) -> Plan:
    plans = []
    for part in parts:
        plan = read_plan(part)
        if plan is None:
            raise UserError(f"{part} holds no export; name folders that `l4f export` wrote.")
        plans.append(plan)
        check_same(plans[0], plan, part)
    if not plans:
        raise UserError("There is nothing to merge; name the folders that `l4f export` wrote.")
    return plans[0]


def _bring(parts: Sequence[Path], folder: Path, shard: int) -> None:
    """Copies a shard from the first part that has all of it."""
    for part in parts:
        if part.resolve() != folder.resolve() and is_done(part, shard):
            record = read_record(part, shard)
            remove(record_path(folder, shard))
            _copy(part, folder, record)
            return


def _copy(part: Path, folder: Path, record: ShardRecord) -> None:
    for note in record.files:
        try:
            with open_plain(part / note.path) as file:
                content = file.read()
        except OSError as error:
            raise UserError(f"{part / note.path} cannot be read ({error.strerror}); check the folder.") from error
        if hashlib.sha256(content).hexdigest() != note.sha256:
            raise UserError(f"{part / note.path} is damaged; copy that folder again, or draw its shards again.")
        write_file(folder, note.path, content)
    write_record(folder, record)
