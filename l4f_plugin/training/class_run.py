"""A training of a class as a process of its own: found again, paused, gone on with, and of use at any time.

Everything about a run lies in one folder: the plan, where it stands, what is wished of it, a log in words, and the work
of its stages. Whoever wants something of it, the page or a command, writes or reads there. The process holds a lock,
which the system opens however the process ends.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from ..bundles import records
from ..bundles.bundle import Bundle, load_bundle, save_bundle
from ..bundles.fields import CLASS_NAME
from ..bundles.files import DiskFull, is_bundle_of_ours, remove, storage_error, write_atomically
from ..bundles.folders import models_folder, trainings_folder
from ..bundles.locks import lock
from ..bundles.training_state import load_training_state, unflatten_state
from ..errors import Cancelled, UserError, printable
from ..hub.download import held
from ..hub.own_checkpoints import demand_free_name
from ..hub.sharing.card import SAMPLES_NAME, trained_card
from ..jobs import CancelToken, Progress, Report, unseen
from ..provenance import may_write
from ..runtime import choose_device, free_memory
from ..sample_sheet import draw_samples
from .alpha_training import AlphaTrainer
from .chain import LEARNED_THRESHOLD, TrainingStage, enough_memory, go_through
from .class_plan import (
    GENERATOR,
    GENERATOR_RUN,
    ClassPlan,
    generator_settings,
    measured,
    mended,
    stages_of,
    starting_folder,
)
from .courtesy import AWAY, RUNNING, WAITING, Courtesy
from .generator_training import GeneratorTrainer
from .loop import STATE_FILE, Watch, read_metrics
from .mask_quality import measure_masks
from .runs import BEST_FOLDER, trained_bundle, with_masks_of
from .training_time import in_words
from .troubles import COLLAPSED, DISK, DIVERGED, GONE, SENTENCES, SPILLED

PLAN, STATUS, WISH, LOG, LOCK = "plan.json", "status.json", "wish", "log.txt", "lock"
OUTPUT, INSTALLED, SPARE = "output.txt", "installed", "spare"
PAUSE, STOP, MEND = "pause", "stop", "mend"
STARTING, PAUSED, STOPPED, DONE, FAILED = "starting", "paused", "stopped", "done", "failed"
DIARY_LINES = 200
INTERRUPTED = "interrupted"
"""What a run is whose process was killed: nobody wrote that down."""
_PACKAGE = Path(__file__).resolve().parents[1]
_SPARE_BYTES = 1 << 16  # given up on a full disk, so that what is wrong can be written down
_LEAST_SECONDS = 0.5  # between two writes of where it stands
_LOOK_AGAIN = 0.2  # seconds between looks while paused
_PATIENCE = 2.0  # seconds in which whoever only looks at the lock has let go of it
_STARTS_WITHIN = 60.0  # seconds, after which a process that holds no lock has failed to start


@dataclass(frozen=True)
class RunStatus:
    state: str = STOPPED
    stage: str = ""  # its title
    done: int = 0  # tenths of a second of measured work
    total: int = 0
    seconds_left: float | None = None  # at the speed so far
    problem: str = ""  # the sentence of what is wrong
    trouble: str = ""  # its name in `troubles.py`


class Wish(CancelToken):
    """Set as long as somebody wishes the run to pause or stop; the wish is a file, so that any process can have it."""

    def __init__(self, path: Path):
        super().__init__()
        self._path = path

    @property
    def cancelled(self) -> bool:
        return super().cancelled or self._path.exists()


class ClassRun:
    """The run of that name, whether its folder is there or not."""

    def __init__(self, name: str):
        if not CLASS_NAME.fullmatch(name):
            raise UserError(f"{printable(name)!r} is no name for a class; use up to 64 small letters, digits, - and _.")
        self.name, self.folder = name, trainings_folder() / name

    # What others read

    @property
    def exists(self) -> bool:
        return (self.folder / PLAN).is_file()

    @property
    def plan(self) -> ClassPlan:
        """What is to be done. Raises ``UserError``."""
        try:
            return ClassPlan(**json.loads((self.folder / PLAN).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise UserError(
                f"There is no training called {self.name}; begin it with: l4f train class FOLDER --name {self.name}."
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"The plan in {self.folder} cannot be read ({error}); delete the training.") from None

    @property
    def is_alive(self) -> bool:
        """Whether a process works on it, or waits."""
        if not (self.folder / LOCK).exists():
            return False
        try:
            with lock(self.folder / LOCK, refusal="taken"):
                return False
        except UserError:
            return True

    def status(self) -> RunStatus:
        status = self._told()
        began = status.state == STARTING and time.time() - (self.folder / STATUS).stat().st_mtime < _STARTS_WITHIN
        if status.state in (STARTING, RUNNING, PAUSED, WAITING, AWAY) and not began and not self.is_alive:
            return dataclasses.replace(status, state=INTERRUPTED)
        return status

    def _told(self) -> RunStatus:
        with suppress(OSError, ValueError, TypeError):
            return RunStatus(**json.loads((self.folder / STATUS).read_text(encoding="utf-8")))
        return RunStatus()

    def log(self, most: int = 20) -> list[str]:
        """The last lines of the log, oldest first."""
        with suppress(OSError):
            return (self.folder / LOG).read_text(encoding="utf-8").splitlines()[-most:]
        return []

    def latest_sheet(self) -> Path | None:
        """The newest sheet of samples. What the training removes meanwhile is passed over."""
        sheets = []
        for folder, _, names in os.walk(self.folder):
            for path in (Path(folder, name) for name in names if fnmatch(name, "sample_*.png")):
                with suppress(OSError):
                    sheets.append((path.stat().st_mtime, path))
        return max(sheets, default=(0, None))[1]

    def curves(self) -> list[dict[str, float]]:
        """What the trainings of the generator and, at last, of the masks have logged."""
        attempts = sorted((self.folder / "masks").glob("attempt*"), key=lambda attempt: attempt.stat().st_mtime)
        return [line for run in (self.folder / GENERATOR_RUN, *attempts[-1:]) for line in read_metrics(run)]

    # What others do

    def begin(self, plan: ClassPlan) -> None:
        """Writes the plan down. Raises ``UserError`` where there is such a training or such a class."""
        if self.exists:
            raise UserError(
                f"There is a training called {self.name} already; go on with it, delete it, or choose another name."
            )
        demand_free_name(self.name)
        self._write(PLAN, json.dumps(asdict(plan), indent=1))
        self._change()

    def start_process(self) -> None:
        """Starts the process, or lets it go on where it waits; it outlives this one. Raises ``UserError``."""
        _ = self.plan
        self.wish("")
        if self.is_alive or self.status().state == STARTING:
            return
        search = os.pathsep.join(filter(None, [str(_PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        apart: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
        self._change(state=STARTING, problem="", trouble="")
        try:
            with open(self.folder / OUTPUT, "wb") as output:
                subprocess.Popen(
                    [sys.executable, "-m", _PACKAGE.name, "train", "class", "--name", self.name],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "PYTHONPATH": search},
                    **apart,
                )
        except OSError as error:
            raise storage_error(error, self.folder) from error

    def wish(self, what: str) -> None:
        """Asks for a pause or a stop; an empty wish takes it back."""
        if what:
            self._write(WISH, what)
        else:
            (self.folder / WISH).unlink(missing_ok=True)

    def mend(self) -> None:
        """Changes the plan as helps against the trouble that is told, and lets the process go on."""
        if self.is_alive:
            self.wish(MEND)
        else:
            self.change_plan()
            self.start_process()

    def change_plan(self) -> None:
        """The plan as helps against the trouble that is told; it stays where none is."""
        plan, trouble = self.plan, self._told().trouble
        stages = stages_of(plan, self.folder)
        stage = next((stage for stage in stages if not is_bundle_of_ours(stage.bundle)), stages[-1])
        if trouble in (COLLAPSED, SPILLED):  # by masks of a generator that is to learn more
            for later in stages[1:]:
                remove(later.folder)
            remove(stages[0].bundle)
        self._write(PLAN, json.dumps(asdict(mended(plan, trouble, stage.title)), indent=1))
        self._change(problem="", trouble="")

    def delete(self) -> None:
        """Removes the run with all its work; the installed class stays. Raises ``UserError`` while it runs."""
        if self.is_alive:
            raise UserError(f"The training of {self.name} runs; stop it first, then delete it.")
        remove(self.folder)

    def use_best(self, report: Report = print) -> Path:
        """Installs what there is as the class, at any time; the folder of its bundle.

        Where the masks are not learned yet, those of the state so far are taken, or a guess from the pictures' own
        corners, so that the class draws. Raises ``UserError`` where there is nothing yet.
        """
        plan = self.plan
        device = choose_device(plan.device)
        stages = stages_of(plan, self.folder)
        with enough_memory(f"installing {self.name}", plan.batch_size):
            bundle, words = self._best(plan, stages, device)
            folder = self._install(bundle, f"Taken from a training on the way: {words}.")
        report(f"{self.name} is installed from {words}: {folder}")
        return folder

    # What the process does

    def work(self, report: Report = print, progress: Progress = unseen) -> bool:
        """Goes on until all stages are done and the class is installed; False when stopped before.

        Ctrl-C and SIGTERM stop it after the step. Raises ``UserError``, which is kept as the run's problem.
        """
        plan = self.plan
        with ExitStack() as held_lock:
            self._take(held_lock)
            (self.folder / WISH).unlink(missing_ok=True)
            try:
                self._write(SPARE, " " * _SPARE_BYTES)
                return self._work(plan, report, progress)
            except UserError as error:
                remove(self.folder / SPARE)
                kind = DISK if isinstance(error, DiskFull) else getattr(error, "kind", "")
                kind = kind or ("" if Path(plan.folder).exists() else GONE)
                problem = SENTENCES[DIVERGED] if kind == DIVERGED else str(error)
                self._change(state=FAILED, problem=problem, trouble=kind, seconds_left=None)
                self._note(problem)
                raise
            except (Cancelled, KeyboardInterrupt):
                self._change(state=STOPPED, seconds_left=None)
                raise

    def _take(self, held_lock: ExitStack) -> None:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                refusal = f"The training of {self.name} runs already, in another process."
                held_lock.enter_context(lock(self.folder / LOCK, refusal=refusal))
                return
            except UserError:
                if time.monotonic() > until:
                    raise
                time.sleep(_LOOK_AGAIN)

    def _work(self, plan: ClassPlan, report: Report, progress: Progress) -> bool:
        def say(line: str) -> None:
            report(line)
            self._note(line)

        def notice(trouble: str | None) -> None:
            self._change(problem=SENTENCES.get(trouble, ""), trouble=trouble or "")
            if trouble and trouble not in said:
                said.add(trouble)
                go = "Go" if trouble == SPILLED else "Stop it, and go"  # at the end, or on the way
                say(f"{SENTENCES[trouble]} {go} on with: l4f train class --name {self.name} --mend")

        said: set[str] = set()
        device, stages = choose_device(plan.device), stages_of(plan, self.folder)
        cancel = Wish(self.folder / WISH)
        others = Courtesy(device, cancel, lambda state: self._change(state=state))
        while True:
            self._change(state=RUNNING, problem="", trouble="")
            watch = Watch(say, _Clock(self, progress).tell, cancel, others.turn, noticed=notice)
            finished = False
            with enough_memory(f"training {self.name}", plan.batch_size), suppress(Cancelled):
                if not plan.seconds:
                    plan = measured(plan, self.folder, report=say, cancel=cancel, turn=others.turn)
                    self._write(PLAN, json.dumps(asdict(plan), indent=1))
                    for line in plan.in_words():
                        say(line)
                    stages = stages_of(plan, self.folder)
                finished = go_through(stages, device, watch)
            if finished:
                break
            if others.gave_way and not self._wished():
                free_memory()
                say("Another program needs the memory; it is free, and the training goes on when that one rests.")
                others.wait()
                continue
            if self._wished() == MEND:
                self.wish("")
                self.change_plan()
                said.clear()
                stages = stages_of(self.plan, self.folder)
                say("Going on with other settings.")
                continue
            if self._wished() != PAUSE:
                self._change(state=STOPPED, seconds_left=None)
                return False
            free_memory()
            self._change(state=PAUSED, seconds_left=None)
            say("Paused; its memory is free.")
            while (wished := self._wished()) == PAUSE:
                time.sleep(_LOOK_AGAIN)
            if wished != STOP:  # which ends at the next look, before a step
                say("Going on.")
        bundle = load_bundle(stages[-1].bundle, with_discriminator=True)
        say("Measuring the masks.")
        quality, _ = measure_masks(bundle, device)
        folder = self._install(bundle, quality.in_markdown())
        notice(SPILLED if quality.doubt else None)
        self._change(state=DONE, done=self._told().total, seconds_left=None)
        say(f"{self.name} is ready: {folder}")
        return True

    def _wished(self) -> str:
        with suppress(OSError):
            return (self.folder / WISH).read_text(encoding="utf-8")
        return ""

    def _best(self, plan: ClassPlan, stages: list[TrainingStage], device: torch.device) -> tuple[Bundle, str]:
        """What there is, and how far it has come, in words."""
        finished = [stage for stage in stages if is_bundle_of_ours(stage.bundle)]
        if finished and finished[-1].title != GENERATOR:
            return load_bundle(finished[-1].bundle, with_discriminator=True), f"the stage {finished[-1].title}"
        if finished:
            bundle, words = load_bundle(finished[-1].bundle, with_discriminator=True), "the finished generator"
        else:
            bundle, words = _generator_so_far(plan, self.folder / GENERATOR_RUN)
        learner, how = _masks_so_far(bundle, stages[1], device)
        return with_masks_of(learner, bundle), f"{words}, with masks {how}"

    def _install(self, bundle: Bundle, notes: str) -> Path:
        target = models_folder() / self.name
        if not (self.folder / INSTALLED).exists():
            demand_free_name(self.name)
        bundle.config = dataclasses.replace(bundle.config, alpha_threshold=LEARNED_THRESHOLD)
        plan = self.plan
        started = f"starting from {plan.start}" if plan.start else "from scratch"
        about = (
            f"## Training\n\nIts generator was trained {started} on a folder of pictures at {plan.resolution} px, its "
            f"masks without any label.\n\n{notes}"
        )
        sheet, diary = self.folder / SAMPLES_NAME, "\n".join(self.log(DIARY_LINES)).replace(str(self.folder), "...")
        samples = draw_samples(bundle, sheet, device=plan.device)
        with held(self.name):
            save_bundle(bundle, target, model_card=trained_card(bundle.config, samples, about, diary))
            if may_write(target / SAMPLES_NAME):
                shutil.copyfile(sheet, target / SAMPLES_NAME)
            records.remember(self.name, target)
        (self.folder / INSTALLED).touch()
        return target

    def _write(self, name: str, words: str) -> None:
        write_atomically(self.folder / name, words)

    def _change(self, **changed: Any) -> None:
        self._write(STATUS, json.dumps(asdict(dataclasses.replace(self._told(), **changed))))

    def _note(self, line: str) -> None:
        with suppress(OSError), open(self.folder / LOG, "a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%H:%M')}  {line}\n")


class _Clock:
    """Notes the progress now and then, with the time left: what was measured, at the pace that it really goes."""

    def __init__(self, run: ClassRun, progress: Progress):
        self._run, self._progress = run, progress
        self._began: tuple[float, int] | None = None
        self._told = 0.0

    def tell(self, done: int, total: int, stage: str) -> None:
        now = time.monotonic()
        self._began = self._began or (now, done)
        if now - self._told < _LEAST_SECONDS and done < total:
            return
        self._told = now
        since, first = self._began
        pace = (now - since) / ((done - first) / 10) if done - first >= 50 and now - since > 5 else 1.0
        left = (total - done) / 10 * pace
        self._run._change(state=RUNNING, stage=stage, done=done, total=total, seconds_left=left)
        self._progress(done, total, f"{stage}: {done / max(total, 1):.0%} of all, {in_words(left)} left")


def _generator_so_far(plan: ClassPlan, run: Path) -> tuple[Bundle, str]:
    """The state nearest to the real pictures where one was measured, else the last that was saved."""
    if is_bundle_of_ours(run / BEST_FOLDER):
        return load_bundle(run / BEST_FOLDER, with_discriminator=True), "the generator nearest to the pictures so far"
    if not (run / STATE_FILE).exists():
        raise UserError(f"The training of {plan.name} has nothing to use yet; wait for its first samples.")
    tensors, metadata = load_training_state(run / STATE_FILE)
    trainer = GeneratorTrainer(generator_settings(plan))
    trainer.load_state(unflatten_state(tensors, metadata["state"]))
    bundle = trained_bundle(trainer, plan.name, plan.licence, "a folder of pictures", starting_folder(plan))
    return bundle, f"the generator after {trainer.pictures_seen:,} pictures"


def _masks_so_far(bundle: Bundle, stage: TrainingStage, device: torch.device) -> tuple[AlphaTrainer, str]:
    """The masks of the latest attempt; before there is one, a guess from the pictures' own corners."""
    trainer = AlphaTrainer(stage.settings, bundle, device)
    attempts = sorted(stage.folder.glob(f"attempt*/{STATE_FILE}"), key=lambda path: path.stat().st_mtime)
    if attempts:
        tensors, metadata = load_training_state(attempts[-1])
        state = unflatten_state(tensors, metadata["state"])
        if state["rounds"] >= stage.settings.steps * stage.settings.limits_until:  # before that they have hardly formed
            trainer.load_state(state)
            return trainer, f"after {trainer.rounds:,} steps"
    trainer.start_from_difference("corners")
    return trainer, "guessed from the pictures' own corners"
