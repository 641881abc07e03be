"""What our flags are called elsewhere: by engines, by other tools, by other commands."""

MEANT = {
    "--on": "--gpu", "--price": "--max-usd-per-hour", "--max-price": "--max-usd-per-hour",
    "--budget": "--max-usd-to-buy", "--gpus": "--max-gpus", "--weights": "--weight-format",
    "--quantization": "--weight-format", "--kv-cache-dtype": "--kv-format",
    "--tensor-parallel-size": "--tp", "--tp-size": "--tp", "--pipeline-parallel-size": "--pp", "--pp-size": "--pp",
    "--data-parallel-size": "--dp", "--dp-size": "--dp", "--expert-parallel-size": "--ep", "--ep-size": "--ep",
    "--gpu-memory-utilization": "--memory-fraction", "--mem-fraction-static": "--memory-fraction",
    "--context-length": "--max-model-len", "--ctx-size": "--max-model-len", "--parallel": "--max-num-seqs",
    "--max-running-requests": "--max-num-seqs", "--chunked-prefill-size": "--max-num-batched-tokens",
    "--disable-cuda-graph": "--enforce-eager", "--cpu-offload-gb": "--offload-bytes",
    "--num-speculative-tokens": "--speculative-tokens", "--request-rate": "--rate", "--qps": "--rate",
    "--isl": "--input", "--osl": "--answer", "--input-len": "--input", "--output-len": "--answer",
    "--concurrency": "--users",
}  # fmt: skip
"""What people write who know another command, another tool or an engine's own flag."""
