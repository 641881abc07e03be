"""What is rendered is what was priced: every artefact reads back to its deployment, whatever the names."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace

import pytest
import yaml
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as how
from hypothesis import strategies as st

from launches import HOSTILE, deployment, launch, launches, llama_settings, names
from sizewell.costs.host_layers import host_layers
from sizewell.costs.weights import WeightRules, rank_weight_bytes
from sizewell.deployer.launch import Launch
from sizewell.deployer.render import TARGETS, read_back, render
from sizewell.deployer.terms import Artefact
from sizewell.planner.stated import Stated
from sizewell.specs.deployment import Parallelism
from sizewell.specs.errors import BadInputError

ONE_MACHINE = ("compose", "systemd")


def rendered(asked: Launch, target: str) -> dict[str, str]:
    """Return the files, or give the example up where the release or the target has no words for it."""
    try:
        return dict(render(asked, target))
    except BadInputError:
        assume(False)
        raise


@pytest.mark.parametrize("target", TARGETS)
@given(asked=launches())
@how(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_an_artefact_reads_back_to_the_deployment(target: str, asked: Launch) -> None:
    assert read_back(rendered(asked, target), target) == Artefact.of(asked)


@pytest.mark.parametrize("target", TARGETS)
@given(settings=llama_settings, path=names, kv=st.sampled_from(["auto", "q8_0", "fp16"]))
@how(max_examples=30, deadline=None)
def test_llama_cpp_reads_back_too(target: str, settings: object, path: str, kv: str) -> None:
    base = launch(deployment("llama-3.1-8b", "2xrtx-4090", "llama.cpp"))
    pool = replace(base.pool, settings=settings)
    asked = replace(
        base, deployment=replace(base.deployment, kv_format=kv, pools=(pool,)), site=replace(base.site, model_path=path)
    )
    assert read_back(dict(render(asked, target)), target) == Artefact.of(asked)


def test_llama_cpp_is_not_told_of_priorities() -> None:
    asked = launch(deployment("llama-3.1-8b", "2xrtx-4090", "llama.cpp", Stated(by_priority=True)))
    with pytest.raises(BadInputError, match="leave --by-priority out"):
        render(asked, "command")


@pytest.mark.parametrize("target", TARGETS)
@given(
    model=st.sampled_from(["gpt-oss-120b", "llama-3.1-8b", "moonlight-16b"]),
    share=st.floats(0.01, 0.99), cut=st.sampled_from([Parallelism(), Parallelism(pp=2)]),
)  # fmt: skip
@how(max_examples=12, deadline=None)
def test_weights_that_llama_cpp_leaves_on_the_host_are_told_by_block(
    target: str, model: str, share: float, cut: Parallelism
) -> None:
    base = launch(deployment(model, "2xh100-pcie", "llama.cpp", Stated(tp=1, pp=cut.pp)))
    held = rank_weight_bytes(base.deployment.model, "native", cut, WeightRules())[0]
    settings = replace(base.pool.settings, offload_bytes=share * held)
    asked = replace(base, deployment=replace(base.deployment, pools=(replace(base.pool, settings=settings),)))
    read = read_back(dict(render(asked, target)), target)
    assert read == Artefact.of(asked)
    assert read.terms.on_host == asked.on_host != {}


def test_experts_on_the_host_are_counted_from_the_first_block() -> None:
    """R1's first three blocks are dense; llama.cpp counts blocks, and finds experts in those after them."""
    asked = launch(deployment("r1", "1xh200", "llama.cpp", Stated(offload_bytes=560e9)))
    moved = host_layers(asked.deployment.model, "native", Parallelism(), 560e9)[0]
    text = render(asked, "command")["serve.sh"]
    assert moved.blocks[0] == 3
    assert f"--n-cpu-moe {moved.layers + 3} " in text


