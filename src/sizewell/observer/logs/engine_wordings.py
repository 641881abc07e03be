"""What vLLM, SGLang and llama.cpp print while they start, in the words of all releases the tests hold excerpts of."""

from __future__ import annotations

from collections.abc import Mapping

from sizewell.observer.logs.wording import Wording, wording

_DEVICE = r"(?:CUDA|ROCm|Vulkan|SYCL|Metal|MTL|CANN|MUSA)\d*(?:_\w+)?"

VLLM = (
    wording("started", r"vLLM API server version (?P<version>\S+)", is_first=True),
    wording("started", r"[ █▄▀]+version (?P<version>\d\S+)", is_first=True),
    wording("started", r"Initializing an? (?:V[01] )?LLM engine \(v(?P<version>[^)]+)\)"),
    wording("started", r"Launching vLLM \(v(?P<version>[^)]+)\) headless"),
    wording("loading", r"Starting to load model "),
    wording("loading", r"Time spent downloading weights for "),
    wording(
        "loading",
        r"Filesystem type for checkpoints: .*Checkpoint size: (?P<checkpoint_gib>[\d.]+) GiB",
    ),
    wording("loading", r"Loading weights took (?P<load_s>[\d.]+) s"),
    wording("warming", r"Warming up model for the compilation|Compile and warming up model "),
    wording("warming", r"Loading model weights took (?P<weights_gib>[\d.]+) Gi?B"),
    wording(
        "warming",
        r"Model loading took (?P<weights_gib>[\d.]+) Gi?B(?: memory)? and (?P<load_s>[\d.]+) s",
    ),
    # vLLM's first engine
    wording("warming", r".*memory reserved for KV Cache is (?P<kv_gib>[\d.]+) ?GiB"),
    wording("warming", r"Available KV cache memory: (?P<kv_gib>[\d.]+) GiB"),
    wording("warming", r"(?:Explicitly|Auto) set \((?P<kv_gib>[\d.]+)/[\d.]+\) GiB for KV cache"),
    wording("warming", r"# \w+ blocks: (?P<kv_blocks>\d+)\b"),
    wording("warming", r"[\w +]+ KV cache size: (?P<kv_tokens>[\d,]+) tokens"),
    wording(
        "warming",
        r".*Maximum concurrency for (?P<length_tokens>[\d,]+) tokens per request: (?P<concurrency>[\d.]+)x",
    ),
    wording("warming", r"Graph capturing finished in [\d.]+ secs(?:, took (?P<graphs_gib>[\d.]+) GiB)?"),
    wording("warming", r"CUDA graph pool memory: (?P<graphs_gib>[\d.]+) GiB \(actual\)"),
    wording("warming", r"init engine \(profile, create kv cache, warmup model\) took "),
    wording("serving", r"Starting vLLM (?:API )?server(?: \d+)? on |Application startup complete\."),
    wording("ended", r"Gracefully stopping http server"),
    wording("ended", r"\[shutdown\] API server: "),
    wording("ended", r"Shutting down$", closes=True),
)  # fmt: skip

SGLANG = (
    wording("started", r"server_args=ServerArgs\(", is_first=True),
    wording("loading", r"Load weight begin\."),
    wording(
        "warming",
        r"Load weight end\.(?: elapsed=(?P<load_s>[\d.]+) s,)?(?:.*mem usage=(?P<weights_gib>[\d.]+) GB)?",
    ),
    wording(
        "warming",
        r"KV Cache is allocated\. (?:dtype: \S+ )?#tokens: (?P<pool_tokens>\d+),"
        r"(?: KV size: (?P<pool_gib>[\d.]+) GB| K size: (?P<k_gib>[\d.]+) GB, V size: (?P<v_gib>[\d.]+) GB)",
    ),
    # layers that see a window have a pool of their own
    wording("warming", r"SWAKVPool mem usage: (?P<windowed_gib>[\d.]+) GB"),
    wording(
        "warming",
        r"Post-capture KV sizing: KV cache allocated\..*#tokens: (?P<pool_tokens>\d+), "
        r"KV size: (?P<pool_gib>[\d.]+) GB",
    ),
    wording(
        "warming",
        r"Mamba Cache is allocated\. .*conv_state size: (?P<conv_gib>[\d.]+) ?GB, "
        r"ssm_state size: (?P<ssm_gib>[\d.]+) ?GB"
        r"(?:.*intermediate_ssm_state_cache size: (?P<draft_ssm_gib>[\d.]+) ?GB)?"
        r"(?:.*intermediate_conv_window_cache size: (?P<draft_conv_gib>[\d.]+) ?GB)?",
    ),
    wording("warming", r"Capture cuda graph end\.(?:.*mem usage=(?P<graphs_gib>[\d.]+) GB)?"),
    wording("warming", r"Capture .*CUDA graph end\.(?:.*mem usage=(?P<graphs_gib>[\d.]+) GB)?"),
    wording("warming", r"max_total_num_tokens=(?P<kv_tokens>\d+)"),
    wording("serving", r"The server is fired up and ready to roll!"),
    wording("ended", r"SIGTERM received\.|Gracefully exiting\.\.\."),
    wording("ended", r"Shutting down$", closes=True),
)  # fmt: skip

LLAMA_CPP = (
    wording("started", r"(?:main: )?build(?:_info)?[:=] (?P<version>b?\d+)\b", is_first=True),
    wording(
        "started",
        r"(?:cmn +common_param: )?common_params_print_info: (?:build (?P<version>\d+) |verbosity = )",
        is_first=True,
    ),
    wording("loading", r"(?:srv +(?:load_model|llama_server)|main): loading model"),
    wording("loading", r"llama_model_loader: loaded meta data"),
    wording(
        "loading",
        rf"(?:llm_)?load_tensors: +{_DEVICE} (?:model )?buffer size = +(?P<weights_mib>[\d.]+) MiB",
    ),
    wording(
        "loading",
        r"(?:llm_)?load_tensors: +CPU\w* (?:model )?buffer size = +(?P<host_weights_mib>[\d.]+) MiB",
    ),
    wording("warming", r"llama_new_context_with_model: n_ctx +=\s+(?P<cells>\d+)"),
    wording("warming", r"llama_new_context_with_model: KV self size +=\s+(?P<kv_part_mib>[\d.]+) MiB"),
    wording(
        "warming",
        r"llama_kv_cache\w*: size = +(?P<kv_part_mib>[\d.]+) MiB \( *(?P<cells>\d+) cells"
        r"(?:, +\d+ layers, +\d+/ *(?P<streams>\d+) seqs)?",
    ),
    wording("warming", r".*warming up the model with an empty run"),
    wording("warming", r"(?:srv +llama_server|main): model loaded"),
    wording(
        "serving",
        r"(?:srv +llama_server|main): (?:server is )?listening on|(?:srv +update_slots: )?all slots are idle",
    ),
    wording("ended", r"(?:srv +)?(?:operator\(\): |main: |llama_server: )*cleaning up before exit", closes=True),
    wording("ended", r"(?:srv +)?(?:operator\(\): |main: )*Received second interrupt"),
)  # fmt: skip

ENGINES: Mapping[str, tuple[Wording, ...]] = {"vllm": VLLM, "sglang": SGLANG, "llama.cpp": LLAMA_CPP}
