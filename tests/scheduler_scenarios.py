"""What is played through a real vLLM and through the simulator alike: settings, and requests that come at a step.

A scenario is plain data (it crosses to vLLM's own interpreter as JSON).  A step takes one unit of time.  A request's prompt is a list of segments
[id, tokens] (equal ids at equal places are equal tokens) and, after them, tokens that no other request has; the segment
``ANSWER_SEGMENTS + r`` is the answer of request r.  Lengths stay within ``MOST_TOKENS``, which every pool can hold.
"""

from __future__ import annotations

import random
from typing import Any

Json = dict[str, Any]

MOST_TOKENS = 1024
ANSWER_SEGMENTS = 1_000_000


def scenario(name: str, requests: list[Json], **settings: Any) -> Json:
    """Return one scenario; a stand-in plays the model where a CPU engine refuses the setting."""
    model = settings.pop("model", "dense")
    given = {"num_gpu_blocks": 400, "max_num_batched_tokens": 256, "max_num_seqs": 64} | settings
    return {
        "name": name,
        "model": model,
        "max_model_len": MOST_TOKENS,
        "stand_in": bool(NEEDS_STAND_IN & given.keys()),
        "settings": given,
        "requests": requests,
    }


NEEDS_STAND_IN = {"async_scheduling", "pipeline_parallel_size", "num_speculative_tokens", "block_size"}


def request(arrival: int, input_tokens: int, output_tokens: int, *segments: list[int], priority: int = 0) -> Json:
    """Return one request; ``segments`` lead its prompt."""
    return {
        "arrival": arrival,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "segments": list(segments),
        "priority": priority,
    }


def plain() -> list[Json]:
    """Eight different requests at once."""
    return [request(0, 10 + 37 * row, 5 + 11 * row) for row in range(8)]


def arriving(count: int = 24, every: int = 3, seed: int = 1) -> list[Json]:
    """Requests that keep coming while others decode."""
    draw = random.Random(seed)
    return [request(row * every, draw.randrange(1, 700), draw.randrange(1, 80)) for row in range(count)]


def long_answers(count: int, seed: int = 2, together: bool = True) -> list[Json]:
    """Short prompts whose answers outgrow a small pool."""
    draw = random.Random(seed)
    arrivals = [0 if together else draw.randrange(40) for _ in range(count)]
    return [request(step, draw.randrange(20, 200), draw.randrange(50, 300)) for step in sorted(arrivals)]


def shared_prompts(count: int = 40, seed: int = 3) -> list[Json]:
    """A few documents asked about again and again; some prompts repeat whole, some end on a block's edge."""
    draw = random.Random(seed)
    rows = []
    for row in range(count):
        document = draw.randrange(6)
        length = (320, 256, 96, 500, 640, 31)[document]
        own = draw.choice((0, 0, 1, 32, 70))
        rows.append(request(row * 2, length + own, draw.randrange(1, 40), [document, length]))
    return rows


def conversations(users: int = 6, turns: int = 4, seed: int = 4) -> list[Json]:
    """Turns that carry the whole conversation so far, answers included, behind one system prompt."""
    draw = random.Random(seed)
    history: list[list[list[int]]] = [[[500, 100]] for _ in range(users)]
    rows: list[Json] = []
    for turn in range(turns):
        for user in range(users):
            asked, answered = draw.randrange(5, 60), draw.randrange(5, 60)
            history[user].append([1000 + 100 * user + turn, asked])
            tokens = sum(length for _, length in history[user])
            rows.append(request(turn * 70 + user, tokens, answered, *(list(part) for part in history[user])))
            history[user].append([ANSWER_SEGMENTS + len(rows) - 1, answered])
    return rows


def ranked(count: int = 30, seed: int = 5) -> list[Json]:
    """Requests of three priorities, whose answers outgrow a small pool."""
    draw = random.Random(seed)
    return [
        request(row, draw.randrange(20, 300), draw.randrange(20, 150), priority=draw.randrange(3))
        for row in range(count)
    ]


