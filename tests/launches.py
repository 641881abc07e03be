"""Deployments to render, as somebody states them, and strategies: any settings, any cut of a machine, any names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from sizewell.catalog.engine_flags import list_flag_releases, read_engine_flags, read_router_flags
from sizewell.catalog.engines import read_engine
from sizewell.catalog.hardware import read_link
from sizewell.catalog.models import read_model
from sizewell.cli.pool_flags import parse_pool
from sizewell.cli.questions import Setup, machine, materials_that_fit, stated_on
from sizewell.deployer.launch import Launch, Site, Slurm
from sizewell.deployer.started import Part, Started
from sizewell.planner.stated import Stated
from sizewell.specs.deployment import Deployment, EngineSettings, Formats, Parallelism, Pool
from sizewell.traffic.workload import Workload

STARTED = Started(
    name="tiny", where="local", made_at="2026-11-29T20:00:00+00:00", model="m", host="127.0.0.1", port=8000, replicas=2,
    file="serve.sh", stop_s=30.0, patience_s=600.0, commands=(("./serve.sh", "0"), ("./serve.sh", "1")),
    parts=(Part(id="12", born="x:3", log="replica-0.log", port=8000),), source="m", assumed=("a=1",),
    deployment={"model": "m"}, ledger={"kv_cache_tokens": 12},
)  # fmt: skip
"""One that was started here, as its folder keeps it."""
LOAD = Workload(users=8, input_tokens=1000, answer_tokens=500)


def deployment(
    model: str, on: str, engine: str, stated: Stated | None = None, formats: Formats | None = None
) -> Deployment:
    """Return a stated deployment."""
    setup = Setup(engine=engine, stated=stated or Stated(), formats=formats or Formats())
    replicas = (stated or Stated()).replicas or 1
    return stated_on(read_model(model), machine(on, replicas=replicas), LOAD, setup)


def launch(built: Deployment, **site: Any) -> Launch:
    """Return a launch of a deployment at a site, with the flags of its engine's release."""
    named = {"model_path": built.model.name, "served_name": built.model.name, **site}
    flags = read_engine_flags(built.engine.name, built.engine.version)
    router = read_router_flags(built.engine.name)
    return Launch(deployment=built, site=Site(**named), flags=flags, materials=materials_that_fit(built), router=router)


def split(prefill: str, decode: str, **more: Any) -> Stated:
    """Return pools as they are stated on a command line: `2xTP4`."""
    return Stated(prefill=parse_pool(prefill), decode=parse_pool(decode), **more)


HOSTILE = [
    "a b", "x'y", 'q"q', "a;b", "$(touch pwned)", "`id`", "a\nb", "$HOME", "%n%i", "\\", "# no", ")", "é漢😀",
    "$$(A)", "{a: b}", '!why "x"', 'x\n- !why "x"', "a\n)\n", "\x01\x7f", "a\u2028b", ": ", "${A}", "*&|<>~",
]  # fmt: skip
names = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=30),
).filter(lambda name: name.strip() != "" and not name.startswith("-"))
"""What people and machines call things, at their worst."""

settings = st.builds(
    EngineSettings,
    max_num_seqs=st.integers(1, 4096),
    max_num_batched_tokens=st.integers(1, 1 << 20),
    max_model_len_tokens=st.integers(1, 1 << 22),
    memory_fraction=st.floats(0.01, 1.0),
    enforce_eager=st.booleans(),
    prefix_caching=st.booleans(),
    chunked_prefill=st.booleans(),
    speculative_tokens=st.integers(0, 32),
    offload_bytes=st.one_of(st.just(0.0), st.integers(1, 400).map(lambda gib: float(gib << 30))),
    kv_cache_bytes=st.one_of(st.just(0.0), st.integers(1, 1 << 40).map(float)),
    by_priority=st.sampled_from([False, False, True]),
)
CUTS = {
    "1 node": [
        Parallelism(tp=8), Parallelism(tp=8, ep=8), Parallelism(tp=4, pp=2), Parallelism(dp=8, ep=8),
        Parallelism(tp=2, dp=4),
    ],
    "2 nodes": [
        Parallelism(tp=8, pp=2), Parallelism(tp=16), Parallelism(tp=16, ep=16), Parallelism(tp=2, dp=8, ep=16),
    ],
}  # fmt: skip


def _built(on: str, engine: str, cut: Parallelism) -> Deployment:
    stated = Stated(tp=cut.tp, pp=cut.pp, dp=cut.dp, ep=cut.ep)
    return stated_on(read_model("r1"), machine(on), LOAD, Setup(engine=engine, stated=stated))


