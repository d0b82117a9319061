"""Trains the miniature VLM from nothing: python models/train.py --winnow build/winnow --work DIR

Stages run in order; each resumes from its checkpoint in DIR and is skipped once it is finished. Two processes can
run side by side: --stage vision-1 beside --stage oracle, then --stage vision-2 beside --stage real-1.
Minutes are wall-clock minutes of one core; --pace scales them. TEAM=0/2 and TEAM=1/2 in the environment of two
processes make them train one model together.
"""

import argparse
import csv
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402  (after the thread count)

from training import language, vision  # noqa: E402
from training.decoder import Decoder  # noqa: E402
from training.export import export  # noqa: E402
from training.tokenizer import Words  # noqa: E402
from training.world import Dump, make_dump  # noqa: E402

HERE = Path(__file__).resolve().parent
# name: seed, pictures, canvas edge, questions a picture, percent of pictures with numbers, percent of multiple choice.
# "test" and "test-3" are looked at only for the figures in the model card.
DUMPS = {
    "windows": (11, 24000, 168, 0),
    "pictures": (12, 8000, 336, 24),
    "dev": (13, 300, 336, 24),
    "test": (14, 300, 336, 24),
    "windows-3": (31, 16000, 168, 0, 75),
    "pictures-3": (32, 6000, 336, 40, 50, 30),
    "dev-3": (33, 300, 336, 40, 50, 30),
    "test-3": (34, 300, 336, 40, 50, 30),
}
SEEN = 2000  # pictures whose real visual tokens the decoder trains on


def dump(args, name: str) -> Dump:
    return Dump(make_dump([args.winnow, "world"], args.work / "dump" / name, *DUMPS[name]))


def trained(args, module, name: str):
    """The module with the weights of a stage's checkpoint."""
    state = torch.load(args.work / f"{name}.pt", weights_only=False)
    module.load_state_dict(state["model"])
    return module.eval()


def vision_1(args):
    dumps = dump(args, "windows"), dump(args, "pictures"), dump(args, "dev")
    vision.train("vision-1", args.work, 60 * args.pace, *dumps, whole_share=(0.05, 0.35))


def oracle(args):
    language.train("oracle", args.work, 64 * args.pace, dump(args, "pictures"), Words())


def real_1(args):
    """The decoder on what the tower really sees, with cuts by its own attention; guidance ends at 70 %."""
    pictures = dump(args, "pictures")
    tower = trained(args, vision.Tower(), "vision-1")
    features = vision.cache_features(tower, pictures, SEEN, args.work / "vision-1.npy")
    options = {
        "weights": language.Weights(guide=0.5, hop=0.8),
        "free_from": 0.7,
        "lr_muon": 0.004,
        "lr_adam": 8e-4,
        "suffix": (0.85, 0.85),
        "long_prefix": 0.5,
        "simple_until": 0.0,
        "cut_share": 0.25,
        "all_share": 0.15,
    }
    start = trained(args, Decoder(), "oracle")
    language.train("real-1", args.work, 38 * args.pace, pictures, Words(), start, features, seed=1, **options)


def vision_2(args):
    """The tower once more. Its projector still regresses the same code, so the decoder need not know."""
    dumps = dump(args, "windows"), dump(args, "pictures"), dump(args, "dev")
    start = trained(args, vision.Tower(), "vision-1")
    options = {"whole_share": (0.4, 0.6), "lr_muon": 0.008, "lr_adam": 8e-4}
    vision.train("vision-2", args.work, 26 * args.pace, *dumps, start, seed=1, **options)


def vision_3(args):
    """The tower learns digits. Their directions are added to the code; all others stay."""
    dumps = dump(args, "windows-3"), dump(args, "pictures-3"), dump(args, "dev-3")
    start = trained(args, vision.Tower(), "vision-2")
    options = {"whole_share": (0.2, 0.5), "lr_muon": 0.01, "lr_adam": 1.2e-3}
    vision.train("vision-3", args.work, 36 * args.pace, *dumps, start, seed=2, **options)


