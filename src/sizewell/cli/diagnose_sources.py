"""Where a diagnosis comes from: a server that is watched, a file of readings, a kept run; and what is known beside."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sizewell.cli.output import talk
from sizewell.specs.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sizewell.advisor.diagnosis import Known
    from sizewell.advisor.observation import ClientFacts, Observation
    from sizewell.observer.exposition import Page
    from sizewell.specs.deployment import Deployment

WINDOW_S, EVERY_S = 30.0, 5.0
MOST_BYTES = 256 * 2**20
RELEASE_PATHS = ("/version", "/props", "/server_info", "/get_server_info")
"""Where vLLM, llama.cpp and SGLang (newer and older) name their release."""
MODEL_PATHS = ("/model_info", "/get_model_info")


def looked_at(given: Mapping[str, Any]) -> tuple[Observation, Known]:
    """Return what was seen of the target, and what is known of it.

    Raises BadInputError for a target that is neither address, file nor run, UnreachableError for a silent server.
    """
    target, client = given["target"], _client(given)
    if target.isdecimal():
        return _run(int(target), given, client)
    path = Path(target)
    if "://" in target or not path.exists():
        return _server(target, given, client)
    text = _read(path)
    if text.lstrip().startswith("{"):
        return _document(text, target, given, client)
    return _readings(text, target, given, client)


def _server(target: str, given: Mapping[str, Any], client: ClientFacts | None) -> tuple[Observation, Known]:
    from sizewell.observer.exposition import stamped
    from sizewell.observer.scrape import said, scrape
    from sizewell.specs.address import base_url, secret_from

    if "://" not in target and ":" not in target:
        raise BadInputError(f"{target}: no file of that name; a server is http://HOST:PORT, a kept run its number")
    url = base_url(target.rstrip("/").removesuffix("/metrics"))
    headers = secret_from(os.environ, given["api_key_env"]).headers
    window_s, every_s = given["window"] or WINDOW_S, given["every"] or EVERY_S
    if given["plan_file"] is not None:
        _stated(given)  # what is wrong with it is said before anybody watches
    talk(f"watching {url} for {window_s:g} s")
    pages: list[str] = []
    try:
        for time_s, page in scrape(url, window_s, every_s, headers):
            pages.append(stamped(page, time_s))
    finally:  # what was read of a server that dies says most of why
        text = "".join(pages)
        if given["save"] is not None and pages:
            _save(Path(given["save"]), text)
    told: dict[str, Any] = {}
    if given["machine"] is not None and given["model"] is None:
        told["model"] = _model_of(url, lambda path: said(url, path, headers))
    if given["machine"] is not None and given["engine"] is None:
        asked = (said(url, path, headers) for path in RELEASE_PATHS)
        told["version"] = next((release for each in asked if (release := _release_of(each))), "")
    return _readings(text, url, {**given, **told}, client)


def _release_of(told: Any) -> str:
    """Return the release a server names: of llama.cpp its build, b9976 of b9976-0123abcd."""
    if not isinstance(told, dict):
        return ""
    return str(told.get("version") or str(told.get("build_info", "")).partition("-")[0])


def _save(path: Path, text: str) -> None:
    from sizewell.catalog.whole_files import whole_file

    with whole_file(path) as file:
        file.write(text)


def _model_of(url: str, said: Callable[[str], Any]) -> str:
    """Return the model a server holds: SGLang lists it under the name it serves it by only."""
    for path in MODEL_PATHS:
        if isinstance(held := said(path), dict) and held.get("model_path"):
            return str(held["model_path"])
    listed = said("/v1/models")
    try:
        return str(listed["data"][0].get("root") or listed["data"][0]["id"])
    except (TypeError, KeyError, IndexError, AttributeError):
        raise BadInputError(f"{url} does not list its model: name it, MODEL --on 8xh200") from None


def _readings(text: str, what: str, given: Mapping[str, Any], client: ClientFacts | None) -> tuple[Observation, Known]:
    from sizewell.advisor.diagnosis import as_watched
    from sizewell.catalog.engine_metrics import ENGINES, read_engine_metrics
    from sizewell.observer.exposition import read_pages
    from sizewell.observer.metrics import engine_of, observe

    pages = _of_one_model(read_pages(text, what), what, given)
    tables = [read_engine_metrics(engine) for engine in ENGINES]
    at = engine_of(pages, tables)
    if at is None:
        known = " or ".join(ENGINES)
        raise BadInputError(f"{what}: these are not the metrics of {known}: nothing in them is known")
    seen = observe(pages, tables[at], client)
    named = dict(given)
    if named["machine"] is not None and named["engine"] is None:
        named["engine"] = _engine(ENGINES[at], named.get("version", ""))
    stated = _stated(named)
    return seen, _known(stated and as_watched(stated, seen.engines), given)


def _of_one_model(pages: tuple[Page, ...], what: str, given: Mapping[str, Any]) -> tuple[Page, ...]:
    from sizewell.observer.metrics import models_on, of_model

    told, asked = models_on(pages), given["served_model_name"]
    if asked is None and len(told) < 2:
        return pages
    asked = asked or given["model"]
    if asked not in told:
        listed = ", ".join(told) or "no model by name"
        raise BadInputError(f"{what}: tells of {listed}: say which one with --served-model-name")
    return of_model(pages, asked)


def _engine(name: str, version: str) -> str:
    """Return the engine that answered: its release where its version names one we know of, else the newest."""
    from sizewell.catalog.engines import read_engine

    release = version.partition("+")[0]
    try:
        return f"{name}@{read_engine(name, release or None).version}"
    except BadInputError:
        return name


def _run(number: int, given: Mapping[str, Any], client: ClientFacts | None) -> tuple[Observation, Known]:
    from sizewell.advisor.played import observed
    from sizewell.cli.plan_file import named_in, rebuilt
    from sizewell.records.store import Records

    entry, run = Records.usual().run(number)
    deployment = _stated(given)
    if deployment is None and len(entry.deployment.get("pools", ())) == 1:
        deployment = rebuilt(entry.deployment, named_in(entry.deployment), given["assume"])
    return observed(run, client), _known(deployment, given)


def _document(text: str, what: str, given: Mapping[str, Any], client: ClientFacts | None) -> tuple[Observation, Known]:
    """Return what the JSON of `simulate` or `bench` says: means, and the deployment where it names one."""
    from sizewell.advisor.played import Summary, summarised
    from sizewell.cli.plan_file import named_in, rebuilt

    try:
        whole = json.loads(text)
        point = whole["points"][-1] if "points" in whole else {**whole, **whole["traffic"]}
        if len(whole.get("points", ())) > 1:
            talk(f"{what}: of its {len(whole['points'])} loads the last is looked at")
        score = point["score"]
        if not score["ok"]:
            raise BadInputError(f"{what}: no request of its last load was served: there is nothing to diagnose")
        rates = score["steady"] or score["wall"]
        output = rates["output_tokens_per_s"] / rates["requests_per_s"]
        summary = Summary(
            **{name: rates[name] for name in ("requests_per_s", "output_tokens_per_s")},
            **{f"{name}_s": score[name]["mean_s"] for name in ("ttft", "itl", "e2e")},
            **{name: score[name] for name in ("preemptions", "cached_fraction")},
            requests=score["ok"], prompt_tokens=point["mean_input_tokens"], output_tokens=output,
        )  # fmt: skip
        deployment = _stated(given)
        if deployment is None and point["deployment"] is not None and len(point["deployment"]["pools"]) == 1:
            deployment = rebuilt(point["deployment"], named_in(point["deployment"]), given["assume"])
        return summarised(summary, client), _known(deployment, given)
    except (ValueError, KeyError, IndexError, TypeError, ZeroDivisionError, RecursionError) as error:
        raise BadInputError(f"{what}: is no run: write one with sizewell simulate or bench, --json") from error


def _stated(given: Mapping[str, Any]) -> Deployment | None:
    from sizewell.catalog.models import read_model
    from sizewell.cli import questions
    from sizewell.cli.options import setup_of
    from sizewell.cli.plan_file import named_in, read_planned, rebuilt
    from sizewell.traffic.workload import Workload

    if given["plan_file"] is not None:
        found = read_planned(given["plan_file"]).deployment
        if len(found["pools"]) != 1:
            path, pools = given["plan_file"], len(found["pools"])
            raise BadInputError(f"--plan {path}: {pools} pools: `sizewell diagnose` takes a plan of one pool only")
        return rebuilt(found, named_in(found), given["assume"])
    if given["machine"] is None:
        return None
    if given["model"] is None:
        raise BadInputError("the metrics do not say which model it is: name it, MODEL --on 8xh200")
    place = questions.machine(given["machine"], given["nodes"], given["node"], given["replicas"] or 1)
    spec = read_model(given["model"], assume=given["assume"])
    load = Workload(input_tokens=1.0, answer_tokens=1.0, users=1.0)
    return questions.stated_on(spec, place, load, setup_of(given), least_context_tokens=spec.max_context_tokens)


def _known(deployment: Deployment | None, given: Mapping[str, Any]) -> Known:
    from sizewell.advisor.diagnosis import Known
    from sizewell.catalog.engines import read_engine
    from sizewell.costs.ledger import ledger

    asked = tuple((pool.replicas, pool.cut) for pool in given["tried"])
    if deployment is None:
        return Known(expected_cached_fraction=given["shared"])
    return Known(
        deployment=deployment,
        memory=ledger(deployment, len(deployment.pools) - 1),
        expected_cached_fraction=given["shared"],
        newest=read_engine(deployment.engine.name),
        asked_cuts=asked,
    )


def _client(given: Mapping[str, Any]) -> ClientFacts | None:
    """Return what the sender says of itself, from a bench's JSON and from flags."""
    from sizewell.advisor.observation import ClientFacts

    if given["client"] is None:
        return ClientFacts(asked_in_flight=given["in_flight"]) if given["in_flight"] else None
    try:
        point = json.loads(_read(Path(given["client"])))["points"][-1]
        gates = {gate["name"]: gate["value"] for gate in point["gates"]}
        share = gates.get("achieved rate")
        return ClientFacts(
            asked_in_flight=given["in_flight"] or point["concurrency"],
            asked_per_s=None if share is None else 1.0,
            achieved_per_s=share,
            delay_s=gates.get("schedule delay p50"),
            cpu_fraction=point["client_cpu_fraction"],
        )
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise BadInputError(f"{given['client']}: is not what `sizewell bench --json` writes") from error


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInputError(f"{path}: larger than {MOST_BYTES // 2**20} MiB: cut the readings to a few minutes")
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from None
