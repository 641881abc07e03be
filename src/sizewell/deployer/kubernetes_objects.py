"""A deployment as Kubernetes objects, through kubectl."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sizewell.deployer import yaml_text
from sizewell.deployer.pods import GROUP, LEADER, pod_facts, together
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
Pod = Mapping[str, Any]
OF_A_POD, OF_A_GROUP = "app.kubernetes.io/name", "leaderworkerset.sigs.k8s.io/name"
"""Labels that name the deployment: ours, and the one a group's controller gives all its pods."""


class Kubernetes:
    """A deployment applied to the cluster of a context, in one namespace."""

    def __init__(self, started: Started, folder: Path) -> None:
        self._started, self._folder = started, folder
        self._kubectl = kubectl(started.namespace, started.context)

    def start(self, keep: Keep) -> None:
        """Apply the objects; raises BadInputError with the server's words where it refuses."""
        path = str(self._folder / self._started.file)
        self._run("get", "--filename", path, "--ignore-not-found", "--output", "name")  # does anybody answer?
        parts = tuple(Part(id=str(number)) for number in range(self._started.replicas))
        keep(parts)
        self._started = replace(self._started, parts=parts)
        self._run("apply", "--filename", path)

    def facts(self) -> tuple[JobFacts, ...]:
        """Return what the cluster says of each replica's pods."""
        groups = self._groups()
        if not groups and not self._exists():
            return tuple(GONE for _ in range(self._started.replicas))
        now = datetime.now(UTC)
        found = [together([pod_facts(pod, now) for pod in group]) for group in groups[: self._started.replicas]]
        return (*found, *(NO_PODS for _ in range(self._started.replicas - len(found))))

    def lines(self, number: int) -> list[str]:
        """Return the log of a replica's first pod, the one before its last restart first."""
        groups = self._groups()
        if number >= len(groups):
            return []
        pod = groups[number][0]
        words = [*self._kubectl, "logs", f"pod/{pod['metadata']['name']}", "--container", "engine", "--tail", "5000"]
        again = any(each.get("restartCount") for each in pod.get("status", {}).get("containerStatuses", []))
        said = [run([*words, *more]) for more in ((["--previous"], []) if again else ([],))]
        return [line for each in said if each.code == 0 for line in each.out.splitlines()]

    def follow(self, number: int) -> Iterator[str]:
        """Yield it as it grows."""
        name = self._pod(number)
        if name is None:
            raise BadInputError(f"{self._started.name} has no pod {number} yet: `sizewell status` says why")
        words = [*self._kubectl, "logs", name, "--container", "engine", "--follow"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, errors="replace") as reading:
            try:
                for line in reading.stdout or ():
                    yield line.rstrip("\n")
            finally:
                reading.terminate()

    @contextmanager
    def reach(self, number: int) -> Iterator[str | HttpFacts]:
        """Give a local address that leads to a replica while the block lasts."""
        name = self._pod(number)
        if name is None:
            yield HttpFacts()
            return
        words = [*self._kubectl, "port-forward", name, f":{self._started.port}", "--address", "127.0.0.1"]
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
        documents = yaml_text.load((self._folder / self._started.file).read_text(encoding="utf-8"))
        named = [(each["kind"].lower(), each["metadata"]["name"]) for each in documents]
        claims = [f"{kind}/{name}" for kind, name in named if kind == "persistentvolumeclaim"]
        gone = [f"{kind}/{name}" for kind, name in named if kind != "persistentvolumeclaim"]
        at_most_s = self._started.stop_s + 60
        words = ["delete", *gone, "--ignore-not-found", "--wait", f"--timeout={at_most_s:.0f}s"]
        self._run(*words, at_most_s=at_most_s + 30)
        return Stopped(kept=tuple(claims))

    def _groups(self) -> list[list[Pod]]:
        """Return the pods of each replica, leaders first, the replicas in the order they were made."""
        text = (self._folder / self._started.file).read_text(encoding="utf-8")
        label = OF_A_GROUP if "\nkind: LeaderWorkerSet\n" in text else OF_A_POD
        said = self._run("get", "pods", "--selector", f"{label}={self._started.name}", "--output", "json")
        groups: dict[str, list[Pod]] = {}
        for pod in sorted(json.loads(said)["items"], key=_age):
            group = pod["metadata"].get("labels", {}).get(GROUP, pod["metadata"]["name"])
            groups.setdefault(group, []).append(pod)
        return [sorted(group, key=lambda pod: pod["metadata"]["labels"].get(LEADER, "0")) for group in groups.values()]

    def _pod(self, number: int) -> str | None:
        groups = self._groups()
        return f"pod/{groups[number][0]['metadata']['name']}" if number < len(groups) else None

    def _exists(self) -> bool:
        said = run([*self._kubectl, "get", "--filename", str(self._folder / self._started.file), "--output", "name"])
        return said.code == 0 or "NotFound" not in said.err

    def _run(self, *words: str, at_most_s: float = 60.0) -> str:
        said = run([*self._kubectl, *words], at_most_s=at_most_s)
        if said.code != 0:
            raise refused(said)
        return said.out


def _age(pod: Pod) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp") or "", pod["metadata"]["name"]


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
