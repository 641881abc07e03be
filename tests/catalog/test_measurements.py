"""A table of start-up figures reads as it is written; a broken one says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from sizewell.catalog.measurements import file_kind, read_memory_rows
from sizewell.specs.errors import BadInputError

HEADER = (
    "point_id,thread,engine,version,model_hf_id,weight_format,kv_dtype,gpu,gpu_mem_gib_reported,num_gpus,tp,pp,ep,dp,"
    "gpu_memory_utilization,max_model_len,max_num_batched_tokens,max_num_seqs,enforce_eager,metric,value,notes\n"
)


def _table(folder: Path, line: str) -> Path:
    path = folder / "rows.csv"
    path.write_text(HEADER + line + "\n")
    return path


def test_unstated_settings_stay_unstated(tmp_path: Path) -> None:
    path = _table(tmp_path, "a,t,vllm,0.7.2,m/x,bf16,auto,L40S,44.4,1,1,1,,1,,4096,,,True,kv_gib,3.5,cpu_offload_gb=30")
    (row,) = read_memory_rows(path)
    assert file_kind(path) == "memory"
    assert (row.memory_fraction, row.max_num_seqs, row.max_num_batched_tokens) == (None, None, None)
    assert (row.enforce_eager, row.value, row.memory_gib) == (True, 3.5, 44.4)
    assert row.offload_bytes == 30 * 2**30


def test_the_first_engine_and_sglang_fractions_are_found_in_the_text(tmp_path: Path) -> None:
    gpu, fraction = "H200 (137.29 GB free before load)", "mem_fraction_static=0.85"
    line = f"a,t,vllm,0.8.5,m/x,bf16,auto,{gpu},,8,8,1,,1,{fraction},,,,,kv_gib,1,V0 engine"
    (row,) = read_memory_rows(_table(tmp_path, line))
    assert row.engine_version == "0.8.5 V0"
    assert row.memory_fraction == 0.85
    assert row.free_bytes == 137.29 * 2**30


def test_a_broken_row_is_named_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="line 2"):
        read_memory_rows(_table(tmp_path, "a,t,vllm,0.7.2,m/x,bf16,auto,L40S,,1,one,1,,1,,,,,,kv_gib,3.5,"))


def test_another_table_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(BadInputError):
        file_kind(other)
    with pytest.raises(BadInputError):
        read_memory_rows(other)