def mixed(seed: int, count: int = 40) -> list[Json]:
    """Everything at once, drawn from a seed: documents, own prompts, conversations that go on, priorities."""
    draw = random.Random(1000 + seed)
    rows: list[Json] = []
    step = 0
    for row in range(count):
        step += draw.choice((0, 0, 0, 1, 2, 9, 25))
        segments: list[list[int]] = []
        kind = draw.randrange(4)
        if kind == 0:
            segments = [[draw.randrange(3), draw.choice((32, 64, 200, 333))]]
        elif kind == 1 and row > 5:
            before = draw.randrange(row)
            earlier = rows[before]
            own = earlier["input_tokens"] - sum(tokens for _, tokens in earlier["segments"])
            if own == 0 and earlier["input_tokens"] < 500:
                answer = [ANSWER_SEGMENTS + before, draw.randrange(1, earlier["output_tokens"] + 1)]
                segments = [list(part) for part in earlier["segments"]] + [answer]
        named = sum(tokens for _, tokens in segments)
        own = draw.choice((0, 1, 17, 64, 250)) if segments else draw.randrange(1, 600)
        output = draw.choice((1, 2, 16, 60, 200))
        own = max(0, min(own, MOST_TOKENS - output - named))
        rows.append(request(step, named + own, output, *segments, priority=draw.randrange(3)))
    return rows


MIXES: tuple[Json, ...] = (
    {},
    {"num_gpu_blocks": 36},
    {"num_gpu_blocks": 60, "max_num_batched_tokens": 64},
    {"num_gpu_blocks": 80, "max_num_seqs": 6, "long_prefill_token_threshold": 40},
    {"num_gpu_blocks": 50, "policy": "priority"},
    {"num_gpu_blocks": 48, "scheduler_reserve_full_isl": False, "max_num_batched_tokens": 100},
    {"num_gpu_blocks": 70, "watermark": 0.1},
    {"num_gpu_blocks": 45, "enable_prefix_caching": False},
)
"""Settings under which the mixes are played."""


def named_scenarios() -> list[Json]:
    """Return the scenarios with a purpose each, on the dense model."""
    return [
        scenario("plain", plain(), num_gpu_blocks=140),
        scenario("chunked prefill", arriving(), max_num_batched_tokens=64),
        scenario("long prompts held back", arriving(), long_prefill_token_threshold=48),
        scenario("few sequences", arriving(), max_num_seqs=3),
        scenario("prompts whole or not at all", arriving(), max_num_batched_tokens=MOST_TOKENS,
                 enable_chunked_prefill=False),
        scenario("shortage", long_answers(12), num_gpu_blocks=36),
        scenario("shortage, arriving", long_answers(40, together=False), num_gpu_blocks=60),
        scenario("shortage without caching", long_answers(20), num_gpu_blocks=40, enable_prefix_caching=False),
        scenario("chunks alone must fit", arriving(), num_gpu_blocks=40, max_num_batched_tokens=64,
                 scheduler_reserve_full_isl=False),
        scenario("watermark", long_answers(30), num_gpu_blocks=60, watermark=0.15),
        scenario("shared prompts", shared_prompts()),
        scenario("shared prompts evicted", shared_prompts(), num_gpu_blocks=40),
        scenario("conversations", conversations()),
        scenario("conversations evicted", conversations(), num_gpu_blocks=50, max_num_batched_tokens=128),
        scenario("priority", ranked(), num_gpu_blocks=50, policy="priority"),
        scenario("priority, few sequences", ranked(), max_num_seqs=4, policy="priority"),
    ]  # fmt: skip


def mixed_scenarios(seeds: range, prefix: str = "", **more: Any) -> list[Json]:
    """Return the mixes of some seeds, each under every setting."""
    return [
        scenario(f"{prefix}mix {seed} {number}", mixed(seed), **settings, **more)
        for seed in seeds
        for number, settings in enumerate(MIXES)
    ]


def asynchronous_scenarios() -> list[Json]:
    """Return scenarios for the scheduler that runs one step ahead."""
    ahead = {"async_scheduling": True}
    return [
        scenario("ahead: plain", plain(), **ahead),
        scenario("ahead: chunked prefill", arriving(), max_num_batched_tokens=64, **ahead),
        scenario("ahead: few sequences", arriving(), max_num_seqs=3, **ahead),
        scenario("ahead: shortage", long_answers(12), num_gpu_blocks=36, **ahead),
        scenario("ahead: shared prompts evicted", shared_prompts(), num_gpu_blocks=40, **ahead),
        scenario("ahead: priority", ranked(), num_gpu_blocks=50, policy="priority", **ahead),
        *mixed_scenarios(range(5), "ahead: ", **ahead),
    ]


