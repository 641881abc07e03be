"""Ranks that do not find each other, and nodes that never came or went."""

from __future__ import annotations

from sizewell.observer.logs.symptoms.symptom import symptom

_NETWORK = "set NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME to the interface that joins the nodes (see `ip -br addr`)"
_RDMA = (
    "memory of the GPU cannot be reached over the network as asked: see nvidia_peermem and /dev/infiniband inside the "
    "container, `ulimit -l`, and the devices it names; UCX_TLS and NVSHMEM_* choose others"
)
_ADDRESS = (
    "what it takes for its own address is none of this machine's: see `ip -br addr`, --host, VLLM_HOST_IP, "
    "--master-addr, --dist-init-addr and what the host's name resolves to"
)
_JOIN = "start the missing node, or see its own log for why it ended; the head's address and port must be open to it"

NETWORK = (
    symptom(
        "interface", "start", _NETWORK,
        r"no socket interface found", r"Unable to find (?:address|interface) for", r"unsupported gloo device",
        r"ProcessGroupGloo.*interface", r"Failed to find a valid network interface",
        r"NCCL [Ee]rror\b.*: ?.*unhandled system error", r"Every node should have a unique IP address",
    ),
    symptom(
        "interface", "end", _ADDRESS,
        r"ZMQError: (?:Cannot assign requested address|No such device)", r"\[Errno 99\]|errno: 99\b|EADDRNOTAVAIL",
        r"Ray does not allocate any GPUs on the driver node",
    ),
    symptom(
        "interface", "end", _RDMA,
        r"\bnvshmem\w* (?:initialization|setup connections|detect topo) failed",
        r"NVSHMEM API called before NVSHMEM initialization", r"nixlBackendError|\bNIXL_ERR_\w+",
    ),
    symptom(
        "node-missing", "always", _JOIN,
        r"sizewell: never joined", r"sizewell: \S+ never reached Ray at",
        r"sizewell: the job step ended before these nodes joined",
    ),
    symptom(
        "node-missing", "start", _JOIN,
        r"waiting for clients\. \d+/\d+ clients joined", r"client socket has timed out", r"DistStoreError",
        r"Cannot provide a placement group", r"exceeds the total number of available GPUs in the placement group",
        r"other ranks that didn't finish loading", r"Did not receive response from front-end process",
        r"srun: error: (?:Task launch for \S+ failed on node|Application launch failed)",
        r"has been marked dead because", r"Raylet is terminated\.", r"Some Ray subprocesses exited unexpectedly:",
    ),
    symptom(
        "node-missing", "end", _JOIN,
        r"No available node types can fulfill", r"Failed to connect to GCS\b",
        r"Could not connect to socket \S*/raylet", r"Failed to register worker\b.*[Rr]aylet",
    ),
    symptom(
        "node-missing", "hint", _JOIN,
        r"client socket has failed to connect", r"Waiting for creating a placement group", r"No route to host",
        r"Failed to get the system config from raylet", r"received errors while waiting for send/recv from rank",
    ),
    symptom(
        "interface", "hint", _NETWORK,
        r"Gloo connectFullMesh failed", r"ncclSystemError", r"ncclRemoteError",
        r"NCCL error: remote process",
        r"ibv_\w+ failed", r"Watchdog caught collective operation timeout",
        r"gloo/transport/.*[Tt]imed out", r"NCCL WARN .*no socket interface found", r"NCCL WARN socketStartConnect",
        r"Connection (?:reset|closed) by peer", r"Using the loopback address as fallback",
    ),
)  # fmt: skip
