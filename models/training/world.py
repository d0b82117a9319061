"""Reading the world's training dumps: pictures, patch labels, scenes and questions as arrays.

A dump is written by `winnow world --suite train --out DIR --seed S --count N [--canvas C] [--questions Q]`.
Objects are padded to MAX_OBJECTS; their attributes are integers, centres run from -1 to 1 over the canvas.
"""

import json
import subprocess
from pathlib import Path

import numpy as np

MAX_OBJECTS = 10
BACKGROUND, AMBIGUOUS = 255, 254
PATCH = 14


def make_dump(
    executable: list[str],
    folder: Path,
    seed: int,
    count: int,
    canvas: int,
    questions: int,
    numbers: int = 0,
    mc_percent: int = 8,
) -> Path:
    """Has the world draw a dump unless the folder already holds it whole."""
    mark = folder / "complete"
    if not mark.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                *executable,
                "--suite",
                "train",
                "--out",
                str(folder),
                "--seed",
                str(seed),
                "--count",
                str(count),
                "--canvas",
                str(canvas),
                "--questions",
                str(questions),
                "--numbers",
                str(numbers),
                "--mc-percent",
                str(mc_percent),
            ],
            check=True,
        )
        mark.touch()
    return folder


class Dump:
    """One dump. Arrays: pictures (N,C,C,3) u8, owner and coverage (N,P) u8, attributes (N,M,4), centres (N,M,2)."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.meta = json.loads((folder / "world.json").read_text())
        self.canvas, self.grid = self.meta["canvas"], self.meta["grid"]
        pictures = np.memmap(folder / "pictures.u8", dtype=np.uint8, mode="r")
        self.pictures = pictures.reshape(-1, self.canvas, self.canvas, 3)
        self.count = len(self.pictures)
        patches = self.grid * self.grid
        self.owner = np.fromfile(folder / "owner.u8", dtype=np.uint8).reshape(self.count, patches)
        self.coverage = np.fromfile(folder / "coverage.u8", dtype=np.uint8).reshape(self.count, patches)
        self.attributes = np.zeros((self.count, MAX_OBJECTS, 4), dtype=np.int64)  # color shape size texture
        self.centres = np.zeros((self.count, MAX_OBJECTS, 2), dtype=np.float32)
        self.anchors = np.full((self.count, MAX_OBJECTS), -1, dtype=np.int64)
        self.objects = np.zeros(self.count, dtype=np.int64)
        with (folder / "scenes.jsonl").open() as file:
            for i, line in enumerate(file):
                for j, thing in enumerate(json.loads(line)["objects"][:MAX_OBJECTS]):
                    self.attributes[i, j] = [thing[key] for key in ("color", "shape", "size", "texture")]
                    self.centres[i, j] = [2 * c / self.canvas - 1 for c in thing["center"]]
                    self.anchors[i, j] = thing["anchor"]
                    self.objects[i] = j + 1

    def lines(self):
        """Yields what questions.jsonl says of every picture, in order: "questions" and, if there are numbers, "ocr"."""
        with (self.folder / "questions.jsonl").open() as file:
            for line in file:
                yield json.loads(line)

    def questions(self):
        """Yields the list of questions of every picture, in order."""
        for line in self.lines():
            yield line["questions"]
