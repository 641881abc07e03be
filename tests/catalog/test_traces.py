"""Traces: each published form by hand, ours there and back, and every mistake one line with file, line and value."""

from __future__ import annotations

import gzip
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizewell.catalog.trace_own import write_own
from sizewell.catalog.traces import Trace, read_trace
from sizewell.specs.errors import BadInputError, SizewellError
from sizewell.traffic.arrivals import Pause, Users, poisson
from sizewell.traffic.classes import RequestClass
from sizewell.traffic.lengths import Fixed, Lognormal, Uniform
from sizewell.traffic.offer import Traffic, offer
from sizewell.traffic.prefixes import SharedPrefix
from sizewell.traffic.requests import Requests
from sizewell.traffic.score import score
from sizewell.traffic.sessions import Sessions

SHARED = Path(__file__).parents[3] / "shared" / "data" / "traces"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared traces are not here")

OWN = "arrival_s,input_tokens,answer_tokens\n0.5,10,5\n1.5,20,6\n"
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
)
PROCESSED = "arrived_at,num_prefill_tokens,num_decode_tokens\n3.0,374,44\n4.25,396,109\n"
BURSTGPT = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,Conversation log\n"
    "45,GPT-4,0,0,0,API log\n"
    "118,GPT-4,417,276,693,Conversation log\n"
)
MOONCAKE = (
    '{"timestamp": 1000, "input_length": 1100, "output_length": 52, "hash_ids": [46, 47, 2353]}\n'
    '{"timestamp": 3500, "input_length": 1024, "output_length": 7, "hash_ids": [46, 47]}\n'
    '{"timestamp": 3500, "input_length": 30, "output_length": 7, "hash_ids": []}\n'
)
VLLM = (
    '{"request_id": "a", "input_toks": 10, "output_toks": 3, "arrival_time": 1700000000.0, "queued_ts": 50.25,'
    ' "scheduled_ts": 50.5, "first_token_ts": 51.25, "last_token_ts": 53.25}\n'
    '{"request_id": "b", "input_toks": 20, "output_toks": 1, "arrival_time": 1700000001.0, "queued_ts": 51.5,'
    ' "scheduled_ts": 51.5, "first_token_ts": 52.25, "last_token_ts": 52.25}\n'
)


def _read(folder: Path, text: str | bytes, name: str = "t.csv") -> Trace:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_trace(path)


@pytest.mark.parametrize(
    ("text", "kind", "arrivals", "inputs", "outputs"),
    [
        (OWN, "sizewell", [0.5, 1.5], [10, 20], [5, 6]),
        (AZURE, "azure", [0, 4.314579], [374, 396], [44, 109]),
        (PROCESSED, "processed", [0, 1.25], [374, 396], [44, 109]),
        (BURSTGPT, "burstgpt", [0, 113], [472, 417], [18, 276]),
        (MOONCAKE, "mooncake", [0, 2.5, 2.5], [1100, 1024, 30], [52, 7, 7]),
        (VLLM, "vllm", [0, 1], [10, 20], [3, 1]),
    ],
)
def test_each_form_is_recognised_and_read(
    tmp_path: Path, text: str, kind: str, arrivals: list[float], inputs: list[int], outputs: list[int]
) -> None:
    trace = _read(tmp_path, text)
    assert trace.kind == kind
    assert trace.requests.arrival_s.tolist() == pytest.approx(arrivals, abs=1e-9)
    assert trace.requests.input_tokens.tolist() == inputs
    assert trace.requests.output_tokens.tolist() == outputs


def test_windows_files_are_read_too(tmp_path: Path) -> None:
    for text in (OWN, AZURE, MOONCAKE):
        plain = _read(tmp_path, text).requests
        other = _read(tmp_path, b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()).requests
        assert other.arrival_s.tolist() == plain.arrival_s.tolist()


def test_gzipped_files_are_read_whatever_they_are_called(tmp_path: Path) -> None:
    for text in (OWN, MOONCAKE):
        for name in ("t.csv.gz", "t.csv"):
            packed = _read(tmp_path, gzip.compress(text.encode()), name)
            for column in fields(Requests):
                np.testing.assert_array_equal(
                    getattr(packed.requests, column.name), getattr(_read(tmp_path, text).requests, column.name)
                )


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (gzip.compress(OWN.encode() * 500)[:-20], "no whole gzip file"),
        (gzip.compress(OWN.encode())[:20] + b"\0" * 20, "t.csv"),
        (gzip.compress(b"0" * 2**21), "no line ends in its first MiB"),
    ],
    ids=["cut short", "damaged", "endless"],  # the time stands in what is packed
)
def test_damaged_and_endless_gzip_files_are_named(tmp_path: Path, packed: bytes, expected: str) -> None:
    with pytest.raises(BadInputError, match=expected):
        _read(tmp_path, packed)


