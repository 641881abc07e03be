"""What vLLM, SGLang and llama.cpp print while they start: facts about their wording, release by release."""

from __future__ import annotations

from collections.abc import Mapping

from sizewell.observer.wording import Wording, wording

_DEVICE = r"(?:CUDA|ROCm|Vulkan|SYCL|Metal|MTL|CANN|MUSA)\d*(?:_\w+)?"

VLLM = (
    wording("started", "all", r"vLLM API server version (?P<version>\S+)"),
    wording("started", "0.12 on", r"[ █▄▀]+version (?P<version>\d\S+)"),
    wording("started", "all", r"Initializing an? (?:V[01] )?LLM engine \(v(?P<version>[^)]+)\)"),
    wording("started", "0.11 on", r"Launching vLLM \(v(?P<version>[^)]+)\) headless"),
    wording("loading", "all", r"Starting to load model "),
    wording("loading", "all", r"Time spent downloading weights for "),
    wording("loading", "0.14 on", r"Filesystem type for checkpoints: .*Checkpoint size: (?P<checkpoint_gib>[\d.]+) GiB"),
    wording("loading", "all", r"Loading weights took (?P<load_s>[\d.]+) s"),
    wording("warming", "0.6, 0.7", r"Loading model weights took (?P<weights_gib>[\d.]+) Gi?B"),
    wording("warming", "0.7.3 on", r"Model loading took (?P<weights_gib>[\d.]+) Gi?B(?: memory)? and (?P<load_s>[\d.]+) s"),
    wording("warming", "0.6.5-0.9, first engine", r".*memory reserved for KV Cache is (?P<kv_gib>[\d.]+) ?GiB"),
    wording("warming", "0.8 on", r"Available KV cache memory: (?P<kv_gib>[\d.]+) GiB"),
    wording("warming", "0.20 on, CPU", r"(?:Explicitly|Auto) set \((?P<kv_gib>[\d.]+)/[\d.]+\) GiB for KV cache"),
    wording("warming", "0.6-0.9, first engine", r"# \w+ blocks: (?P<kv_blocks>\d+)\b"),
    wording("warming", "0.8 on", r"[\w +]+ KV cache size: (?P<kv_tokens>[\d,]+) tokens"),
    wording(
        "warming", "0.6.2 on",
        r".*Maximum concurrency for (?P<length_tokens>[\d,]+) tokens per request: (?P<concurrency>[\d.]+)x",
    ),
    wording("warming", "all", r"Graph capturing finished in [\d.]+ secs(?:, took (?P<graphs_gib>[\d.]+) GiB)?"),
    wording("warming", "0.20 on", r"CUDA graph pool memory: (?P<graphs_gib>[\d.]+) GiB \(actual\)"),
    wording("warming", "all", r"init engine \(profile, create kv cache, warmup model\) took "),
    wording("serving", "all", r"Application startup complete\."),
    wording("ended", "0.6-0.10", r"Gracefully stopping http server"),
    wording("ended", "0.11 on", r"\[shutdown\] API server: "),
    wording("ended", "all", r"Shutting down$"),
)  # fmt: skip

SGLANG = (
    wording("started", "all", r"server_args=ServerArgs\("),
    wording("loading", "all", r"Load weight begin\."),
    wording(
        "warming", "0.4.1 on",
        r"Load weight end\.(?: elapsed=(?P<load_s>[\d.]+) s,)?(?:.*mem usage=(?P<weights_gib>[\d.]+) GB)?",
    ),
    wording(
        "warming", "0.4 on",
        r"KV Cache is allocated\. (?:dtype: \S+ )?#tokens: (?P<pool_tokens>\d+),"
        r"(?: KV size: (?P<kv_gib>[\d.]+) GB| K size: (?P<k_gib>[\d.]+) GB, V size: (?P<v_gib>[\d.]+) GB)",
    ),
    wording("warming", "0.4, 0.5", r"Capture cuda graph end\.(?:.*mem usage=(?P<graphs_gib>[\d.]+) GB)?"),
    wording("warming", "0.5.11 on", r"Capture .*CUDA graph end\.(?:.*mem usage=(?P<graphs_gib>[\d.]+) GB)?"),
    wording("warming", "all", r"max_total_num_tokens=(?P<kv_tokens>\d+)"),
    wording("serving", "all", r"The server is fired up and ready to roll!"),
    wording("ended", "all", r"SIGTERM received\.|Gracefully exiting\.\.\."),
    wording("ended", "all", r"Shutting down$"),
)  # fmt: skip

LLAMA_CPP = (
    wording("started", "all", r"(?:main: )?build(?:_info)?[:=] (?P<version>b?\d+)\b"),
    wording("loading", "all", r"(?:srv +load_model|main): loading model"),
    wording("loading", "all", r"llama_model_loader: loaded meta data"),
    wording("loading", "all", rf"(?:llm_)?load_tensors: +{_DEVICE} (?:model )?buffer size = +(?P<weights_mib>[\d.]+) MiB"),
    wording("loading", "all", r"(?:llm_)?load_tensors: +CPU\w* (?:model )?buffer size = +(?P<host_weights_mib>[\d.]+) MiB"),
    wording("warming", "to 2025", r"llama_new_context_with_model: n_ctx +=\s+(?P<cells>\d+)"),
    wording("warming", "to 2025", r"llama_new_context_with_model: KV self size +=\s+(?P<kv_part_mib>[\d.]+) MiB"),
    wording(
        "warming", "2025 on",
        r"llama_kv_cache\w*: size = +(?P<kv_part_mib>[\d.]+) MiB \( *(?P<cells>\d+) cells",
    ),
    wording("warming", "all", r".*warming up the model with an empty run"),
    wording("serving", "all", r"main: server is listening on|(?:srv +update_slots: )?all slots are idle"),
    wording("ended", "all", r"(?:srv +operator\(\): |main: )?(?:cleaning up before exit|Received second interrupt)"),
)  # fmt: skip

ENGINES: Mapping[str, tuple[Wording, ...]] = {"vllm": VLLM, "sglang": SGLANG, "llama.cpp": LLAMA_CPP}
