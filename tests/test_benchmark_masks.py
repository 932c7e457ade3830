"""The table of mask recipes: a run is a row, a row is made once, and seeds are summed up."""

import numpy as np
import pytest
from bundles import saved

from benchmarks import masks


@pytest.fixture()
def table(tmp_path, own_folders, monkeypatch):
    monkeypatch.setattr(masks, "TABLE", tmp_path / "masks.csv")
    return tmp_path / "masks.csv"


def test_a_run_is_trained_and_judged_once(table, tmp_path, monkeypatch):
    class AllObject:
        """A judge to which the upper half of every picture is object."""

    def upper_half(judge, pictures):
        answer = np.zeros(pictures.shape[:3], np.float32)
        answer[:, : pictures.shape[1] // 2] = 1
        return answer

    monkeypatch.setattr(masks, "judge_of", lambda name: AllObject())
    monkeypatch.setattr("l4f_plugin.evaluation.class_evaluation.judge_masks", upper_half)
    folder = saved(tmp_path / "bundle")
    for seed in (0, 1, 0):
        masks.measure("tiny", folder, "default", seed, 32, 4)
    rows = masks.read_table()
    assert [(row.object_class, row.recipe, row.seed, row.composites) for row in rows] == [
        ("tiny", "default", 0, 32), ("tiny", "default", 1, 32),
    ]  # fmt: skip
    assert rows[0].judged_area_07 == 0.5 and 0 <= rows[0].iou_07 <= 1
    assert "| tiny | default | 32 | 2 |" in masks.as_markdown(rows)


def test_seeds_are_summed_up_and_classes_kept_apart(table):
    for name, seed, iou in (("near", 0, 0.90), ("near", 1, 0.96), ("far", 0, 0.5)):
        masks.append_row(masks.Run(name, "abc", "held", seed, 100, iou, iou / 2, 0.1, 0.2, 0.3, 0.4, 2.0, "a, b"))
    lines = masks.as_markdown(masks.read_table()).splitlines()[2:]
    assert lines == [
        "| far | held | 100 | 1 | 0.500 | 0.250 | 0.100 (0.200) | 2 |",
        "| near | held | 100 | 2 | 0.930 (0.900 to 0.960) | 0.465 (0.450 to 0.480) | 0.100 (0.200) | 2 |",
    ]
