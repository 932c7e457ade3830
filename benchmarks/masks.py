"""``python3 -m benchmarks.masks``: recipes for masks against one another, on frozen generators of known truth.

    python3 -m benchmarks.masks avatar=weights/avatar near=FOLDER --recipes default,held,paper --seeds 0,1,2
    python3 -m benchmarks.masks --table          only print what was measured

Every recipe sees the same number of composites and is judged as ``l4f evaluate class`` judges: by the first judge, on
generated pictures at psi 0.7 and 1.0. A run is a row of ``masks.csv`` beside this file. Runs that are there are not
made again, and one that was cut short goes on. The labelled pictures of a class NAME lie in the cache folder, in
``datasets/NAME``; for the sets of nearer and farther portraits see ``tools/avatar``.
"""

import argparse
import csv
import dataclasses
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from l4f_plugin.bundles.bundle import load_bundle
from l4f_plugin.bundles.folders import cache_folder
from l4f_plugin.errors import Cancelled
from l4f_plugin.evaluation.class_evaluation import draw, evaluate_alpha
from l4f_plugin.evaluation.judge import JudgeSettings, load_or_train_judge
from l4f_plugin.networks import UNet
from l4f_plugin.pipeline import Labels4FreePipeline
from l4f_plugin.training.recipes import AlphaSettings, paper_recipe
from l4f_plugin.training.runs import BUNDLE_FOLDER, train_alpha

TABLE = Path(__file__).with_name("masks.csv")
PSIS = (0.7, 1.0)

COARSE = AlphaSettings(follow_colours=False)
WHOLE = dataclasses.replace(COARSE, background_weight=0.0, area_weight=0.5)
PLAIN = dataclasses.replace(WHOLE, start="", decay_share=0.0)

RECIPES: dict[str, Callable[[str], AlphaSettings]] = {
    "default": lambda class_name: AlphaSettings(),
    "coarse": lambda class_name: COARSE,  # colours correct nothing; nor do they below
    "half": lambda class_name: dataclasses.replace(COARSE, background_weight=4.0),
    "whole": lambda class_name: WHOLE,  # the pressure is on the whole mask
    "plain": lambda class_name: PLAIN,  # and masks begin as nothing, at a constant rate
    "held": lambda class_name: dataclasses.replace(PLAIN, limits_until=1.0),  # and limits on the area stay to the end
    "paper": paper_recipe,
}


@dataclasses.dataclass(frozen=True)
class Run:
    """One row of the table: what was trained, and how its masks were judged. Areas are shares of the picture."""

    object_class: str
    generator: str  # the first eight digits of its weights' SHA-256
    recipe: str
    seed: int
    composites: int
    iou_07: float
    iou_10: float
    area_07: float
    judged_area_07: float
    area_10: float
    judged_area_10: float
    minutes: float
    processor: str

    @property
    def key(self) -> tuple:
        return self.object_class, self.generator, self.recipe, self.seed, self.composites


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classes", nargs="*", metavar="NAME=BUNDLE", help="classes and the folders of their bundles")
    parser.add_argument("--recipes", default=",".join(RECIPES), help="of %(default)s")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--composites", type=int, default=400 * 16, help="to train on (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=1000, help="to judge, for each psi (default: %(default)s)")
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    args = parser.parse_args()
    if not args.table:
        for named in args.classes:
            name, _, bundle = named.partition("=")
            for recipe in args.recipes.split(","):
                for seed in map(int, args.seeds.split(",")):
                    measure(name, Path(bundle), recipe, seed, args.composites, args.pictures)
    print(as_markdown(read_table()))


def measure(name: str, source: Path, recipe: str, seed: int, composites: int, pictures: int) -> None:
    """Train and judge one run, unless its row is there."""
    bundle = load_bundle(source)
    digest = bundle.config.files["generator.safetensors"].sha256[:8]
    key = (name, digest, recipe, seed, composites)
    if key in {run.key for run in read_table()}:
        return
    print(f"{name}, {recipe}, seed {seed}")
    settings = RECIPES[recipe](bundle.config.name)
    settings = dataclasses.replace(settings, seed=seed, steps=composites // settings.batch_size)
    folder = cache_folder() / "benchmarks" / "masks" / "-".join(map(str, key))
    real = cache_folder() / "datasets" / name / "train" / "images" if settings.real_samples == "pictures" else None
    begun = time.monotonic()
    if not train_alpha(source, folder, settings, folder=real):
        raise Cancelled
    minutes = (time.monotonic() - begun) / 60
    pipeline, judge = Labels4FreePipeline.from_pretrained(folder / BUNDLE_FOLDER), judge_of(name)
    threshold = pipeline.config.alpha_threshold
    reports = [evaluate_alpha(*draw(pipeline, pictures, psi), [judge], threshold) for psi in PSIS]
    ious = [report.against_judge.mean_iou for report in reports]
    areas = [area for report in reports for area in (report.mask_area, report.judge_mask_area)]
    figures = [round(figure, 4) for figure in (*ious, *areas)]
    append_row(Run(*key, *figures, round(minutes, 1), processor()))


def judge_of(name: str) -> UNet:
    """The first judge of a class, as ``l4f evaluate class`` has it."""
    settings = JudgeSettings(resolution=128)
    return load_or_train_judge(cache_folder() / "datasets" / name, settings, 0, cache_folder() / "judges")


def read_table() -> list[Run]:
    if not TABLE.exists():
        return []
    kinds = {field.name: field.type for field in dataclasses.fields(Run)}
    with TABLE.open(newline="", encoding="utf-8") as stream:
        return [Run(**{name: kinds[name](value) for name, value in row.items()}) for row in csv.DictReader(stream)]


def append_row(run: Run) -> None:
    """Add a row at once, so that a run that ends early loses none."""
    row = dataclasses.asdict(run)
    fresh = not TABLE.exists()
    with TABLE.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(row), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def as_markdown(runs: list[Run]) -> str:
    """Mean and spread (lowest to highest) over the seeds of each class and recipe."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        groups.setdefault((run.object_class, run.generator, run.recipe, run.composites), []).append(run)
    lines = ["| class | recipe | composites | seeds | mean IoU psi 0.7 | psi 1.0 | area (judged) psi 0.7 | minutes |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for (name, _, recipe, composites), rows in sorted(groups.items()):
        ious = [_spread([getattr(row, field) for row in rows]) for field in ("iou_07", "iou_10")]
        area, judged_area, minutes = (
            statistics.mean(getattr(row, field) for row in rows) for field in ("area_07", "judged_area_07", "minutes")
        )
        areas = f"{area:.3f} ({judged_area:.3f})"
        lines.append(
            f"| {name} | {recipe} | {composites:,} | {len(rows)} | {' | '.join(ious)} | {areas} | {minutes:.0f} |"
        )
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return [*names, platform.processor() or platform.machine()][0]


if __name__ == "__main__":
    main()
