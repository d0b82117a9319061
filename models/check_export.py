"""Compares transformers with models/evaluate.py on an exported checkpoint; optionally writes pictures and answers.

    python models/check_export.py models/miniature --dump DIR [--pictures 40] [--questions 4] [--out DIR]

Tokens of every prompt, greedy answers (f32) and the </s> after one token must agree.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from evaluate import Model, variants
from training.tokenizer import CLOSE, EOS, IMAGE, ROLE, SUFFIX_LETTER, SUFFIX_LETTER_ZH, SYSTEM
from training.world import Dump


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--dump", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--questions", type=int, default=4, help="questions a picture")
    parser.add_argument("--out", type=Path, help="folder for pictures and questions.jsonl")
    args = parser.parse_args()
    torch.set_num_threads(1)
    dump, ours = Dump(args.dump), Model(args.checkpoint)
    theirs = LlavaForConditionalGeneration.from_pretrained(args.checkpoint, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(args.checkpoint)
    same = same_tokens = ends = right = total = 0
    largest, lines = 0.0, []
    for i, line in zip(range(args.pictures), dump.lines()):
        picture = Image.fromarray(dump.pictures[i])
        visual = ours.look(dump.pictures[i])
        usable = list(variants(line, SUFFIX_LETTER_ZH if i % 4 == 3 else SUFFIX_LETTER, forms=False))
        for j in range(args.questions):
            kind, ahead, question, suffix = usable[(i + j * 11) % len(usable)]
            before = (SYSTEM if (i + j) % 2 else "") + ROLE
            behind = ahead + question["text"] + suffix + CLOSE
            if kind == "text":  # without a picture
                prompt, image = before + behind, 0
                inputs = processor.tokenizer(prompt, return_tensors="pt")
                prefix = ours.tokenizer.encode(before[:-1]).ids
                rest, context = ours.tokenizer.encode(prompt).ids[len(prefix) :], ours.context(prefix, visual[:0])
            else:
                prompt, image = before + IMAGE + behind, 576
                inputs = processor(images=picture, text=prompt, return_tensors="pt")
                prefix, rest = ours.tokenizer.encode(before).ids, ours.tokenizer.encode(behind).ids[1:]
                context = ours.context(prefix, visual)
            out = theirs.generate(
                **inputs, max_new_tokens=4, do_sample=False, output_logits=True, return_dict_in_generate=True
            )
            logits, ids = out.logits[0][0], out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
            mine = ours.answer(context, rest, steps=2)
            image_id = ours.config["image_token_index"]
            same_tokens += inputs["input_ids"][0].tolist() == prefix + [image_id] * image + rest
            largest = max(largest, float((logits - ours.logits(context, rest, len(rest), None)).abs().max()))
            same += mine == ids[:2]
            ends += len(ids) == 2 and ids[1] == EOS
            answer = processor.tokenizer.decode(ids[:1]).strip()
            right += answer == question["answer"]
            total += 1
            lines.append(
                {
                    "id": total - 1,
                    "image": f"{i:02d}.png" if image else None,
                    "type": kind,
                    "prompt": prompt,
                    "answer": question["answer"],
                    "hf_answer": answer,
                    "hf_ids": ids,
                }
            )
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            picture.save(args.out / f"{i:02d}.png")
    if args.out:
        (args.out / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(
        f"of {total}: same prompt tokens {same_tokens}, same answer {same}, ends after one token {ends}, "
        f"right {right}; largest logit difference {largest:.2e}"
    )
    if min(same, same_tokens, ends) < total:
        sys.exit(1)


if __name__ == "__main__":
    main()
