"""A deployment as Kubernetes objects, through kubectl."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from sizewell.deployer import yaml_text
from sizewell.deployer.log_file import News
from sizewell.deployer.pod_log import GroupLog
from sizewell.deployer.pods import Pod, PodSet, is_ready, pod_facts, pod_sets, together
from sizewell.deployer.programs import Said, run
from sizewell.deployer.started import Keep, Part, Started, Stopped
from sizewell.specs.errors import BadInputError, UnreachableError
from sizewell.specs.standing import HttpFacts, JobFacts

SILENT = (
    "refused", "Unable to connect", "no such host", "i/o timeout", "no configuration has been provided",
    "couldn't get current server", "Client.Timeout", "deadline exceeded",
)  # fmt: skip
"""What kubectl says where no API server answers."""
FORWARDED = "Forwarding from 127.0.0.1:"
FORWARD_S = 10.0
GONE = JobFacts(stage="ended", reason="deleted")
NO_PODS = JobFacts(stage="waiting", reason="no pods yet")


class Kubernetes:
    """A deployment applied to the cluster of a context, in one namespace."""

    def __init__(self, started: Started, folder: Path) -> None:
        self._started, self._folder = started, folder
        self._kubectl = kubectl(started.namespace, started.context)
        self._logs: dict[int, GroupLog] = {}

    def start(self, keep: Keep) -> None:
        """Apply the objects; raises BadInputError with the server's words where it refuses."""
        path = str(self._folder / self._started.file)
        self._run("get", "--filename", path, "--ignore-not-found", "--output", "name")  # does anybody answer?
        parts = tuple(Part(id=str(number)) for number in range(self._started.replicas))
        keep(parts)
        self._started = replace(self._started, parts=parts)
        self._run("apply", "--filename", path)

    def facts(self) -> tuple[JobFacts, ...]:
        """Return what the cluster says of each replica's pods; of two pools, of the router's after them."""
        groups = self._groups()
        if not any(groups) and not self._exists():
            return tuple(GONE for _ in groups)
        now = datetime.now(UTC)
        return tuple(together([pod_facts(pod, now) for pod in group]) if group else NO_PODS for group in groups)

    def lines(self, number: int) -> list[str]:
        """Return the logs of a replica's pods, that before a pod's last restart first."""
        group = self._group(number)
        return self._log(number, group).news().splitlines() if group else []

    def news(self, number: int) -> News:
        """Return what is new in them; all of it, anew, where a pod is another or was started over."""
        group, log = self._group(number), self._logs.get(number)
        if not group:
            return News()
        anew = log is None or not log.is_of(group)
        if log is None or anew:
            log = self._logs[number] = self._log(number, group)
        return News(anew=anew, text=log.news())

    @contextmanager
    def reach(self, number: int) -> Iterator[str | HttpFacts]:
        """Give a local address that leads to a replica while the block lasts.

        Before pools stands a router, and only it is asked for a token: an engine of one pool gives none by itself.
        """
        pod = self._pod(number)
        if pod is None:
            yield HttpFacts()
            return
        if len(self._pod_sets) > 1 and number < len(self._places) - 1:
            ready = is_ready(pod)
            yield HttpFacts(listens=ready, healthy=ready, behind_router=True)
            return
        words = [*self._kubectl, "port-forward", _name(pod), f":{self._started.port}", "--address", "127.0.0.1"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as forward:
            try:
                line = _first_line(forward)
                port = line.removeprefix(FORWARDED).partition(" ")[0]
                yield f"http://127.0.0.1:{port}" if line.startswith(FORWARDED) else HttpFacts(error=line)
            finally:
                forward.terminate()

    def stop(self) -> Stopped:
        """Delete all but the claim, which holds weights somebody would have to download again."""
        if not self._started.parts:
            return Stopped()
        named = [(each["kind"].lower(), each["metadata"]["name"]) for each in self._documents]
        claims = [f"{kind}/{name}" for kind, name in named if kind == "persistentvolumeclaim"]
        gone = [f"{kind}/{name}" for kind, name in named if kind != "persistentvolumeclaim"]
        at_most_s = self._started.stop_s + 60
        words = ["delete", *gone, "--ignore-not-found", "--wait", f"--timeout={at_most_s:.0f}s"]
        self._run(*words, at_most_s=at_most_s + 30)
        return Stopped(kept=tuple(claims))

    @cached_property
    def _documents(self) -> list[Mapping[str, Any]]:
        return yaml_text.load((self._folder / self._started.file).read_text(encoding="utf-8"))

    @cached_property
    def _pod_sets(self) -> tuple[PodSet, ...]:
        return tuple(pod_sets(self._documents))

    @property
    def _places(self) -> list[tuple[PodSet, int]]:
        """Which pods each replica has, and its number among them."""
        return [(each, number) for each in self._pod_sets for number in range(each.replicas)]

    def _groups(self) -> list[list[Pod]]:
        """Return the pods of each replica of each pool, leaders first; none of one that is not there yet."""
        return [group for each in self._pod_sets for group in self._found(each)]

    def _found(self, pods: PodSet) -> list[list[Pod]]:
        said = self._run("get", "pods", "--selector", pods.selector, "--output", "json")
        return pods.replicas_of(json.loads(said)["items"])

    def _pod(self, number: int) -> Pod | None:
        """Return a replica's first pod."""
        return next(iter(self._group(number)), None)

    def _group(self, number: int) -> list[Pod]:
        """Return a replica's pods, the first one first."""
        if number >= len(self._places):
            return []
        pods, place = self._places[number]
        return self._found(pods)[place]

    def _log(self, number: int, group: Sequence[Pod]) -> GroupLog:
        return GroupLog(self._kubectl, group, self._places[number][0].container)

    def _exists(self) -> bool:
        said = run([*self._kubectl, "get", "--filename", str(self._folder / self._started.file), "--output", "name"])
        return said.code == 0 or "NotFound" not in said.err

    def _run(self, *words: str, at_most_s: float = 60.0) -> str:
        said = run([*self._kubectl, *words], at_most_s=at_most_s)
        if said.code != 0:
            raise refused(said)
        return said.out


def _name(pod: Pod) -> str:
    return f"pod/{pod['metadata']['name']}"


def kubectl(namespace: str, context: str) -> list[str]:
    """Return the words every call begins with."""
    return [
        "kubectl", *(["--context", context] if context else []), *(["--namespace", namespace] if namespace else []),
    ]  # fmt: skip


def rehearse(files: Mapping[str, str], words: Sequence[str]) -> str:
    """Return the verdict on objects that are not to be made; raises UnreachableError where no server answers."""
    said = run([*words, "apply", "--dry-run=client", "--filename", "-"], given="".join(files.values()))
    if said.code != 0:
        raise refused(said)
    return said.complaint


def refused(said: Said) -> BadInputError | UnreachableError:
    """Return the error a failed call is: no server, or one that will not have it."""
    if any(word in said.err for word in SILENT):
        return UnreachableError(f"no Kubernetes server answers: {said.complaint}")
    return BadInputError(f"Kubernetes refuses: {said.complaint}")


def _first_line(forward: subprocess.Popen[str]) -> str:
    """Return what port-forward says first; it says nothing for as long as it does not get through."""
    import selectors

    with selectors.DefaultSelector() as waiting:
        if forward.stdout is None:
            return ""
        waiting.register(forward.stdout, selectors.EVENT_READ)
        until_s = time.monotonic() + FORWARD_S
        ready = waiting.select(until_s - time.monotonic())
        return forward.stdout.readline().strip() if ready else "kubectl port-forward does not get through"
