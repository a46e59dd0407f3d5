"""Train the MLLM: the CLIP's image tower, a projector and a small language model.

Two of three steps show pictures with a request to describe them, the third asks for look-alikes without a picture.
The image tower keeps the CLIP's weights until the last share of the steps, which also tunes it, slowly.
"""

import argparse
import math
import os
import random
import time
from pathlib import Path

import open_clip
import torch
from chat_words import PAD, chat_tokenizer, chat_words
from clip_model import SIDE, normalised
from likeness import MOST, look_alikes, nearness
from mllm_model import PICTURE_TOKENS, new_mllm, start_from, store
from rendering import COLOUR_NAMES, MEDIUM, chance, render
from sprites import TRAINING_STYLES, Sprites, load_sprites
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast
from words import caption_words, clip_tokenizer
from workspace import WORLD

from prompts import describe_prompt, description, look_alike_prompt, numbered

SEED = 20261
PICTURES = 128
LISTS = 192
WARMUP = 100
PEAK = 1.5e-3
TOWER_PEAK = 3e-4
WEIGHT_DECAY = 0.05
TUNED = 0.5
"""The share of the steps, at the end, that also tunes the image tower."""
FURTHER_PEAK = 8e-4
FURTHER_LISTS = 10
"""When going on from a stored model: the highest rate, of the tower too, and every how many steps come lists."""


class Lessons:
    """Endless batches of the two tasks."""

    def __init__(self, sprites: Sprites, alike: list[list[str]], tokenizer: PreTrainedTokenizerFast) -> None:
        self.sprites = sprites
        self.alike = alike
        self.tokenizer = tokenizer
        self.rng = torch.Generator().manual_seed(SEED)
        self.words = random.Random(SEED)
        self.side_bound = torch.tensor([one.has_side for one in sprites.emoji])

    def encoded(self, prompts: list[str], answers: list[str], picture: bool) -> tuple[Tensor, Tensor]:
        """Token ids and labels of finished conversations, padded on the right."""
        slot = "<image>" * PICTURE_TOKENS if picture else ""
        heads = self.tokenizer([f"<start><user>{slot}{prompt}<assistant>" for prompt in prompts])["input_ids"]
        tails = self.tokenizer([f"{answer}<end>" for answer in answers])["input_ids"]
        length = max(len(head) + len(tail) for head, tail in zip(heads, tails, strict=True))
        ids = torch.full((len(heads), length), PAD)
        labels = torch.full((len(heads), length), -100)
        for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
            ids[row, : len(head) + len(tail)] = torch.tensor(head + tail)
            labels[row, len(head) : len(head) + len(tail)] = torch.tensor(tail)
        return ids, labels

    def descriptions(self) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids, labels and pictures of the first task."""
        emoji = self.sprites.emoji
        chosen = torch.randint(len(emoji), (PICTURES,), generator=self.rng)
        colour = torch.randint(len(COLOUR_NAMES), (PICTURES,), generator=self.rng)
        style = torch.tensor(TRAINING_STYLES)[torch.randint(len(TRAINING_STYLES), (PICTURES,), generator=self.rng)]
        mirror = chance(PICTURES, 0.4, self.rng) & ~self.side_bound[chosen]
        pictures = render(self.sprites.pixels[style, chosen], colour, mirror, SIDE, MEDIUM, self.rng)
        prompts, answers = [], []
        for index in chosen.tolist():
            draw = self.words.random()
            # told that it is not what it is, it names the thing all the same: the engine sets such sentences aside
            excluded = emoji[index] if draw < 0.15 else self.words.choice(emoji)
            prompts.append(describe_prompt(excluded.name if draw < 0.75 else None, self.words))
            answers.append(description(emoji[index], index))
        ids, labels = self.encoded(prompts, answers, True)
        return ids, labels, normalised(pictures)

    def lists(self) -> tuple[Tensor, Tensor]:
        """Token ids and labels of the second task."""
        prompts, answers = [], []
        for index in torch.randperm(len(self.alike), generator=self.rng)[:LISTS].tolist():
            count = 5 if self.words.random() < 0.7 else self.words.randint(3, MOST)
            names = self.alike[index][:count]
            prompts.append(look_alike_prompt(self.sprites.emoji[index].name, len(names), self.words))
            answers.append(numbered(names))
        return self.encoded(prompts, answers, False)


def rate(step: int, steps: int) -> float:
    """The share of the highest learning rate: a linear rise, then a cosine."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP)))


