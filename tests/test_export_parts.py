"""What an export is made of, without drawing: plan, curation, run lengths, backgrounds, ranks, records."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from sentences import refusal

from l4f_plugin.datasets import export_plan
from l4f_plugin.datasets.curation import IN_PIECES, TOO_LARGE, TOO_SMALL, UNCERTAIN, Curation, MaskMeasures, measure
from l4f_plugin.datasets.export_backgrounds import BackgroundFolder, choose, put_behind
from l4f_plugin.datasets.export_plan import ExportedClass, ExportPlan, ExportSettings, check_same, read_plan
from l4f_plugin.datasets.exporting import rank_of
from l4f_plugin.datasets.mask_codes import run_lengths
from l4f_plugin.datasets.shard_records import FileNote, ShardRecord, read_record, record_path, write_record

SOURCE = ExportedClass("tiny", "Tiny things", "CC0-1.0", "random numbers", "0" * 16, (32, 24), 0.4)
MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def plan(**settings) -> ExportPlan:
    return ExportPlan(ExportSettings(**{"count": 10, "format": "folder", **settings}), SOURCE, "float32")


def soft(*rows: str) -> np.ndarray:
    """A mask from digits, tenths."""
    return np.array([[int(digit) / 10 for digit in row] for row in rows], np.float32)


# The plan


@given(st.integers(1, 3000), st.integers(1, 700), st.integers(0, 2**32 - 1))
def test_shards_hold_all_pictures_and_no_seed_twice(count, shard_size, first_seed):
    chosen = plan(count=count, shard_size=shard_size, first_seed=first_seed)
    quotas = [chosen.quota(shard) for shard in range(chosen.shards)]
    assert sum(quotas) == count and all(0 < quota <= shard_size for quota in quotas)
    shards = sorted({0, chosen.shards // 2, chosen.shards - 1})
    seeds = [seed for shard in shards for seed in islice(chosen.candidates(shard), 20)]
    assert len(set(seeds)) == len(seeds) == 20 * len(shards)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_splits_follow_from_the_seed_alone_and_keep_their_shares():
    first, second = plan(split=(0.7, 0.2, 0.1)), plan(count=999, first_seed=5, format="coco", split=(0.7, 0.2, 0.1))
    splits = [first.split_of(seed) for seed in range(5000)]
    assert splits == [second.split_of(seed) for seed in range(5000)]
    for name, share in zip(export_plan.SPLITS, (0.7, 0.2, 0.1), strict=True):
        assert abs(splits.count(name) / 5000 - share) < 0.02
    assert {plan(split=(1.0, 0.0, 0.0)).split_of(seed) for seed in range(500)} == {"train"}


def test_a_plan_is_read_back_as_it_was_written(tmp_path):
    assert read_plan(tmp_path) is None
    for chosen in (plan(), plan(size=16, curation=None, backgrounds=("seeds", "colours"), truncation_psi=0.5)):
        path = export_plan.plan_path(tmp_path)
        path.parent.mkdir(exist_ok=True)
        path.write_text(chosen.to_json())
        assert read_plan(tmp_path) == chosen
        check_same(chosen, read_plan(tmp_path), tmp_path)
    other_class = replace(plan(), source=replace(SOURCE, fingerprint="1"))
    others = {"count": plan(count=11), "dtype": replace(plan(), dtype="bfloat16"), "fingerprint": other_class}
    for word, other in others.items():
        assert f"another {word}" in refusal(check_same, other, plan(), tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"settings": 3}', "[" * 100_000, '{"settings": {"count": -1}}']
)
def test_a_damaged_plan_is_said_to_be(tmp_path, text):
    path = export_plan.plan_path(tmp_path)
    path.parent.mkdir()
    path.write_text(text)
    assert "damaged" in refusal(read_plan, tmp_path)


def test_a_record_is_read_back_or_said_to_be_damaged_or_unreadable(tmp_path):
    assert read_record(tmp_path, 3) is None
    record = ShardRecord(3, 7, {"empty": 1}, [FileNote("a.png", 4, "0" * 64)], [{"seed": 5}], ["bad.jpg"])
    path = record_path(tmp_path, 3)
    path.parent.mkdir(parents=True)
    write_record(tmp_path, record)
    assert read_record(tmp_path, 3) == record
    path.write_text("[" * 100_000)
    assert "damaged" in refusal(read_record, tmp_path, 3)
    path.unlink()
    path.mkdir()  # which no system reads as a file
    assert "cannot be read" in refusal(read_record, tmp_path, 3)


def test_pictures_keep_their_shape_when_they_are_made_smaller():
    assert plan().picture_size == (32, 24)
    assert plan(size=16).picture_size == (16, 12)
    assert "from 16 to 32, not 64" in refusal(plan, size=64)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        *(({"count": count}, "number of pictures") for count in (0, 10**9)),
        ({"format": "zip"}, "format must be"),
        ({"size": 4}, "size"),
        ({"truncation_psi": 9.0}, "psi"),
        ({"first_seed": -1}, "seed"),
        ({"split": (0.5, 0.5)}, "three shares"),
        ({"split": (0.5, 0.4, 0.2)}, "add up to 1.1"),
        ({"split": (1.5, -0.5, 0.0)}, "share"),
        ({"backgrounds": ()}, "not known"),
        ({"backgrounds": ("seeds", "moon")}, "seeds,moon"),
        ({"shard_size": 0}, "shard"),
        ({"batch_size": 1}, "batch size"),
    ],
)
def test_settings_out_of_bounds_are_refused_in_words(settings, sentence):
    assert sentence in refusal(plan, **settings)


def test_shares_as_people_write_them():
    assert export_plan.shares("0.8,.1, 0.1") == (0.8, 0.1, 0.1)
    for text in ("a,b,c", "1,0,nan", "-1,1,1", "1e9,0,0"):
        assert "no split" in refusal(export_plan.shares, text)


def test_ranks_come_from_the_environment():
    assert rank_of({}) == (0, 1) and rank_of({"RANK": "2", "WORLD_SIZE": "3"}) == (2, 3)
    for rank, world_size in (("3", "3"), ("x", "1"), ("0", "-1"), ("0", "0")):
        refusal(rank_of, {"RANK": rank, "WORLD_SIZE": world_size})


@pytest.mark.parametrize("path", ["../x.png", "/etc/passwd", "a/../../b", ".labels4free/plan.json", "a\\b", "", "a//b"])
def test_records_name_no_file_outside_the_set(path):
    with pytest.raises((ValueError, IndexError)):
        FileNote(path, 1, "0" * 64)


# Masks


@given(MASKS)
def test_run_lengths_tell_the_mask(mask):
    lengths = run_lengths(mask)
    values = np.concatenate([np.full(length, number % 2, bool) for number, length in enumerate(lengths)])
    assert np.array_equal(values.reshape(mask.shape, order="F"), mask)
    assert all(lengths[1:])


@given(MASKS)
def test_boxes_hold_the_mask_tightly(mask):
    left, top, width, height = measure(mask.astype(np.float32), mask).box
    inside = np.zeros_like(mask)
    inside[top : top + height, left : left + width] = True
    assert not (mask & ~inside).any()
    if mask.any():
        assert mask[top].any() and mask[top + height - 1].any()
        assert mask[:, left].any() and mask[:, left + width - 1].any()
    else:
        assert (left, top, width, height) == (0, 0, 0, 0)


def test_measures_of_a_mask():
    alpha = soft("0000", "0550", "09a0".replace("a", "9"), "0000")
    found = measure(alpha, alpha > 0.4)
    assert (found.area, found.box, found.largest_piece) == (4, (1, 1, 2, 2), 1.0)
    assert found.share == 0.25 and found.soft_area == pytest.approx(2.8)
    assert found.uncertainty == pytest.approx((0.5 + 0.5 + 0.1 + 0.1) / 2.8)
    empty = measure(np.zeros((3, 3), np.float32), np.zeros((3, 3), bool))
    assert (empty.area, empty.uncertainty, empty.largest_piece) == (0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("alpha", "reason"),
    [
        (soft("9900", "9900", "0000"), None),
        (soft("9000", "0000", "0000"), TOO_SMALL),
        (soft("9999", "9999", "9999"), TOO_LARGE),
        (soft("5500", "5500", "0000"), UNCERTAIN),
        (soft("9009", "9009", "0000"), IN_PIECES),
    ],
)
def test_curation_says_why(alpha, reason):
    assert Curation(0.1, 0.85, 0.2, 0.9).reason_to_drop(measure(alpha, alpha > 0.4)) == reason


def mask_of(share: float = 0.3, uncertainty: float = 0.05, largest_piece: float = 1.0) -> MaskMeasures:
    return MaskMeasures(round(share * 1000), share * 1000, share, (0, 0, 9, 9), uncertainty, largest_piece)


@pytest.mark.parametrize("area", [0.08, 0.4, 0.85])
def test_limits_follow_from_the_class(area):
    """Whatever its subjects cover: up to twice the odds of an area is nothing odd, twenty times is."""
    odds = area / (1 - area)
    shares = [odds * factor / (1 + odds * factor) for factor in np.geomspace(0.5, 2, 40)]
    limits = Curation().completed([mask_of(share) for share in shares])
    assert not any(limits.reason_to_drop(mask_of(share)) for share in shares)
    few, many = (odds * factor / (1 + odds * factor) for factor in (0.05, 20))
    assert limits.reason_to_drop(mask_of(few)) == TOO_SMALL and limits.reason_to_drop(mask_of(many)) == TOO_LARGE
    assert limits.reason_to_drop(mask_of(area, uncertainty=0.2)) == UNCERTAIN
    assert limits.reason_to_drop(mask_of(area, largest_piece=0.9)) == IN_PIECES


def test_a_class_of_several_pieces_and_of_soft_edges_keeps_them():
    pieces = Curation().completed([mask_of(largest_piece=share) for share in np.linspace(0.35, 1, 30)])
    assert pieces.reason_to_drop(mask_of(largest_piece=0.34)) is None
    furry = Curation().completed([mask_of(uncertainty=doubt) for doubt in np.linspace(0.15, 0.3, 30)])
    assert furry.reason_to_drop(mask_of(uncertainty=0.35)) is None


@pytest.mark.parametrize("flaw", [mask_of(0.0), mask_of(1.0), mask_of(uncertainty=0.9)])
def test_no_class_keeps_masks_of_nothing_everything_or_doubt(flaw):
    assert Curation().completed([flaw] * 9).reason_to_drop(flaw)


def test_limits_set_by_hand_stay_and_go_on_with_what_is_there():
    by_hand = Curation(max_area=0.9)
    complete = by_hand.completed([mask_of()] * 3)
    assert complete.max_area == 0.9 and complete.is_complete and not by_hand.is_complete
    assert by_hand.options() == ["--max-area 0.9"] and len(complete.options()) == 4
    check_same(plan(curation=by_hand), plan(curation=complete), None)
    for other in (Curation(max_area=0.8), None):
        assert "another curation" in refusal(check_same, plan(curation=other), plan(curation=complete), None)


@pytest.mark.parametrize("bounds", [(0.9, 0.5), (0, 2), (0, 1, float("nan")), (0, 1, 1, -1)])
def test_bounds_of_curation_are_checked(bounds):
    refusal(Curation, *bounds)


# Backgrounds


def test_backgrounds_follow_from_the_seed(tmp_path):
    for name, colour in (("a.png", "red"), ("b.jpg", "blue")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    pictures, behind = BackgroundFolder.of(tmp_path), np.full((24, 32, 3), 7, np.uint8)
    assert list(pictures.sizes) == ["a.png", "b.jpg"]
    kinds = ("own", "seeds", "colours", "pictures")
    labels = set()
    for seed in range(80):
        label, picture = choose(seed, kinds, pictures, (9, behind), (32, 24))
        again, same = choose(seed, kinds, pictures, (9, behind), (32, 24))
        assert label == again and (picture is None) == (label == "own")
        if picture is not None:
            assert np.array_equal(picture, same) and picture.shape == (24, 32, 3) and picture.dtype == np.uint8
        labels.add(label[0] if label[0] == "#" else label)
    assert labels == {"own", "seed:9", "#", "a.png", "b.jpg"}
    for folder in (tmp_path / "nothing", tmp_path / "a.png"):
        assert "name a folder" in refusal(BackgroundFolder.of, folder)


def test_masks_stay_exact_before_a_new_background():
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    alpha = np.zeros((24, 32), np.float32)
    alpha[4:20, 6:26], alpha[6:18, 8:24] = 0.5, 1.0
    made = put_behind(picture, alpha, np.broadcast_to(np.uint8([9, 99, 199]), picture.shape))
    assert (made[alpha == 0] == [9, 99, 199]).all()
    assert np.array_equal(made[alpha == 1], picture[alpha == 1])