_BASES = {nodes: _built(on, "vllm", CUTS[nodes][0]) for nodes, on in (("1 node", "8xh200"), ("2 nodes", "16xh100"))}
_MATERIALS = {nodes: materials_that_fit(base) for nodes, base in _BASES.items()}


@st.composite
def launches(draw: st.DrawFn, engines: tuple[str, ...] = ("vllm", "sglang")) -> Launch:
    """Draw a launch of R1 on one or two nodes by any release whose flags are known."""
    nodes = draw(st.sampled_from(list(CUTS)))
    engine = draw(st.sampled_from(engines))
    release = draw(st.sampled_from(list_flag_releases(engine)))  # type: ignore[arg-type]
    base, spec = _BASES[nodes], read_engine(engine, release)
    pool = replace(base.pools[0], parallelism=draw(st.sampled_from(CUTS[nodes])), settings=draw(settings))
    kv = draw(st.sampled_from(["auto", "fp8", "bf16"]))
    built = replace(base, engine=spec, kv_format=kv, pools=(pool,))
    site = Site(
        model_path=draw(names),
        served_name=draw(names),
        host=draw(st.sampled_from(["127.0.0.1", "0.0.0.0"])),
        reasoning_parser=draw(st.sampled_from([None, "deepseek_r1"])),
        trust_remote_code=draw(st.booleans()),
        slurm=Slurm(style="venv", environment=draw(names), launcher=draw(st.sampled_from(["mp", "ray"]))),
    )
    flags = read_engine_flags(spec.name, release)
    return Launch(deployment=built, site=site, flags=flags, materials=_MATERIALS[nodes])


SPLITS = [
    (Parallelism(tp=8), Parallelism(tp=8)),
    (Parallelism(tp=4), Parallelism(dp=8, ep=8)),
    (Parallelism(tp=2, pp=2), Parallelism(tp=8)),
    (Parallelism(tp=16), Parallelism(dp=16, ep=16)),
    (Parallelism(tp=8, pp=2), Parallelism(tp=8)),
    (Parallelism(tp=2), Parallelism(tp=4)),
]


SMALL_SPLITS = [
    (Parallelism(tp=2), Parallelism(tp=4)),
    (Parallelism(tp=4), Parallelism(tp=4)),
    (Parallelism(tp=1), Parallelism(tp=2)),
    (Parallelism(tp=2), Parallelism(dp=2, ep=2)),
]


@st.composite
def split_launches(draw: st.DrawFn, *, one_machine: bool) -> Launch:
    """Draw a launch of R1 in two pools on one node or eight, by any release whose flags are known.

    What every such launch is refused for is not drawn, so that few examples are given up: Ray, a router of vLLM or on
    one machine that listens to everybody, SGLang with a cache of stated bytes or one of a decode pool on the host.
    """
    asked = draw(launches())
    by_sglang = asked.flags.engine == "sglang"
    prefill, decode = draw(st.sampled_from(SMALL_SPLITS if one_machine else SPLITS))
    gib = draw(st.sampled_from([0, 0, 64]))
    drawn = draw(settings)
    hosted, plain = replace(drawn, kv_host_bytes=2.0**30 * gib), drawn
    if by_sglang:
        plain = replace(drawn, kv_cache_bytes=0.0)
        hosted = replace(plain, kv_host_bytes=10.0**9 * 16 * gib)
    most = min(2, (8 - decode.gpus) // prefill.gpus) if one_machine else 2
    answering = 1 if one_machine else draw(st.integers(1, 2))
    pools = (
        Pool(role="prefill", replicas=draw(st.integers(1, most)), parallelism=prefill, settings=hosted),
        Pool(role="decode", replicas=answering, parallelism=decode, settings=plain if by_sglang else hosted),
    )
    cluster = replace(asked.deployment.cluster, nodes=1 if one_machine else 8)
    network = draw(st.sampled_from([None, read_link("infiniband-ndr-400")]))
    built = replace(asked.deployment, pools=pools, cluster=cluster, kv_network=network)
    host = asked.site.host if by_sglang and not one_machine else "127.0.0.1"
    site = replace(asked.site, host=host, slurm=replace(asked.site.slurm, launcher="mp"))
    router = read_router_flags(asked.flags.engine)  # type: ignore[arg-type]
    return replace(asked, deployment=built, site=site, router=router)


llama_settings = st.builds(
    EngineSettings,
    max_num_seqs=st.integers(1, 64),
    max_num_batched_tokens=st.integers(1, 8192),
    max_model_len_tokens=st.integers(1, 1 << 20),
    memory_fraction=st.just(1.0),
    enforce_eager=st.booleans(),
)
