"""What is printed when an engine or a part of it is gone, without a word on why."""

from __future__ import annotations

import re

from sizewell.specs.standing import Cause

DEATHS = re.compile(
    r"EngineCore failed to start|EngineCore encountered a fatal error|EngineDeadError|Engine core initialization failed"
    r"|[Ee]ngine core proc \S+ died unexpectedly|Worker ?[Pp]roc.* died unexpectedly"
    r"|WorkerProc (?:failed to start|initialization failed)|Engine process failed to start"
    r"|DP Coordinator process failed|RPCServer process died"
    r"|Error executing method .* might cause deadlock|Background loop (?:has errored|is stopped)|Engine loop has died"
    r"|Engine background task failed|[Ee]ngine process \(pid \d+\) died"
    r"|(?:EngineCore|Scheduler|TpModelWorker\w*|DataParallelController|DetokenizerManager|TokenizerManager) hit an ex"
    r"|Application startup failed\. Exiting"
    r"|Received sigquit from a child proc|Rank \d+ scheduler (?:is dead|died)|Watchdog timeout|watchdog timeout"
    r"|Initialization failed\. (?:Please see|warmup)|exiting due to model loading error|terminate called after throwing"
    r"|Exception in worker \w+ while processing method|\b(?:ActorDied|RayActor)Error\b"
    r"|Worker exit type: SYSTEM_ERROR"
    r"|^(?:\S+:\d+: )?GGML_ASSERT\(|^\S*ggml[\w./-]*:\d+: |^(?:\S+: )?\S+:\d+: .*\bAssertion [`'].*' failed"
    r"|^LLVM ERROR: |\*\*\* SIG(?:ABRT|BUS|FPE|SEGV) received"
    r"|sizewell: the engine on node .* ended with|sizewell: the engine ended"
)
"""What is printed when an engine or a part of it is gone: consequences, never the reason."""
CRASHES = re.compile(r"Segmentation fault|Segfault encountered|Fatal Python error|core dumped")
"""The same from a shell or a signal's handler, which state no level; a request may quote them at one."""
CANCELLED = re.compile(
    r"slurmstepd\S*: error: \*\*\* (?:JOB|STEP) \S+ ON \S+ CANCELLED AT \S+(?: DUE TO JOB REQUEUE)?(?: \*\*\*|$)"
)
EXCEPTION = re.compile(
    r"(?:\w+\.)*\w+(?:Error|Exception|Exit)(?::|$)|(?:[a-z_]\w*\.)+[A-Z]\w+: |(?:CUDA|ROCm|HIP|MUSA|SYCL) error: "
    r"|slurmstepd\S*: error: "
)
"""The last line of a traceback, and what drivers and schedulers are quoted with."""
OPENS = re.compile(r":$|validation errors? for \w+$")
"""Ends a line that only announces its reason."""
OF_A_RUNNING_ENGINE: frozenset[Cause] = frozenset(
    {"out-of-memory", "no-kv-memory", "host-memory", "driver", "disk-full", "interface", "node-missing", "walltime"}
)
"""What an engine that served can die of; a request may mention the others and hurt nobody else."""
UNKNOWN_ADVICE = "the reason is new to sizewell: read the log above these lines, the first exception is the cause"

DEATH_ADVICE = "the engine ended by itself: start it again; the kernel log (dmesg) tells of kills and GPU faults"