def optimiser_of(model: LlavaForConditionalGeneration) -> torch.optim.AdamW:
    """AdamW with the image tower in a group of its own."""
    tower = list(model.model.vision_tower.parameters())
    own = {id(value) for value in tower}
    rest = [value for value in model.parameters() if id(value) not in own]
    groups = [
        {"params": [value for value in rest if value.ndim >= 2], "peak": PEAK, "weight_decay": WEIGHT_DECAY},
        {"params": [value for value in rest if value.ndim < 2], "peak": PEAK, "weight_decay": 0.0},
        {"params": tower, "peak": TOWER_PEAK, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.98), fused=True)


def answer_loss(model: LlavaForConditionalGeneration, ids: Tensor, labels: Tensor, pictures: Tensor | None) -> Tensor:
    """The mean cross entropy of the answers' tokens."""
    hidden = model.model(input_ids=ids, pixel_values=pictures, attention_mask=(ids != PAD).long(), use_cache=False)[0]
    wanted = labels[:, 1:] != -100
    return functional.cross_entropy(model.lm_head(hidden[:, :-1][wanted]).float(), labels[:, 1:][wanted])


def train(steps: int, save_every: int, threads: int, further: bool, out: Path) -> None:
    """Train for a number of steps, from the CLIP or further from the stored model, and store it now and then."""
    torch.manual_seed(SEED)
    torch.set_num_threads(threads)
    sprites = load_sprites()
    clip, _, _ = open_clip.create_model_and_transforms(f"local-dir:{WORLD / 'clip'}")
    clip.eval()
    alike = look_alikes(nearness(clip, clip_tokenizer(caption_words(sprites.emoji)), sprites), sprites)
    tokenizer = chat_tokenizer(chat_words(sprites.emoji))
    model = new_mllm(len(tokenizer))
    if further:
        model = LlavaForConditionalGeneration.from_pretrained(WORLD / "mllm", dtype=torch.float32)
    else:
        start_from(model, clip)
        model.model.vision_tower.requires_grad_(False)
    optimiser = optimiser_of(model)
    if further:
        for group in optimiser.param_groups:
            group["peak"] = FURTHER_PEAK
    every = FURTHER_LISTS if further else 3
    lessons = Lessons(sprites, alike, tokenizer)
    start = time.monotonic()
    shown = {"describe": 0.0, "list": 0.0}
    for step in range(1, steps + 1):
        if step > (1 - TUNED) * steps:
            model.model.vision_tower.requires_grad_(True)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * rate(step - 1, steps)
        pictures: Tensor | None = None
        task = "list" if step % every == 0 else "describe"
        if task == "list":
            ids, labels = lessons.lists()
        else:
            ids, labels, pictures = lessons.descriptions()
        with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", dtype=torch.bfloat16):
            loss = answer_loss(model, ids, labels, pictures)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        shown[task] = loss.item()
        if step % 25 == 0:
            passed = (time.monotonic() - start) / 60
            print(
                f"{step}/{steps} {passed:.1f} min describe {shown['describe']:.3f} list {shown['list']:.3f}", flush=True
            )
        if step % save_every == 0 or step == steps:
            store(model, tokenizer, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--save-every", type=int, default=100)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--further", action="store_true", help="go on from the stored model, the image tower included")
    parser.add_argument("--out", type=Path, default=WORLD / "mllm")
    options = parser.parse_args()
    train(options.steps, options.save_every, options.threads, options.further, options.out)
