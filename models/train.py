"""Trains the miniature VLM from nothing: python models/train.py --winnow build/winnow --work DIR

Stages run in order; each resumes from its checkpoint in DIR and is skipped once it is finished. "vision-1" and
"oracle" do not depend on each other, so two processes (--stage vision-1, --stage oracle) can run side by side.
Minutes are wall-clock minutes of one core; --pace scales them.
"""

import argparse
import os
import shlex
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

# name: seed, pictures, canvas edge, questions a picture. "test" is looked at only for the figures in the model card.
DUMPS = {"windows": (11, 24000, 168, 0), "pictures": (12, 8000, 336, 24), "dev": (13, 300, 336, 24),
         "test": (14, 300, 336, 24)}
CHECKPOINT = Path(__file__).resolve().parent / "miniature"


def dump(args, name: str) -> Dump:
    seed, count, canvas, questions = DUMPS[name]
    return Dump(make_dump(shlex.split(args.winnow), args.work / "dump" / name, seed, count, canvas, questions))


def trained(args, module, name: str):
    """The module with the weights of a stage's checkpoint."""
    state = torch.load(args.work / f"{name}.pt", weights_only=False)
    module.load_state_dict(state["model"])
    return module.eval()


def vision_1(args):
    vision.train("vision-1", args.work, 60 * args.pace, dump(args, "windows"), dump(args, "pictures"), dump(args, "dev"),
                 whole_share=(0.05, 0.35))


def oracle(args):
    language.train("oracle", args.work, 64 * args.pace, dump(args, "pictures"), Words())


def real(args, name, tower, decoder, minutes, **options):
    """Decoder on what the tower really sees, with cuts by its own attention; guidance ends half-way."""
    pictures = dump(args, "pictures")
    features = vision.cache_features(trained(args, vision.Tower(), tower), pictures, 2000, args.work / f"{tower}.npy")
    language.train(name, args.work, minutes * args.pace, pictures, Words(), trained(args, Decoder(), decoder), features,
                   **options)


def real_1(args):
    real(args, "real-1", "vision-1", "oracle", 38, weights=language.Weights(guide=0.5, hop=0.8), lr_muon=0.004, lr_adam=8e-4,
         seed=1, suffix=(0.85, 0.85), simple_until=0.0, long_prefix=0.5, free_from=0.7, cut_share=0.25, all_share=0.15)


def vision_2(args):
    vision.train("vision-2", args.work, 40 * args.pace, dump(args, "windows"), dump(args, "pictures"), dump(args, "dev"),
                 trained(args, vision.Tower(), "vision-1"), whole_share=(0.3, 0.7), lr_muon=0.012, lr_adam=1.2e-3, seed=1)


def export_all(args):
    tower = "vision-2" if (args.work / "vision-2.pt").exists() else "vision-1"
    decoder = next(name for name in ("real-2", "real-1", "oracle") if (args.work / f"{name}.pt").exists())
    export(args.out, trained(args, vision.Tower(), tower), trained(args, Decoder(), decoder), Words())
    print(f"{args.out}: tower {tower}, decoder {decoder}")


STAGES = {"vision-1": vision_1, "oracle": oracle, "real-1": real_1, "vision-2": vision_2, "export": export_all}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--winnow", default="build/winnow world", help="command that draws the world")
    parser.add_argument("--work", type=Path, required=True, help="folder for dumps, checkpoints and logs")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="folder of the exported checkpoint")
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
