"""Measure both models on renderings that they have not seen, style by style.

The models are loaded as any user loads them, from their folders. The renderings have seeds of their own and the
strength of the benchmark's pictures.
"""

import argparse
import re

import open_clip
import torch
from benchmark import known_classes
from captions import KINDS
from clip_model import SIDE, normalised
from PIL import Image
from rendering import COLOUR_NAMES, PICTURES, chance, render
from sprites import STYLES, Sprites, load_sprites
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor
from workspace import WORLD

from prompts import DESCRIBE, NAME_LOOK_ALIKES, NOT_THE_CLASS

SEED = 9_000_000_000


def unseen(sprites: Sprites, style: int, chosen: Tensor) -> Tensor:
    """One new rendering of each chosen emoji in a style."""
    rng = torch.Generator().manual_seed(SEED + style)
    colour = torch.randint(len(COLOUR_NAMES), (len(chosen),), generator=rng)
    side_bound = torch.tensor([one.has_side for one in sprites.emoji])
    mirror = chance(len(chosen), 0.3, rng) & ~side_bound[chosen]
    return render(sprites.pixels[style, chosen], colour, mirror, SIDE, PICTURES, rng)


@torch.inference_mode()
def measure_clip(sprites: Sprites) -> None:
    """Zero-shot accuracy among all names, among the ID classes, and of the subgroup."""
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{WORLD / 'clip'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{WORLD / 'clip'}")
    model.eval()
    names = [one.name for one in sprites.emoji]
    subgroups = sorted({one.subgroup for one in sprites.emoji})
    group = torch.tensor([subgroups.index(one.subgroup) for one in sprites.emoji])
    texts = model.encode_text(tokenizer([f"The nice {name}." for name in names]), normalize=True)
    known = torch.tensor([names.index(name) for name in known_classes()])
    everything = torch.arange(len(names))
    print(f"CLIP, {len(names)} names, logit scale {model.logit_scale.exp().item():.1f}")
    print("| style | top-1 | top-5 | subgroup of top-1 | top-1 among the ID classes |")
    print("| --- | --- | --- | --- | --- |")
    for style, title in enumerate(STYLES):
        parts = torch.split(normalised(unseen(sprites, style, everything)), 256)
        images = torch.cat([model.encode_image(part, normalize=True) for part in parts])
        best = (images @ texts.T).topk(5).indices
        first = (best[:, 0] == everything).float().mean()
        five = (best == everything[:, None]).any(1).float().mean()
        kind = (group[best[:, 0]] == group).float().mean()
        repeated = known.repeat(5)
        again = torch.split(normalised(unseen(sprites, style, repeated)), 256)
        images = torch.cat([model.encode_image(part, normalize=True) for part in again])
        own = (known[(images @ texts[known].T).argmax(1)] == repeated).float().mean()
        print(f"| {title} | {first:.1%} | {five:.1%} | {kind:.1%} | {own:.1%} |")


class Chat:
    """The MLLM behind its processor."""

    def __init__(self) -> None:
        folder = WORLD / "mllm"
        self.processor = AutoProcessor.from_pretrained(folder)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def answers(self, prompts: list[str], pictures: list[Image.Image] | None = None) -> list[str]:
        """One answer per prompt, each with its picture if there are any."""
        found: list[str] = []
        for start in range(0, len(prompts), 64):
            talks = []
            for place in range(start, min(start + 64, len(prompts))):
                content: list[dict[str, object]] = [{"type": "text", "text": prompts[place]}]
                if pictures is not None:
                    content.insert(0, {"type": "image", "image": pictures[place]})
                talks.append([{"role": "user", "content": content}])
            inputs = self.processor.apply_chat_template(
                talks,
                tokenize=True,
                return_dict=True,
                add_generation_prompt=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
            made = self.model.generate(**inputs)[:, inputs["input_ids"].shape[1] :]
            found += self.processor.batch_decode(made, skip_special_tokens=True)
        return found


def contains(text: str, name: str) -> bool:
    """Whether a text names something, as whole words."""
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


def measure_descriptions(chat: Chat, sprites: Sprites, every: int) -> None:
    """How often a description names the thing, or its subgroup or a member of it."""
    chosen = torch.arange(0, len(sprites.emoji), every)
    members = {kind: [one.name for one in sprites.emoji if one.subgroup == kind] for kind in KINDS}
    print(f"MLLM, descriptions of {len(chosen)} emoji per style")
    print("| style | names the thing | names it or its subgroup |")
    print("| --- | --- | --- |")
    examples = []
    for style, title in enumerate(STYLES):
        rng = torch.Generator().manual_seed(SEED + style)
        pixels = (unseen(sprites, style, chosen) * 255).round().byte().permute(0, 2, 3, 1)
        pictures = [Image.fromarray(picture.numpy()) for picture in pixels]
        excluded = torch.randint(len(sprites.emoji), (len(chosen),), generator=rng).tolist()
        prompts = [DESCRIBE[0] + NOT_THE_CLASS[0].format(name=sprites.emoji[other].name) for other in excluded]
        named = grouped = 0
        for index, answer in zip(chosen.tolist(), chat.answers(prompts, pictures), strict=True):
            one = sprites.emoji[index]
            own = contains(answer, one.name)
            kin = contains(answer, KINDS[one.subgroup]) or any(contains(answer, n) for n in members[one.subgroup])
            named += own
            grouped += own or kin
            if index % (100 * every) == 0:
                examples.append(f"{title}: {one.name} -> {answer}")
        count = len(chosen)
        print(f"| {title} | {named / count:.1%} | {grouped / count:.1%} |")
    print("\n".join(examples))


def measure_look_alikes(chat: Chat, sprites: Sprites) -> None:
    """How many of five look-alikes are of the thing's subgroup, and whether the thing itself is among them."""
    prompts = [NAME_LOOK_ALIKES[0].format(name=one.name, count=5) for one in sprites.emoji]
    subgroup = {one.name: one.subgroup for one in sprites.emoji}
    size = {kind: sum(one.subgroup == kind for one in sprites.emoji) for kind in KINDS}
    kin = full = large = itself = 0
    examples = []
    for index, (one, answer) in enumerate(zip(sprites.emoji, chat.answers(prompts), strict=True)):
        names = [re.sub(r"^\d+\. ", "", line) for line in answer.splitlines()]
        same = sum(subgroup.get(name) == one.subgroup for name in dict.fromkeys(names))
        kin += same
        full += len(dict.fromkeys(names)) == 5
        large += same if size[one.subgroup] > 5 else 0
        itself += one.name in names
        if index % 150 == 0:
            examples.append(f"{one.name} -> {', '.join(names)}")
    count = len(sprites.emoji)
    many = sum(size[one.subgroup] > 5 for one in sprites.emoji)
    print(f"MLLM, look-alikes of {count} emoji")
    print(f"of the same subgroup: {kin / count:.2f} of 5 ({large / many:.2f} where the subgroup has enough members)")
    print(f"five different names: {full / count:.1%}; the thing itself is among them: {itself} times")
    print("\n".join(examples))


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", default=["clip", "mllm"], choices=["clip", "mllm"])
    parser.add_argument("--every", type=int, default=3, help="describe every n-th emoji")
    options = parser.parse_args()
    sprites = load_sprites()
    if "clip" in options.models:
        measure_clip(sprites)
    if "mllm" in options.models:
        chat = Chat()
        measure_descriptions(chat, sprites, options.every)
        measure_look_alikes(chat, sprites)


if __name__ == "__main__":
    main()