def oracle_2(args):
    """The decoder learns numbers, statements, what cannot be answered and options, on oracle tokens."""
    start, words = trained(args, Decoder(), "real-1"), Words()
    start.wake(*words.answers)
    options = {
        "shares": language.EVERYTHING,
        "scenes": 7,
        "lr_muon": 0.006,
        "lr_adam": 1e-3,
        "suffix": (0.85, 0.85),
        "long_prefix": 0.5,
        "simple_until": 0.0,
    }
    language.train("oracle-2", args.work, 34 * args.pace, dump(args, "pictures-3"), words, start, seed=2, **options)


def real_2(args):
    """The same on what the tower sees, as real-1 was to oracle."""
    pictures = dump(args, "pictures-3")
    tower = trained(args, vision.Tower(), "vision-3")
    features = vision.cache_features(tower, pictures, SEEN, args.work / "vision-3.npy")
    options = {
        "shares": language.EVERYTHING,
        "scenes": 7,
        "weights": language.Weights(guide=0.8, hop=0.8, count=1.0),
        "free_from": 0.8,
        "lr_muon": 0.006,
        "lr_adam": 1.2e-3,
        "suffix": (0.85, 0.85),
        "long_prefix": 0.5,
        "simple_until": 0.0,
        "cut_share": 0.12,
        "all_share": 0.08,
    }
    start = trained(args, Decoder(), "oracle-2")
    language.train("real-2", args.work, 40 * args.pace, pictures, Words(), start, features, seed=3, **options)


def real_3(args):
    """A last polish of what real-2 had left behind: the leftmost and its like, and counts."""
    pictures = dump(args, "pictures-3")
    features = vision.cache_features(
        trained(args, vision.Tower(), "vision-3"), pictures, SEEN, args.work / "vision-3.npy"
    )
    options = {
        "shares": {"short": 0.36, "long": 0.3, "choice": 0.2, "vizwiz": 0.06, "text": 0.08},
        "rare": language.RARE | {"extreme": 3.0, "count": 1.5},
        "scenes": 7,
        "weights": language.Weights(guide=0.8, hop=0.8, count=1.0, extreme=1.0),
        "free_from": 0.6,
        "lr_muon": 0.003,
        "lr_adam": 6e-4,
        "suffix": (0.85, 0.85),
        "long_prefix": 0.5,
        "simple_until": 0.0,
        "cut_share": 0.1,
        "all_share": 0.12,
    }
    start = trained(args, Decoder(), "real-2")
    language.train("real-3", args.work, 6.5 * args.pace, pictures, Words(), start, features, seed=4, **options)


def collect_log(args, target: Path) -> None:
    """Every third line of the stages' logs, and their last ones, in one file."""
    with target.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["stage", "step", "minutes", "metrics"])
        for name in STAGES:
            source = args.work / f"{name}.csv"
            if source.exists():
                with source.open() as file:
                    lines = list(csv.reader(file))[1:]
                writer.writerows(line for i, line in enumerate(lines) if i % 3 == 0 or i == len(lines) - 1)


def export_all(args):
    export(args.out, trained(args, vision.Tower(), "vision-3"), trained(args, Decoder(), "real-3"), Words())
    collect_log(args, args.out.parent / "training-log.csv")


STAGES = {
    "vision-1": vision_1,
    "oracle": oracle,
    "real-1": real_1,
    "vision-2": vision_2,
    "vision-3": vision_3,
    "oracle-2": oracle_2,
    "real-2": real_2,
    "real-3": real_3,
    "export": export_all,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--winnow", default="build/winnow", help="executable that draws the world")
    parser.add_argument("--work", type=Path, required=True, help="folder for dumps, checkpoints and logs")
    parser.add_argument("--out", type=Path, default=HERE / "miniature", help="folder of the exported checkpoint")
    parser.add_argument("--stage", choices=STAGES, action="append", help="run only these")
    parser.add_argument("--pace", type=float, default=1.0, help="scales all minutes")
    parser.add_argument("--threads", type=int, default=1, help="one a process is right while two run side by side")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    for name in args.stage or STAGES:
        STAGES[name](args)


if __name__ == "__main__":
    main()
