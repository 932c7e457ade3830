"""The loop around any trainer: checkpoints, resumption, metrics, sample sheets, progress, clean stops.

A trainer knows how to take one step and how to describe its state; this file knows about folders, time and signals.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from torch.optim import Optimizer
from tqdm import tqdm

from ..bundles.files import make_folder, write_atomically, writing
from ..bundles.training_state import flatten_state, load_training_state, save_training_state, unflatten_state
from ..errors import Cancelled, UserError
from ..images import write_png
from ..jobs import NEVER, CancelToken, Progress, Report
from ..provenance import free_stem, sheet_text
from . import together
from .courtesy import Turn
from .trainer import Trainer
from .troubles import DIVERGED, HELPFUL, Trouble
from .updates import Diverged, demand_finite

STEPPING = "training"  # what progress calls the steps
STATE_FILE = "state.safetensors"
METRICS_FILE = "metrics.jsonl"
SPEED = "pictures_per_second"
TROUBLE_FILE = "trouble"
_REMEDIES = {
    "learning_rate": "a lower learning rate (--learning-rate)",
    "r1_weight": "more R1 (--r1-weight)",
    "feature_dtype": "float32 (--dtype)",
}


@dataclass(frozen=True)
class Watch:
    """Who watches a training: is told of it, may stop it, and gets the device between its steps."""

    report: Report = print
    progress: Progress | None = None  # counts pictures, or tenths of a second where several trainings follow
    cancel: CancelToken = NEVER
    turn: Turn = nullcontext
    save_seconds: float = 60.0  # of work that a kill loses at most
    noticed: Callable[[str | None], None] = lambda trouble: None  # whenever the trainer's ``trouble`` has changed
    sheet_due: Callable[[], bool] = lambda: False  # whether a further sheet of samples is wanted


UNWATCHED = Watch()


class OtherSettings(UserError):
    """A folder holds the state of a run with other settings, for which it means nothing."""


def resume(trainer: Trainer, folder: Path) -> bool:
    """Load the state a previous run left in ``folder``; False where there is none.

    Raises OtherSettings (those that help against a trouble may be others after one), and UserError where the state
    itself is not finite, and where ``folder`` holds metrics that are not of a training here.
    """
    path, metrics = folder / STATE_FILE, folder / METRICS_FILE
    if metrics.is_symlink() or (metrics.exists() and not _is_ours(metrics)):
        raise UserError(f"{metrics} is not of a training and is left alone; choose another --out.")
    if not path.exists():
        return False
    tensors, metadata = load_training_state(path)
    try:
        demand_finite(tensors.values())
    except Diverged:
        raise UserError(
            f"{path} holds values that are not finite, since its training diverged; remove that folder, or "
            "choose another --out, and start with a lower learning rate."
        ) from None
    state = unflatten_state(tensors, metadata["state"])
    settings = trainer.state()["settings"]
    earlier = {name: value for name, value in state["settings"].items() if name in settings}  # else from before it was
    different = sorted(name for name in earlier if earlier[name] != settings[name])
    trouble = folder / TROUBLE_FILE
    helpful = HELPFUL.get(trouble.read_text(encoding="ascii"), ()) if trouble.exists() else ()
    different = [name for name in different if not name.endswith((*helpful, "accumulate"))]  # which changes no weight
    if different:
        raise OtherSettings(
            f"{folder} holds a run with another {', '.join(different)}; give the same settings to resume it, "
            "or another --out to start anew."
        )
    optimizers = [value for value in vars(trainer).values() if isinstance(value, Optimizer)]
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    trainer.load_state(state)
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = rates.pop(0)  # what is asked for now, not what the state was made with
    if together.is_first():
        _drop_metrics_after(folder, trainer.pictures_seen)
    return True


def train(
    trainer: Trainer,
    folder: Path,
    target_pictures: int,
    watch: Watch = UNWATCHED,
    *,
    grid_pictures: int = 20_000,
    log_pictures: int = 1_000,
    measure: Callable[[], dict[str, float]] = dict,
) -> bool:
    """Step until ``target_pictures`` have been seen; True when they have, False when stopped before.

    Ctrl-C, SIGTERM, ``watch.cancel`` or a collapse end the run after the step in progress, with its state saved. A
    sheet of samples, with the further metrics of ``measure``, comes every ``grid_pictures``. A bar on the terminal
    stands in where there is no ``watch.progress``.

    A step that leads out of the finite numbers ends the run at once as ``Trouble``; the state from before it stays.
    """
    make_folder(folder)
    shown = tqdm(
        total=target_pictures,
        initial=trainer.pictures_seen,
        unit="img",
        smoothing=0.05,
        file=sys.stderr,
        disable=watch.progress is not None or not together.is_first(),
    )
    sums: dict[str, list[float]] = {}
    saved_at, trouble, logged = time.monotonic(), None, (trainer.pictures_seen, time.monotonic())
    if not (folder / STATE_FILE).exists():
        save(trainer, folder)  # what the first steps can fall back on
    together.wait()
    with shown, _saved_state_kept(trainer, folder), _stop_requests() as stopped:
        while trainer.pictures_seen < target_pictures and not trainer.collapsed:
            if together.any_of(stopped() or watch.cancel.cancelled):
                break
            before = trainer.pictures_seen
            try:
                with watch.turn():
                    values = trainer.step()
                    if not all(map(math.isfinite, values.values())):
                        raise Diverged
                    if not together.is_first():
                        continue  # the first writes it all down
                    if _crossed(before, trainer.pictures_seen, grid_pictures):
                        write_grid(trainer, folder)
                        values |= measure()
                    elif watch.sheet_due():
                        write_grid(trainer, folder)
            except Cancelled:
                break
            for name, value in values.items():
                sums.setdefault(name, []).append(value)
            shown.update(trainer.pictures_seen - before)
            if watch.progress:
                watch.progress(trainer.pictures_seen, target_pictures, STEPPING)
            if trainer.trouble != trouble:
                trouble = trainer.trouble
                watch.noticed(trouble)
            if _crossed(before, trainer.pictures_seen, log_pictures):
                means = {name: sum(values) / len(values) for name, values in sums.items()}
                now = time.monotonic()
                means[SPEED] = (trainer.pictures_seen - logged[0]) / max(now - logged[1], 1e-9)
                logged = trainer.pictures_seen, now
                sums.clear()
                with writing(folder / METRICS_FILE), (folder / METRICS_FILE).open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps({"pictures": trainer.pictures_seen, **means}) + "\n")
                shown.set_postfix({name: f"{value:.3f}" for name, value in list(means.items())[:3]})
            if time.monotonic() - saved_at > watch.save_seconds:
                save(trainer, folder)
                saved_at = time.monotonic()
        save(trainer, folder)
    write_grid(trainer, folder)
    together.wait()
    return trainer.pictures_seen >= target_pictures


def train_steps(trainer: Trainer, folder: Path, watch: Watch = UNWATCHED) -> bool:
    """A training of minutes, of as many steps as the settings say; a run that ``folder`` holds goes on.

    There are four sheets, and metrics every 20 steps. Everything else is as in ``train``.
    """
    if resume(trainer, folder):
        watch.report(f"Going on from step {trainer.rounds:,}.")
    batch = trainer.settings.batch_size
    target = trainer.settings.steps * batch
    finished = train(trainer, folder, target, watch, grid_pictures=max(target // 4, 1), log_pictures=20 * batch)
    if not (finished or trainer.collapsed):
        watch.report(f"Stopped at step {trainer.rounds:,}; the same command goes on from there.")
    return finished


def save(trainer: Trainer, folder: Path) -> None:
    """Write the trainer's state, atomically. Raises ``Diverged``, and keeps the old one, where it is not finite."""
    if not together.is_first():
        return
    tensors, structure = flatten_state(trainer.state())
    demand_finite(tensors.values())
    save_training_state(folder / STATE_FILE, tensors, {"state": structure})
    if trainer.trouble in HELPFUL:
        write_atomically(folder / TROUBLE_FILE, trainer.trouble)  # so that the run may go on with other settings
    else:
        (folder / TROUBLE_FILE).unlink(missing_ok=True)