def test_seven_digits_and_zones_of_azure(tmp_path: Path) -> None:
    text = AZURE.splitlines()[0] + "\n2024-05-10T00:00:00.0000001+00:00,1,1\n2024-05-10T00:00:01+00:00,1,1\n"
    assert _read(tmp_path, text).requests.arrival_s[1] == pytest.approx(0.9999999, abs=1e-12)


def test_mooncake_hashes_name_blocks_of_512_tokens(tmp_path: Path) -> None:
    requests = _read(tmp_path, MOONCAKE).requests
    assert requests.segment_start.tolist() == [0, 3, 5, 5]
    assert requests.segment_id.tolist() == [46, 47, 2353, 46, 47]
    assert requests.segment_tokens.tolist() == [512, 512, 76, 512, 512]


@pytest.mark.parametrize(
    "text",
    [
        BURSTGPT,
        AZURE + "2023-11-16 18:15:51.0,20,0\n",
        PROCESSED + "4.3,17,0\n",
        MOONCAKE.replace('"output_length": 52', '"output_length": 0'),
    ],
    ids=["burstgpt", "azure", "processed", "mooncake"],
)
def test_requests_that_failed_are_left_out_and_said(tmp_path: Path, text: str) -> None:
    trace = _read(tmp_path, text)
    assert trace.notes == ("1 requests without generated tokens (failed, as publishers say) left out",)
    assert len(trace.requests) == 2
    assert len(trace.requests.segment_id) == (2 if "hash_ids" in text else 0)


def test_a_vllm_log_says_what_happened(tmp_path: Path) -> None:
    """The first request was handed over in no time; the second waited a quarter of a second before it was queued."""
    trace = _read(tmp_path, VLLM)
    assert trace.measured is not None
    found = score(trace.measured)
    assert found.ttft.mean_s == pytest.approx((1.0 + 1.0) / 2)
    assert found.tpot.mean_s == pytest.approx(1.0)
    assert found.e2e.mean_s == pytest.approx((3.0 + 1.0) / 2)


def test_unsorted_rows_are_sorted_and_said(tmp_path: Path) -> None:
    trace = _read(tmp_path, OWN + "0.25,30,7\n1.0,40,8\n")
    assert trace.requests.input_tokens.tolist() == [30, 10, 40, 20]
    assert trace.notes == ("sorted by arrival: 1 rows came before the one above them",)
    mooncake = _read(tmp_path, "".join(reversed(MOONCAKE.splitlines(keepends=True)))).requests
    assert mooncake.input_tokens.tolist() == [1100, 30, 1024]
    assert mooncake.segment_id.tolist() == [46, 47, 2353, 46, 47]
    assert mooncake.segment_tokens.tolist() == [512, 512, 76, 512, 512]


def test_an_open_last_line_is_said(tmp_path: Path) -> None:
    (note,) = _read(tmp_path, OWN.rstrip()).notes
    assert "the last line does not end" in note


OWN_MISTAKES = [
    ("2.0,-3,5\n", "line 4: input_tokens is -3"),
    ("2.0,0,5\n", "line 4: input_tokens is 0"),
    ("2.0,5,0\n", "line 4: answer_tokens is 0"),
    ("2.0,nan,5\n", "line 4: input_tokens is nan"),
    ("2.0,1e30,5\n", "line 4: input_tokens is 1e+30"),
    ("2.0,inf,5\n", "line 4: input_tokens is inf"),
    ("2.0,2.5,5\n", "line 4: input_tokens is 2.5"),
    ("2.0,abc,5\n", "line 4: input_tokens is 'abc', no number"),
    ("2.0,,5\n", "line 4: input_tokens is empty"),
    (",5,5\n", "line 4: arrival_s is empty"),
    ("-1,5,5\n", "line 4: arrival_s is -1"),
    ("nan,5,5\n", "line 4: arrival_s is nan"),
    ("1e300,5,5\n", "line 4: arrival_s is 1e+300"),
    ("2.0,5\n", "line 4: has 2 of 3 fields (2.0,5): it may be cut short"),
    ("2.0,5,5,5\n", "line 4: has 4 of 3 fields"),
    ("2.0,5," + "9" * 400 + "\n", "line 4: answer_tokens is inf"),
    ("\x00\n", "t.csv"),
]


