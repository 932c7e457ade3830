"""The photographs that the class *garments* learns from: upright tops of senders who are not held out.

    git clone https://github.com/alexeygrigorev/clothing-dataset
    python3 -m tools.garments clothing-dataset --out garments

The photographs are CC0 1.0. Those of the held-out senders are kept to measure with, and are never trained on.
"""

import argparse
import csv
import shutil
from pathlib import Path

from PIL import Image, ImageOps

TOPS = {"T-Shirt", "Longsleeve", "Shirt", "Polo", "Undershirt", "Hoodie", "Blazer", "Outwear", "Top", "Blouse"}
HELD_OUT = Path(__file__).with_name("garments_held_out.txt")


def main() -> None:
    """Copy the photographs into a folder for ``l4f train generator``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="clone of clothing-dataset: images.csv and images/")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    held_out = set(HELD_OUT.read_text(encoding="utf-8").split())
    with (args.dataset / "images.csv").open(encoding="utf-8", newline="") as rows:
        wanted = [row for row in csv.DictReader(rows) if row["label"] in TOPS and row["sender_id"] not in held_out]
    photographs = [args.dataset / "images" / f"{row['image']}.jpg" for row in wanted]
    taken = [path for path in photographs if path.exists() and is_upright(path)]
    for path in taken:
        shutil.copyfile(path, args.out / path.name)
    left = len(wanted) - len(taken)
    print(f"{len(taken):,} photographs are in {args.out}; {left:,} lie on their side or are missing.")


def is_upright(path: Path) -> bool:
    """Whether a photograph, turned as its camera says, is upright or nearly square."""
    with Image.open(path) as image:
        width, height = ImageOps.exif_transpose(image).size
    return height >= 0.9 * width


if __name__ == "__main__":
    main()