@pytest.mark.parametrize("name", HOSTILE)
def test_bash_hands_the_engine_the_name_and_runs_nothing_else(name: str, one_node: Launch, tmp_path: object) -> None:
    asked = replace(one_node, site=replace(one_node.site, served_name=name, model_path=f"x{name}"))
    text = render(asked, "command")["serve.sh"].replace('exec "${engine[@]}"', r'''printf '%s\0' "${engine[@]}"''')
    done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True, cwd=str(tmp_path))
    words = done.stdout.split("\0")
    assert words[:3] == ["vllm", "serve", f"x{name}"]
    assert words[words.index("--served-model-name") + 1] == name
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", ["slurm", "command"])
@given(asked=launches())
@how(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_bash_can_read_every_script(target: str, asked: Launch) -> None:
    for text in rendered(asked, target).values():
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize("target", TARGETS)
def test_every_flag_says_why(target: str, one_node: Launch) -> None:
    lines = "\n".join(render(one_node, target).values()).split("\n")
    said = [number for number, line in enumerate(lines) if re.match(r" +(- )?--[a-z]", line)]
    assert len(said) > 8
    for number in said:
        beside, above = lines[number].partition("  # ")[2], lines[number - 1].strip()
        assert beside or above.startswith("# "), lines[number]


@pytest.mark.parametrize("target", ONE_MACHINE)
def test_one_machine_cannot_hold_two(target: str, two_nodes: Launch) -> None:
    with pytest.raises(BadInputError, match="one machine"):
        render(two_nodes, target)


@pytest.mark.parametrize("target", TARGETS)
def test_replicas_are_counted_and_share_nothing(target: str) -> None:
    asked = launch(deployment("llama-3.1-8b", "8xh100", "vllm@0.33", Stated(tp=2, replicas=4)))
    files = dict(render(asked, target))
    assert read_back(files, target) == Artefact.of(asked)
    assert read_back(files, target).replicas == 4


def test_processors_over_several_nodes_read_back() -> None:
    asked = launch(deployment("llama-3.1-8b", "8xcpu-xeon-8480-2s", "vllm@0.33", Stated(tp=4, pp=2)))
    assert read_back(dict(render(asked, "slurm")), "slurm") == Artefact.of(asked)


@pytest.mark.parametrize("target", ["command", "slurm", "kubernetes"])
def test_llama_cpp_over_several_nodes_is_refused_in_a_line(target: str) -> None:
    asked = launch(deployment("llama-3.1-8b", "16xh100", "llama.cpp"))
    with pytest.raises(BadInputError, match=r"is not rendered for .* on 2 nodes"):
        render(asked, target)


def test_compose_gives_each_replica_its_own_accelerators_and_port() -> None:
    asked = launch(deployment("llama-3.1-8b", "8xh100", "vllm@0.33", Stated(tp=2, replicas=4)))
    services = yaml.safe_load(render(asked, "compose")["compose.yaml"])["services"].values()
    devices = [one["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for one in services]
    assert devices == [["0", "1"], ["2", "3"], ["4", "5"], ["6", "7"]]
    assert len({one["ports"][-1] for one in services}) == 4


def test_the_command_gives_each_replica_its_own_accelerators_and_port() -> None:
    asked = launch(deployment("llama-3.1-8b", "8xh100", "vllm@0.33", Stated(tp=2, replicas=4)))
    text = render(asked, "command")["serve.sh"].replace('exec "${engine[@]}"', 'echo "$CUDA_VISIBLE_DEVICES $port"')
    for replica, expected in ((0, "0,1 8000"), (3, "6,7 8003")):
        done = subprocess.run(["bash", "-c", text, "serve", str(replica)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
    assert subprocess.run(["bash", "-c", text, "serve", "4"], capture_output=True, check=False).returncode == 2


def test_a_name_that_an_engine_would_take_for_a_flag_is_refused(one_node: Launch) -> None:
    for name in ("--port", "", " ", "a\0b"):
        with pytest.raises(BadInputError, match="name another"):
            replace(one_node, site=replace(one_node.site, served_name=name))


@pytest.mark.parametrize("word", ["partition", "account", "constraint", "time"])
@pytest.mark.parametrize("value", ["a b", "a\n#SBATCH --wrap=x", "a;b", "$(x)", "é"])
def test_what_slurm_cannot_quote_is_refused(word: str, value: str, one_node: Launch) -> None:
    slurm = replace(one_node.site.slurm, **{word: value})
    with pytest.raises(BadInputError, match=f"--{word}"):
        render(replace(one_node, site=replace(one_node.site, slurm=slurm)), "slurm")


def test_words_are_quoted_as_shlex_does(one_node: Launch) -> None:
    asked = replace(one_node, site=replace(one_node.site, served_name="a b'c"))
    assert f"--served-model-name {shlex.quote(chr(97) + ' b' + chr(39) + 'c')}" in render(asked, "command")["serve.sh"]
