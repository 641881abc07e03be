"""The user's own files win over the shipped ones, and a broken one is named with its field in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sizewell.catalog.hardware import cluster, list_gpus, nodes_for, read_gpu, read_node
from sizewell.catalog.models import read_model
from sizewell.catalog.overlay import SHIPPED, VARIABLE, data_files, is_shipped, overlay_folder
from sizewell.catalog.prices import read_prices
from sizewell.catalog.quality import read_quality
from sizewell.catalog.sheets import read_sheet, read_sheets
from sizewell.specs.errors import BadInputError, SizewellError

Write = Callable[[str, str], Path]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that writes a file into a catalogue of the test's own."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def _shipped(name: str) -> str:
    return (SHIPPED / name).read_text()


def test_the_folder_is_the_variable_or_the_users_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert overlay_folder({VARIABLE: str(tmp_path)}) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert overlay_folder({}) == tmp_path / ".config" / "sizewell" / "catalog"
    assert overlay_folder({"XDG_CONFIG_HOME": "/c"}) == Path("/c/sizewell/catalog")
    assert overlay_folder({"XDG_CONFIG_HOME": "/c", "SIZEWELL_HOME": "/h"}) == Path("/h/catalog")
    assert overlay_folder({"SIZEWELL_HOME": "/h", VARIABLE: str(tmp_path)}) == tmp_path
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(BadInputError, match="is not a folder"):
        overlay_folder({VARIABLE: str(file)})


def test_a_missing_folder_leaves_the_shipped_files(tmp_path: Path) -> None:
    files = data_files("gpus", tmp_path / "none")
    assert files
    assert all(is_shipped(path) for path in files.values())


def test_a_users_accelerator_replaces_the_shipped_one(own: Write) -> None:
    own("gpus/l4-24gb.toml", _shipped("gpus/l4-24gb.toml").replace("value = 3.0e11", "value = 2.5e11"))
    assert read_gpu("l4").bytes_per_s == 2.5e11
    assert [gpu.bytes_per_s for gpu in list_gpus() if gpu.key == "l4-24gb"] == [2.5e11]


def test_a_users_alias_wins(own: Write) -> None:
    text = _shipped("gpus/l4-24gb.toml").replace('key = "l4-24gb"', 'key = "lab-card-24gb"')
    own("gpus/lab-card-24gb.toml", text.replace('aliases = ["l4"]', 'aliases = ["l4", "our card"]'))
    assert read_gpu("l4").key == "lab-card-24gb"
    assert read_gpu("Our-Card").key == "lab-card-24gb"
    assert read_gpu("l4-24gb").key == "l4-24gb"
    assert nodes_for(read_gpu("our card"))[0].key == "pcie-server"


def test_a_users_node_and_network(own: Write) -> None:
    own(
        "networks/our-net.toml",
        _shipped("networks/infiniband-ndr-400.toml").replace("infiniband-ndr-400", "our-net", 1),
    )
    text = _shipped("nodes/hgx-h100-8.toml").replace('key = "hgx-h100-8"', 'key = "our-node"')
    own(
        "nodes/our-node.toml",
        text.replace('"infiniband-ndr-400"', '"our-net"').replace("max_nodes = 64", "max_nodes = 96"),
    )
    assert read_node("our-node").scale_out.key == "our-net"
    assert cluster("h100", gpus_per_node=8, nodes=96, node="our-node").gpus == 768


def test_a_users_price_wins_over_all_others(own: Write) -> None:
    shipped = read_prices()
    own(
        "prices/contract.toml",
        'key = "contract"\n'
        '[power]\nusd_per_kwh_us = { value = 0.31, from = "bill" }\n'
        '[[offer]]\nprovider = "our-host"\ngpu = "h100-sxm-80gb"\nusd_per_gpu_hour = 1.85\nkind = "on-demand"\n'
        'from = "bill"\ndate = "2026-11"\nconfidence = "list"\n'
        '[[purchase]]\ngpu = "h100-sxm-80gb"\nusd = 22000\nfrom = "bill"\ndate = "2026-11"\nconfidence = "list"\n'
        '[sources]\nbill = { title = "Our contract of November", date = "2026-11" }\n',
    )
    book = read_prices()
    rent = book.rent("h100-sxm-80gb")
    assert rent is not None
    assert (rent.usd_per_gpu_hour, rent.provider) == (1.85, "our-host")
    assert book.rent("h200-sxm-141gb") == shipped.rent("h200-sxm-141gb")
    assert book.rent("h100-sxm-80gb", "spot") == shipped.rent("h100-sxm-80gb", "spot")
    assert (book.power_usd_per_kwh, book.power.usd_per_kwh["eu"]) == (0.31, shipped.power.usd_per_kwh["eu"])
    node = nodes_for(read_gpu("h100"))[0]
    capital = book.capital(node, "h100-sxm-80gb", 8)
    assert capital is not None
    assert capital.usd == 8 * 22000 + 50_000, "the user's card price beats a shipped price of the whole node"


def test_a_users_quality_file_replaces_the_format(own: Write) -> None:
    own(
        "quality/mxfp4.toml",
        'key = "mxfp4"\nformat = "mxfp4"\n[[result]]\nmodel = "Qwen3-8B"\nbenchmark = "our set"\ntasks = "knowledge"\n'
        'scheme = "weights"\nrecovery_fraction = 0.97\nfrom = "us"\n'
        '[sources]\nus = { title = "Our own evaluation", date = "2026-11" }\n',
    )
    recovery = read_quality().recovery("mxfp4", "Qwen/Qwen3-8B")
    assert recovery is not None
    assert (recovery.fraction, recovery.scope) == (0.97, "model")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "bytes_per_s = { value = 3.0e11",
            "bytes_per_s = { value = '3e11'",
            r"memory\.bytes_per_s must be \{ value = <number>",
        ),
        (
            "bytes_per_s = { value = 3.0e11",
            "bytes_per_s = { value = -1",
            r"memory\.bytes_per_s must be a finite number",
        ),
        ("bytes_per_s = { value = 3.0e11", "width = { value = 3.0e11", r"memory\.width is no field of gpus"),
        ("\n[sources]", "\n[origins]", r"origins\.datasheet\.title is no field of gpus"),
        (
            '11, from = "datasheet"',
            '11, from = "x"',
            r"memory\.bytes_per_s needs a source with title and date under \[",
        ),
        ('kind = "gpu"', 'kind = "card"', r"kind must be one of gpu, unified, cpu, found 'card'"),
        ('key = "l4-24gb"', 'key = "l4"', r"key must be the file's own name 'l4-24gb', found 'l4'"),
        ('aliases = ["l4"]', 'aliases = "l4"', r"aliases must be a list of texts"),
        ("bf16 =", "bf17 =", r"flops_per_s\.bf17 is none of"),
        ("[memory]", "[memory", r"is not valid TOML"),
        ("l2_bytes =", "l3_bytes =", r"memory\.l3_bytes is no field of gpus; did you mean memory\.l2_bytes"),
        ('vendor = "nvidia"', 'vendor = "nvidea"', r"vendor must be one of nvidia, amd"),
        ('value = "2023-03-21"', 'value = "spring"', r"launch\.date must be a date such as .* found 'spring'"),
        ('date = "2017-10"', 'date = "2017-13"', r"sources\.pcie\.date must be a date such as"),
        ("value = 25769803776", "value = 24", r"memory\.bytes lies from .* found 24"),
        ("value = 3.0e11", "value = 3.0e15", r"memory\.bytes_per_s lies from .* found 3e\+15"),
        ("bf16 = { value = 1.21e14", "bf16 = { value = 121", r"flops_per_s\.bf16 lies from"),
        ("tdp_w = { value = 72", "tdp_w = { value = 72000", r"power\.tdp_w lies from"),
    ],
)
def test_a_broken_accelerator_is_one_clear_line(own: Write, old: str, new: str, says: str) -> None:
    text = _shipped("gpus/l4-24gb.toml")
    assert old in text
    own("gpus/l4-24gb.toml", text.replace(old, new, 1))
    with pytest.raises(BadInputError, match=rf"gpus/l4-24gb\.toml: {says}") as caught:
        read_gpu("l4-24gb")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('network = "nvlink4"', 'network = "nvlink9"', r"scale_up\.network names an unknown network 'nvlink9'"),
        ('host = "hgx-generic"', 'host = "hgx"', r"host names an unknown host 'hgx'; did you mean hgx-generic"),
        ('gpu = "h100-sxm-80gb"', 'gpu = "h100"', r"gpu names 'h100', which is not in gpus/"),
        ("gpu_counts = [8]", "gpu_counts = [0]", r"gpu_counts must be a list of whole numbers"),
        ("max_nodes = 64", "max_nodes = 0", r"max_nodes lies from 1 to .* found 0"),
        ("gpu_counts = [8]", "gpu_counts = [8000]", r"gpu_counts lies from 1 to 32"),
        ("ports = 8", "ports = 0", r"scale_out\.ports lies from"),
        ("max_nodes = 64", "max_nods = 64\nmax_nodes = 64", r"max_nods is no field of nodes; did you mean max_nodes"),
        ('topology = "nvswitch"', 'topology = "star"', r"scale_up\.topology must be one of"),
    ],
)
def test_a_broken_node_is_one_clear_line(own: Write, old: str, new: str, says: str) -> None:
    text = _shipped("nodes/hgx-h100-8.toml")
    assert old in text
    own("nodes/hgx-h100-8.toml", text.replace(old, new, 1))
    with pytest.raises(SizewellError, match=rf"nodes/hgx-h100-8\.toml: {says}"):
        read_node("hgx-h100-8")


def test_a_broken_price_is_one_clear_line(own: Write) -> None:
    head = (
        'key = "x"\n[[offer]]\nprovider = "p"\nkind = "on-demand"\nfrom = "s"\ndate = "2026-11"\nconfidence = "list"\n'
    )
    tail = '[sources]\ns = { title = "Somebody", date = "2026-11" }\n'
    own("prices/x.toml", f'{head}gpu = "h100"\nusd_per_gpu_hour = 2\n{tail}')
    with pytest.raises(BadInputError, match=r"prices/x\.toml: offer 1: gpu names an unknown GPU 'h100'; did you mean"):
        read_prices()
    own("prices/x.toml", f'{head}gpu = "l4-24gb"\nusd_per_gpu_hour = "2"\n{tail}')
    with pytest.raises(BadInputError, match=r"offer 1: usd_per_gpu_hour must be a number of zero or more, found '2'"):
        read_prices()
    own("prices/x.toml", f'{head}gpu = "l4-24gb"\nusd_per_gpu_hour = 2\ncurency = "eur"\nregoin = "us"\n{tail}')
    with pytest.raises(BadInputError, match=r"offer 1: curency is no field of a row of offer"):
        read_prices()
    own("prices/x.toml", f'{head}gpu = "l4-24gb"\nusd_per_gpu_hour = 2\nregoin = "us"\n{tail}')
    with pytest.raises(BadInputError, match=r"offer 1: regoin is no field of a row of offer; did you mean region"):
        read_prices()


def test_a_compute_capability_that_is_no_number_is_refused_with_its_file(own: Write) -> None:
    path = own("gpus/l4-24gb.toml", _shipped("gpus/l4-24gb.toml").replace('"8.9"', '"abc"'))
    with pytest.raises(BadInputError, match=f"{path}: compute_capability must be a number"):
        read_gpu("l4-24gb")


def test_a_price_of_nothing_is_refused_with_its_row(own: Write) -> None:
    row = 'provider = "a"\ngpu = "h100-sxm-80gb"\nusd_per_gpu_hour = 0\nkind = "on-demand"\nfrom = "us"\n'
    rest = 'date = "2026-11"\nconfidence = "list"\n[sources]\nus = { title = "us", date = "2026-11" }\n'
    own("prices/free.toml", f'key = "free"\n[[offer]]\n{row}{rest}')
    with pytest.raises(BadInputError, match="offer 1: usd_per_gpu_hour must be above zero"):
        read_prices()


def test_a_node_of_an_unknown_card_is_noticed_whatever_is_asked(own: Write) -> None:
    text = _shipped("nodes/hgx-h100-8.toml").replace('key = "hgx-h100-8"', 'key = "ours"')
    own("nodes/ours.toml", text.replace("h100-sxm-80gb", "h100-sxm-81gb"))
    with pytest.raises(BadInputError, match=r"nodes/ours\.toml: gpu names 'h100-sxm-81gb', which is not in gpus/"):
        nodes_for(read_gpu("l4"))


def test_a_price_without_a_date_or_beyond_reason_is_refused_with_its_row(own: Write) -> None:
    head = 'key = "x"\n[[offer]]\nprovider = "p"\nkind = "on-demand"\nfrom = "s"\nconfidence = "list"\n'
    tail = 'gpu = "l4-24gb"\n[sources]\ns = { title = "Somebody", date = "2026-11" }\n'
    for line, says in (
        ('usd_per_gpu_hour = 2\ndate = "soon"', "offer 1: date must be a date such as"),
        ('usd_per_gpu_hour = 1e9\ndate = "2026"', "offer 1: usd_per_gpu_hour lies from 0 to 1000"),
    ):
        own("prices/x.toml", f"{head}{line}\n{tail}")
        with pytest.raises(BadInputError, match=rf"prices/x\.toml: {says}"):
            read_prices()


def test_a_users_own_model_is_listed_and_found_by_its_id(own: Write) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 100,
    }  # fmt: skip
    path = own("models/me--mine.json", json.dumps(config))
    sheet = read_sheet("models", "Me/Mine")
    assert (sheet.key, sheet.value("file")) == ("me/mine", str(path))
    assert read_model("me/mine").parameters == read_model("me--mine").parameters


def test_the_list_refuses_a_file_whose_key_is_not_its_name(own: Write) -> None:
    own("gpus/mine.toml", _shipped("gpus/l4-24gb.toml"))
    with pytest.raises(BadInputError, match=r"gpus/mine\.toml: key must be the file's own name 'mine'"):
        read_sheets("gpus")
