"""Train the tiny Llama that the tests and the README run, on sentences of a small grammar; write it as a checkpoint folder.

usage: python tools/train_tiny_llama.py [--out tests/data/tiny-llama] [--steps 1500] [--seed 0]

Every character is a token. What an animal eats, says and lives in follows from its name, so that a trained model continues a
sentence in one way, and the right one can be told from the wrong ones. It takes a few minutes; one seed gives one model on
one build of torch.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parent.parent
CONTEXT = 96
BATCH = 32
LEARNING_RATE = 3e-3

SIZES = ("big", "small", "young", "old")
COLOURS = ("red", "black", "white", "grey", "brown")
ANIMALS = {
    "dog": ("says woof", "eats meat", "lives in a house"),
    "cat": ("eats fish", "says meow", "lives in a basket"),
    "cow": ("lives in a barn", "eats grass", "says moo"),
    "duck": ("says quack", "lives on a pond", "eats bread"),
    "owl": ("lives in a tree", "says hoo", "eats mice"),
    "bee": ("eats honey", "lives in a hive", "says buzz"),
    "frog": ("lives in a pool", "says croak", "eats flies"),
    "hen": ("eats corn", "says cluck", "lives in a coop"),
}
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def sentence(stream: random.Random) -> str:
    """One line of the language: an animal with its three facts, or a count upwards."""
    if stream.random() < 0.25:
        first = stream.randrange(len(NUMBERS) - 3)
        return " ".join(NUMBERS[first : first + 4]) + ".\n"
    animal = stream.choice(sorted(ANIMALS))
    adjectives = [word for word in (stream.choice(SIZES), stream.choice(COLOURS)) if stream.random() < 0.5]
    first, second, third = ANIMALS[animal]
    return f"the {' '.join([*adjectives, animal])} {first}, {second} and {third}.\n"


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each character of the language; id 0 pads."""
    letters = sorted({letter for seed in range(400) for letter in sentence(random.Random(seed))})
    vocabulary = {token: number for number, token in enumerate(["<pad>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", clean_up_tokenization_spaces=False)


def make_batch(stream: random.Random, tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """[BATCH, CONTEXT + 1] token ids, each row from the start of a sentence on."""
    rows: list[list[int]] = []
    for _ in range(BATCH):
        text = ""
        while len(text) <= CONTEXT:
            text += sentence(stream)
        rows.append(tokenizer.encode(text)[: CONTEXT + 1])
    return torch.tensor(rows)


def train(steps: int, seed: int, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The trained model, in eval mode."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config).train()
    stream = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for step in range(steps):
        batch = make_batch(stream, tokenizer)
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.4f}", file=sys.stderr, flush=True)
    return model.eval()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "data" / "tiny-llama")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tokenizer = make_tokenizer()
    model = train(args.steps, args.seed, tokenizer)
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