@contextmanager
def _saved_state_kept(trainer: Trainer, folder: Path) -> Iterator[None]:
    """Puts divergence into words, and notes it in the folder, so that the run may go on with other settings."""
    try:
        yield
    except Diverged:
        settings = trainer.state()["settings"]
        helpful = [words for name, words in _REMEDIES.items() if name in settings and settings[name] != "float32"]
        write_atomically(folder / TROUBLE_FILE, DIVERGED)
        raise Trouble(
            f"The training diverged after {trainer.pictures_seen:,} pictures (its numbers are no longer finite) and "
            f"was stopped; the last good state is kept in {folder}, and the training goes on from there with "
            f"{', '.join(helpful[:-1])}{' or ' if helpful[1:] else ''}{helpful[-1]}.",
            DIVERGED,
        ) from None


def write_grid(trainer: Trainer, folder: Path) -> Path | None:
    """Write a sheet of samples named by the pictures seen; its file, from the process that writes."""
    if not together.is_first():
        return None
    make_folder(folder)
    path = folder / f"{free_stem(folder, f'sample_{trainer.pictures_seen:09d}', ['.png'])}.png"
    write_png(path, trainer.sample_grid(), sheet_text("samples of a training"))
    return path


class GrowingIntervals:
    """Says when the next sheet is due: after ``first`` seconds, then after ever longer times, up to ``longest``."""

    def __init__(self, first: float = 15.0, growth: float = 1.5, longest: float = 600.0):
        self._wait, self._growth, self._longest = first, growth, longest
        self._since = time.monotonic()

    def __call__(self) -> bool:
        due = time.monotonic() - self._since >= self._wait
        if due:
            self._since = time.monotonic()
            self._wait = min(self._wait * self._growth, self._longest)
        return due