@pytest.mark.parametrize(("row", "expected"), OWN_MISTAKES)
def test_mistakes_in_a_row_are_named(tmp_path: Path, row: str, expected: str) -> None:
    with pytest.raises(BadInputError) as error:
        _read(tmp_path, OWN + row)
    assert expected in str(error.value)
    assert "t.csv" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("arrival_s,input_tokens,answer_tokens\n", "no requests"),
        ("input_tokens,answer_tokens\n1,2\n", "no column arrival_s says when requests arrive"),
        ("ContextTokens,GeneratedTokens\n1,2\n", "no column timestamp says when requests arrive"),
        ("a,b,c\n1,2,3\n", "begins with 'a,b,c', which no kind of trace does"),
        ("arrival_s;input_tokens;answer_tokens\n1;2;3\n", "stand between semicolons: save it with commas"),
        ("arrival_s,input_tokens,answer_tokens,thnk_tokens\n1,2,3,4\n", "unknown column 'thnk_tokens'; did you mean"),
        ("arrival_s,arrival_s,input_tokens,answer_tokens\n1,1,2,3\n", "'arrival_s' is given twice"),
        ("arrival_s,input_tokens,answer_tokens,after\n1,2,3,0\n", "request 0 waits for request 0"),
        ("arrival_s,input_tokens,answer_tokens,after\n1,2,3,-1\n5,2,3,0\n0,2,3,-1\n", "request 2 arrives at 0.0 s"),
        ("arrival_s,input_tokens,answer_tokens,think_tokens\n1,2,0,0\n", "line 2: answer_tokens is 0"),
        ("arrival_s,input_tokens,answer_tokens,segments\n1,9,3,7:x\n", "line 2: segments '7:x' must be id:tokens"),
        ("arrival_s,input_tokens,answer_tokens,segments\n1,9,3,7:0\n", "line 2: segments '7:0' must be id:tokens"),
        ("arrival_s,input_tokens,answer_tokens,segments\n1,9,3,7:10\n", "request 0 names 10 tokens of its prompt"),
        (AZURE + "2023-11-16,1,1\n", "line 4: timestamp is '2023-11-16': write it as"),
        (AZURE + ",1,1\n", "line 4: timestamp is ''"),
        (AZURE + "2023-13-16 18:15:46,1,1\n", "line 4: timestamp is '2023-13-16 18:15:46'"),
        (AZURE + "2023-11-16 18:15:46Z,1,1\n", "line 4: timestamp '2023-11-16 18:15:46Z' has another zone"),
        (AZURE + "2099-11-16 18:15:46,1,1\n", "line 4: arrives at"),
        (BURSTGPT + "200,GPT-4,0,5,5,API log\n", "line 5: request tokens is 0"),
        (BURSTGPT.splitlines()[0] + "\n45,GPT-4,0,0,0,API log\n", "all 1 requests failed, nothing to replay"),
        (MOONCAKE + '{"timestamp": 1000, "input_le', "line 4: is not one whole JSON object"),
        (MOONCAKE + "[1, 2]\n", "line 4: [1, 2] is not a JSON object"),
        (MOONCAKE + '{"input_length": 5, "output_length": 5}\n', "line 4: timestamp is missing"),
        (MOONCAKE + '{"timestamp": null, "input_length": 5, "output_length": 5}\n', "timestamp is None, no number"),
        (MOONCAKE + '{"timestamp": NaN, "input_length": 5, "output_length": 5}\n', "line 4: timestamp is nan"),
        (MOONCAKE + '{"timestamp": 1, "input_length": -5, "output_length": 5}\n', "line 4: input_length is -5"),
        (MOONCAKE + '{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": [1, 2]}\n', "has 2 blocks"),
        (MOONCAKE + '{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": "x"}\n', "is no list"),
        (MOONCAKE + '{"timestamp": 1, "input_length": 1' + "0" * 400 + ', "output_length": 5}\n', "length is inf"),
        ('{"input_length": 5, "output_length": 5}\n', "no column timestamp says when requests arrive"),
        ('{"a": 5\n', "line 1: is not one whole JSON object"),
        ("arrival_s\tinput_tokens\tanswer_tokens\n0\t1\t2\n", "stand between tabs"),
        (OWN.encode("utf-16"), "is not UTF-8"),
        (OWN.encode() + b"\xff,1,1\n", "is not UTF-8"),
    ],
)  # fmt: skip
def test_mistakes_in_a_file_are_named(tmp_path: Path, text: str | bytes, expected: str) -> None:
    with pytest.raises(BadInputError) as error:
        _read(tmp_path, text)
    assert expected in str(error.value)
    assert "t.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(BadInputError, match="cannot be read"):
            read_trace(path)
    with pytest.raises(BadInputError, match="cannot be written"):
        write_own(tmp_path / "absent" / "t.csv", Requests.of([0.0], 1, 1))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), head=st.sampled_from([b"", OWN.encode(), AZURE.encode(), MOONCAKE.encode()]))
