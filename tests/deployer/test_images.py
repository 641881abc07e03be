"""A container runs where it is rendered for: its image is built for the accelerator, and it gets hold of it."""

from __future__ import annotations

import pytest
import yaml

from launches import deployment, launch
from sizewell.deployer.launch import Slurm
from sizewell.deployer.render import read_back, render
from sizewell.specs.errors import BadInputError

MODEL = "llama-3.1-8b"


def service(on: str, engine: str, **site: str) -> dict[str, object]:
    """Return the only service of a compose file."""
    asked = launch(deployment(MODEL, on, engine), **site)
    files = render(asked, "compose")
    assert read_back(files, "compose").gpus_per_node == 1
    (one,) = yaml.safe_load(files["compose.yaml"])["services"].values()
    return one


@pytest.mark.parametrize(
    ("on", "engine", "image"),
    [
        ("1xh100", "vllm@0.33", "vllm/vllm-openai:v0.33.0"),
        ("1xh100", "vllm@0.20.1", "vllm/vllm-openai:v0.20.1"),
        ("1xh100", "vllm@0.8.5.post1", "vllm/vllm-openai:v0.8.5.post1"),
        ("1xmi300x", "vllm@0.33", "vllm/vllm-openai-rocm:v0.33.0"),
        ("cpu-ryzen-7600", "vllm@0.33", "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.33.0"),
        ("cpu-ryzen-7600", "llama.cpp", "ghcr.io/ggml-org/llama.cpp:server-b9976"),
        ("1xrtx-4090", "llama.cpp", "ghcr.io/ggml-org/llama.cpp:server-cuda-b9976"),
    ],
)
def test_the_image_is_built_for_the_accelerator(on: str, engine: str, image: str) -> None:
    assert service(on, engine)["image"] == image


@pytest.mark.parametrize(
    ("on", "engine"), [("gaudi-3", "vllm@0.33"), ("m3-ultra", "llama.cpp"), ("1xmi300x", "sglang@0.5.23")]
)
@pytest.mark.parametrize("target", ["compose", "kubernetes"])
def test_where_nobody_publishes_one_it_has_to_be_named(on: str, engine: str, target: str) -> None:
    with pytest.raises(BadInputError, match="--image"):
        render(launch(deployment(MODEL, on, engine)), target)


def test_a_build_that_is_no_release_has_no_image() -> None:
    built = launch(deployment(MODEL, "1xh100", "vllm@0.33.0.dev1+cu129"))
    with pytest.raises(BadInputError, match=r"dev1.* is published: name one with --image"):
        render(built, "compose")


@pytest.mark.parametrize("version", ["abc", "0.33; rm", "-1", "nightly", "2025-07", "０.１９", "0.33\n", "0"])
def test_a_version_that_is_no_release_is_refused(version: str) -> None:
    with pytest.raises(BadInputError, match="is no release of vllm: say one, as vllm@"):
        deployment(MODEL, "1xh100", f"vllm@{version}")


def test_a_version_may_be_written_as_it_is_tagged() -> None:
    assert deployment(MODEL, "1xh100", "vllm@v0.19.1").engine.version == "0.19.1"


def test_accelerators_of_intel_are_handed_over_by_their_kind() -> None:
    assert service("gaudi-3", "vllm@0.33", image="x")["runtime"] == "habana"
    assert service("arc-pro-b60", "llama.cpp", image="x")["devices"] == ["/dev/dri"]
    for on, engine, name in (
        ("gaudi-3", "vllm@0.33", "habana.ai/gaudi"),
        ("arc-pro-b60", "llama.cpp", "gpu.intel.com/xe"),
    ):
        (text,) = render(launch(deployment(MODEL, on, engine), image="x"), "kubernetes").values()
        assert f"{name}: '1'" in text


@pytest.mark.parametrize(("on", "words"), [("1xh100", " --nv "), ("1xmi300x", " --rocm "), ("cpu-ryzen-7600", " ")])
def test_apptainer_is_asked_for_the_drivers_of_the_accelerator(on: str, words: str) -> None:
    slurm = Slurm(style="apptainer", environment="v.sif")
    (text,) = render(launch(deployment(MODEL, on, "vllm@0.33"), slurm=slurm), "slurm").values()
    assert f"container=(apptainer exec{words}v.sif)" in text
