"""Pools of prefill and decode: what is rendered is what was priced, in words each release and its router know."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as how
from hypothesis.strategies import DataObject, data

from launches import HOSTILE, deployment, launch, split, split_launches
from shell_text import clean
from sizewell.catalog.engine_flags import list_flag_releases, read_engine_flags
from sizewell.catalog.engines import read_engine
from sizewell.deployer import router, words
from sizewell.deployer.launch import Launch
from sizewell.deployer.placement import accelerators, seats
from sizewell.deployer.render import TARGETS, read_back, render
from sizewell.deployer.shell import read_engines
from sizewell.deployer.terms import Artefact, spoken
from sizewell.specs.deployment import Parallelism
from sizewell.specs.engine import EngineName
from sizewell.specs.errors import BadInputError

ONE_MACHINE = ("compose", "systemd")
PER_RELEASE = [(engine, release) for engine in ("vllm", "sglang") for release in list_flag_releases(engine)]


@pytest.fixture(scope="module")
def small() -> Launch:
    """Two replicas for prompts and one that answers, on one node, by vLLM."""
    return launch(deployment("llama-3.1-8b", "8xh100", "vllm@0.33", split("2xTP1", "1xTP4")))


@pytest.fixture(scope="module")
def wide() -> Launch:
    """R1 in two pools of two nodes each, by SGLang."""
    return launch(deployment("r1", "32xh100", "sglang@0.5.23", split("1xTP16", "1xDP16xEP16")))


@pytest.mark.parametrize("target", TARGETS)
@given(data=data())
@how(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_an_artefact_reads_back_to_both_pools(target: str, data: DataObject) -> None:
    asked = data.draw(split_launches(one_machine=target in ONE_MACHINE))
    try:
        files = dict(render(asked, target))
    except BadInputError:
        assume(False)
        raise
    assert read_back(files, target) == Artefact.of(asked)
    assert read_back(files, target).partner is not None


@pytest.mark.parametrize(("engine", "release"), PER_RELEASE)
def test_each_release_hands_caches_over_in_its_own_words_or_says_that_it_cannot(
    engine: EngineName, release: str, small: Launch
) -> None:
    flags = read_engine_flags(engine, release)
    built = replace(small.deployment, engine=read_engine(engine, release))
    router_flags = launch(deployment("llama-3.1-8b", "8xh100", engine, split("1xTP1", "1xTP4"))).router
    asked = replace(small, deployment=built, flags=flags, router=router_flags)
    if (engine, release) in (("vllm", "0.6.6"), ("vllm", "0.8.5"), ("sglang", "0.4.6")):
        with pytest.raises(BadInputError, match="hands no cache"):
            render(asked, "command")
        return
    for part in asked.parts:
        said = words.flags(part)
        assert all(flags.knows(flag.name) for flag in said)
        assert {"--kv-transfer-config", "--disaggregation-mode"} & {flag.name for flag in said}
        assert all(variable.name in flags.environment for variable in words.environment(part))


def test_roles_and_side_channels_of_vllm(small: Launch) -> None:
    text = render(small, "command")["serve.sh"]
    prefill, decode, front = (spoken(each) for each in read_engines(text))
    assert json.loads(prefill["--kv-transfer-config"] or "") == {
        "kv_connector": "NixlConnector",
        "kv_role": "kv_producer",
    }
    assert json.loads(decode["--kv-transfer-config"] or "")["kv_role"] == "kv_consumer"
    assert 'export VLLM_NIXL_SIDE_CHANNEL_PORT="$handover"' in text
    assert "--vllm-pd-disaggregation" in front


def test_a_cache_in_host_memory_stands_beside_nixl() -> None:
    stated = split("1xTP4", "1xTP4", kv_host_bytes=64 * 2.0**30)
    asked = launch(deployment("llama-3.1-8b", "8xh100", "vllm@0.33", stated))
    said = spoken(read_engines(render(asked, "command")["serve.sh"])[0])
    assert "--kv-offloading-size" not in said  # it would replace NIXL
    inside = json.loads(said["--kv-transfer-config"] or "")["kv_connector_extra_config"]["connectors"]
    assert [each["kv_connector"] for each in inside] == ["NixlConnector", "OffloadingConnector"]
    assert inside[1]["kv_connector_extra_config"]["cpu_bytes_to_use"] == 64 * 2**30


def test_modes_and_bootstrap_of_sglang(wide: Launch) -> None:
    prefill, decode, front = (spoken(each) for each in read_engines(render(wide, "slurm")["deepseek-r1.sbatch"]))
    assert prefill["--disaggregation-bootstrap-port"] == "$handover"
    assert "--disaggregation-bootstrap-port" not in decode
    assert (prefill["--disaggregation-mode"], decode["--disaggregation-mode"]) == ("prefill", "decode")
    assert (decode["--tp-size"], decode["--dp-size"], decode["--nnodes"]) == ("16", "16", "2")
    assert "--pd-disaggregation" in front


@pytest.mark.parametrize("role", ["prefill 0", "prefill 1", "decode 0", "router"])
def test_each_program_of_a_machine_has_ports_and_accelerators_of_its_own(role: str, small: Launch) -> None:
    text = render(small, "command")["serve.sh"].replace(
        'exec "${engine[@]}"', 'echo "${CUDA_VISIBLE_DEVICES:-} ${engine[*]}"'
    )
    done = subprocess.run(["bash", "-c", text, "serve", *role.split()], capture_output=True, text=True, check=True)
    expected = {
        "prefill 0": ("4", "8100"),
        "prefill 1": ("5", "8200"),
        "decode 0": ("0,1,2,3", "8300"),
        "router": ("", "8000"),
    }
    devices, port = expected[role]
    assert done.stdout.split(" ")[0].strip() == devices
    assert re.findall(r"--port (\d+)", done.stdout) == [port]
    if role == "router":
        asked = re.findall(r"--(?:prefill|decode) http://127.0.0.1:(\d+)", done.stdout)
        assert asked == ["8100", "8200", "8300"]


def test_units_and_services_are_told_the_same_ports_as_the_script(small: Launch) -> None:
    units = "".join(render(small, "systemd").values())
    services = yaml.safe_load(render(small, "compose")["compose.yaml"])["services"]
    expected = ["http://127.0.0.1:8100", "http://127.0.0.1:8200", "http://127.0.0.1:8300"]
    assert re.findall(r'--(?:prefill|decode) "([^"]*)"', units) == expected
    (front,) = [service for name, service in services.items() if name.endswith("-router")]
    assert [word for word in front["command"] if word.startswith("http")] == expected
    assert len(front["depends_on"]) == 3


def test_no_two_replicas_share_an_accelerator(small: Launch, wide: Launch) -> None:
    for asked in (small, wide):
        places = [
            (seat.node + further, each)
            for seat in seats(asked) for further in range(asked.parts[seat.part].nodes)
            for each in accelerators(asked, seat)
        ]  # fmt: skip
        assert len(places) == len(set(places)) == asked.deployment.gpus


def test_pools_that_do_not_pack_are_refused(small: Launch) -> None:
    pools = tuple(replace(pool, replicas=1, parallelism=Parallelism(tp=6)) for pool in small.deployment.pools)
    cluster = replace(small.deployment.cluster, nodes=1)
    with pytest.raises(BadInputError, match="finds no room"):
        seats(replace(small, deployment=replace(small.deployment, pools=pools, cluster=cluster)))


@pytest.mark.parametrize("target", ["command", "slurm"])
def test_a_router_that_asks_for_no_key_is_not_opened(target: str, small: Launch) -> None:
    with pytest.raises(BadInputError, match="asks clients for no key"):
        render(replace(small, site=replace(small.site, host="0.0.0.0")), target)


def test_pods_have_names_and_a_policy_guards_their_router(small: Launch) -> None:
    (text,) = render(small, "kubernetes").values()
    made = list(yaml.safe_load_all(text))
    kinds = [each["kind"] for each in made]
    assert kinds.count("StatefulSet") == 2
    (front,) = [each for each in made if each["kind"] == "Deployment"]
    args = front["spec"]["template"]["spec"]["containers"][0]["args"]
    names = [word.removeprefix("http://").partition(".")[0] for word in args if word.startswith("http://")]
    sets = {each["metadata"]["name"]: each["spec"]["replicas"] for each in made if each["kind"] == "StatefulSet"}
    assert names == [f"{name}-{number}" for name, many in sets.items() for number in range(many)]
    (policy,) = [each for each in made if each["kind"] == "NetworkPolicy"]
    assert (
        policy["spec"]["podSelector"]["matchLabels"].items() <= front["spec"]["template"]["metadata"]["labels"].items()
    )


@pytest.mark.parametrize("target", TARGETS)
def test_every_flag_says_why(target: str, small: Launch) -> None:
    lines = "\n".join(render(small, target).values()).split("\n")
    said = [number for number, line in enumerate(lines) if re.match(r" +(- )?--[a-z]", line)]
    assert len(said) > 30
    for number in said:
        beside, above = lines[number].partition("  # ")[2], lines[number - 1].strip()
        assert beside or above.startswith("# "), lines[number]


def test_scripts_are_clean(small: Launch, wide: Launch) -> None:
    for asked, target in product((small, wide), ("command", "slurm")):
        clean(*render(asked, target).values())
    for number, name in enumerate(HOSTILE):
        hostile = replace(wide, site=replace(wide.site, served_name=name, model_path=name))
        clean(*render(hostile, "command").values())
        if number % 3 == 0:  # the job quotes names as the script does, and takes shellcheck four times as long
            clean(*render(hostile, "slurm").values())


@pytest.mark.parametrize("name", HOSTILE)
def test_bash_hands_a_pool_the_name_and_runs_nothing_else(name: str, small: Launch, tmp_path: Path) -> None:
    asked = replace(small, site=replace(small.site, served_name=name, model_path=f"x{name}"))
    text = render(asked, "command")["serve.sh"].replace('exec "${engine[@]}"', r'''printf '%s\0' "${engine[@]}"''')
    done = subprocess.run(
        ["bash", "-c", text, "serve", "decode"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    said = done.stdout.split("\0")
    assert said[:3] == ["vllm", "serve", f"x{name}"]
    assert said[said.index("--served-model-name") + 1] == name
    assert list(tmp_path.iterdir()) == []


def test_the_router_is_told_in_words_it_knows(small: Launch, wide: Launch) -> None:
    for asked in (small, wide):
        assert asked.router is not None
        assert all(asked.router.knows(flag.name) for flag in router.flags(asked))