def pipelined_scenarios() -> list[Json]:
    """Return scenarios for two pipeline stages, whose steps overlap."""
    return [
        scenario("two stages: plain", plain(), pipeline_parallel_size=2),
        scenario("two stages: shortage", long_answers(12), num_gpu_blocks=36, pipeline_parallel_size=2),
        scenario("two stages: shared prompts", shared_prompts(), num_gpu_blocks=60, pipeline_parallel_size=2),
        *mixed_scenarios(range(2), "two stages: ", pipeline_parallel_size=2),
    ]


def drafted_scenarios() -> list[Json]:
    """Return scenarios with drafts that are all kept or all refused, by n-grams or by the model's own layers."""
    return [
        scenario(f"drafts {'kept' if kept else 'refused'}{', own layers' if layers else ''}: {name}", requests,
                 num_speculative_tokens=3, accept_drafts=kept, draft_layers=layers, num_gpu_blocks=blocks)
        for kept in (True, False)
        for layers in (False, True)
        for name, requests, blocks in (
            ("plain", plain(), 400), ("shortage", long_answers(12), 36), ("shared", shared_prompts(), 60),
            ("mix", mixed(0), 60),
        )
    ]  # fmt: skip


def latent_scenarios() -> list[Json]:
    """Return scenarios for a latent cache, whose kernel on any CPU neither chunks prompts nor reuses prefixes."""
    whole = {"enable_prefix_caching": False, "enable_chunked_prefill": False, "max_num_batched_tokens": MOST_TOKENS}
    return [
        scenario("latent: plain", plain(), model="latent", **whole),
        scenario("latent: shortage", long_answers(16), num_gpu_blocks=80, model="latent", **whole),
        *(scenario(f"latent: mix {seed}", mixed(seed), num_gpu_blocks=80, model="latent", **whole) for seed in range(3)),
    ]


def windowed_scenarios() -> list[Json]:
    """Return scenarios for a model whose layers look back over a window, but for one."""
    return [
        scenario("window: plain", plain(), model="window"),
        scenario("window: chunked prefill", arriving(), max_num_batched_tokens=64, model="window"),
        scenario("window: shortage", long_answers(16), num_gpu_blocks=90, model="window"),
        scenario("window: shared prompts", shared_prompts(), model="window"),
        scenario("window: shared prompts evicted", shared_prompts(), num_gpu_blocks=90, model="window"),
        scenario("window: conversations", conversations(), num_gpu_blocks=180, model="window"),
        *(scenario(f"window: mix {seed}", mixed(seed), num_gpu_blocks=90, model="window") for seed in range(4)),
    ]


def groups() -> dict[str, list[Json]]:
    """Return the scenarios by group; a group is one start of the engine."""
    return {
        "started": [scenario("shortage of 140", long_answers(128), num_gpu_blocks=140, max_num_seqs=128)],
        "dense": named_scenarios() + mixed_scenarios(range(2)),
        "latent": latent_scenarios(),
        "window": windowed_scenarios(),
        "stand-in": [
            *(played | {"stand_in": True} for played in mixed_scenarios(range(6), "stand-in: ")),
            *asynchronous_scenarios(),
            *pipelined_scenarios(),
            *drafted_scenarios(),
        ],
    }


KEPT = frozenset(
    {
        "plain", "long prompts held back", "shortage", "chunks alone must fit", "watermark", "shared prompts evicted",
        "conversations evicted", "priority", "mix 0 2", "mix 1 4", "latent: plain", "window: shared prompts evicted",
        "window: conversations", "ahead: shared prompts evicted", "ahead: priority", "ahead: mix 2 4",
        "two stages: shared prompts", "two stages: mix 0 1", "drafts kept: mix", "drafts refused, own layers: shared",
    }
)  # fmt: skip
"""Scenarios whose records are kept, so that they are compared where there is no vLLM."""


def kept_scenarios() -> list[Json]:
    """Return the scenarios whose records are kept."""
    found = {scenario["name"]: scenario for group in groups().values() for scenario in group}
    return [found[name] for name in sorted(KEPT)]