def test_no_bytes_end_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "t.csv"
    path.write_bytes(head + data)
    try:
        read_trace(path)
    except SizewellError as error:
        assert "t.csv" in str(error)


CLASSES = (
    RequestClass(
        text=Lognormal(mean_tokens=50, sigma=1), think=Uniform(least_tokens=0, most_tokens=9), answer=Fixed(7)
    ),
)


def test_an_empty_cell_of_an_optional_column_says_as_much_as_no_column(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(
        "arrival_s,input_tokens,answer_tokens,think_tokens,priority,session,after,think_id,output_id,segments\n"
        "0,10,5,,,,,,,\n"
        "1,20,5,7.0,2,4,0,,3,1:8\n"
        "2,30,5,, ,,,,,\n"
    )
    requests = read_trace(path).requests
    assert requests.think_tokens.tolist() == [0, 7, 0]
    assert requests.priority.tolist() == [0, 2, 0]
    assert requests.session.tolist() == [5, 4, 6]
    assert requests.after.tolist() == [-1, 0, -1]
    assert (requests.think_id.tolist(), requests.output_id.tolist()) == ([-1, -1, -1], [-1, 3, -1])
    path.write_text("arrival_s,input_tokens,answer_tokens\n0,10,\n")
    with pytest.raises(BadInputError, match="line 2: answer_tokens is empty"):
        read_trace(path)


@pytest.mark.parametrize(
    "traffic",
    [
        Traffic(arrivals=poisson(3.0), classes=(RequestClass(text=Fixed(5), answer=Fixed(7), priority=-2),)),
        Traffic(arrivals=poisson(3.0), classes=CLASSES, prefixes=(SharedPrefix(tokens=Fixed(9), fraction=0.5),)),
        Traffic(
            arrivals=Users(users=3, pause=Pause(mean_s=2, spread="exponential")),
            classes=CLASSES,
            sessions=Sessions(turns=Fixed(2.5), keep_thinking=True),
        ),
    ],
)
def test_our_own_form_goes_there_and_back(tmp_path: Path, traffic: Traffic) -> None:
    requests = offer(traffic, 200)
    path = tmp_path / "t.csv"
    write_own(path, requests)
    trace = read_trace(path)
    assert trace.notes == ()
    # How many people there were no column says: `after` holds who waits for whom.
    for name in {field.name for field in fields(Requests)} - {"users"}:
        assert np.array_equal(np.asarray(getattr(trace.requests, name)), np.asarray(getattr(requests, name))), name
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_a_write_broken_off_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_text(OWN)

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sizewell.catalog.whole_files.os.replace", broken)
    with pytest.raises(KeyboardInterrupt):
        write_own(path, Requests.of([0.0], 1, 1))
    assert path.read_text() == OWN
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


@needs_shared
def test_the_shared_traces_are_read_as_their_publishers_describe_them() -> None:
    conversation = read_trace(SHARED / "azure-2023-conversation.csv").requests
    code = read_trace(SHARED / "azure-2023-code.csv").requests
    assert (len(conversation), len(code)) == (19_366, 8_819)
    assert conversation.input_tokens.mean() == pytest.approx(1155, abs=1)
    assert code.output_tokens.mean() == pytest.approx(28, abs=1)
    vllm = read_trace(SHARED / "vllm-0.19-llama-3.1-8b-rtx-pro-6000.jsonl")
    assert vllm.measured is not None
    assert len(vllm.measured) == 300
    assert score(vllm.measured).tpot.mean_s == pytest.approx(0.0325, abs=0.0005)