def _crossed(before: int, after: int, interval: int) -> bool:
    return before // interval != after // interval


def _is_ours(metrics: Path) -> bool:
    """Whether metrics begin as those that are written here do; a kill may leave less than a line."""
    with metrics.open("rb") as stream:
        first = stream.readline(1 << 16)
    return first.startswith(b'{"pictures": ') or b'{"pictures": '.startswith(first)


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """What a run has logged so far, oldest first; a line that a kill cut short is left out."""
    path, records = folder / METRICS_FILE, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError):
            records.append(json.loads(line))
    return [record for record in records if isinstance(record, dict) and "pictures" in record]


def write_events(run: Path) -> Path:
    """Writes what all trainings in a folder have logged as TensorBoard's event files; the folder, ``run/curves``.

    Raises UserError without the extra "curves".
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("Curves as event files want TensorBoard; install it with: pip install tensorboard") from None
    curves = run / "curves"
    for earlier in curves.rglob("events.out.tfevents.*"):
        earlier.unlink()
    for metrics in sorted(run.rglob(METRICS_FILE)):
        with SummaryWriter(str(curves / metrics.parent.relative_to(run))) as writer:
            for record in read_metrics(metrics.parent):
                pictures = int(record.pop("pictures"))
                for name, value in record.items():
                    writer.add_scalar(name, value, pictures)
    return curves


def _drop_metrics_after(folder: Path, pictures: int) -> None:
    """A killed run logged steps that the resumed one will take again; forget them."""
    path = folder / METRICS_FILE
    if path.exists():
        kept = [json.dumps(record) + "\n" for record in read_metrics(folder) if record["pictures"] <= pictures]
        write_atomically(path, "".join(kept))


@contextmanager
def _stop_requests():
    """Turn Ctrl-C and SIGTERM into a flag while the loop runs; a second Ctrl-C interrupts at once."""
    requested = False

    def request(number, frame):
        nonlocal requested
        requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("\nStopping after this step; the state is being saved.", file=sys.stderr)

    previous = {}
    with suppress(ValueError):  # not the main thread (a page is training): the caller cancels instead
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, request)
    try:
        yield lambda: requested
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
