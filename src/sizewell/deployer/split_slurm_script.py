"""The parts of a split deployment's SLURM job that are the same for every one."""

from __future__ import annotations

RUN = r"""
# One program of a node: its leader is told to drain; one that ends by itself has failed, whatever it says.
run() {
  local status=0 stopping=0 child=''
  tell() { [[ -z $child ]] || kill -TERM "$child" 2>/dev/null || true; }
  trap 'stopping=1' TERM
  trap 'stopping=1; tell' URG USR1  # URG asks to drain; USR1: another has failed
  "${container[@]}" "${engine[@]}" &
  child=$!
  ((stopping)) && tell
  while kill -0 "$child" 2>/dev/null; do
    status=0
    wait "$child" || status=$?
  done
  ((stopping)) && exit 0
  echo "sizewell: $1 $2 on $SLURMD_NODENAME ended with $status" >&2
  exit 1
}"""

WAIT = r"""  while read -r role replica node nodes first count; do
    until [[ -e $state/$role-$replica ]]; do
      ((SECONDS < join_s)) || { echo "sizewell: $role $replica never began on node $node of the job" >&2; exit 1; }
      sleep 1
    done
  done <<<"$seats"
"""

START = r"""
# What every node runs: the replicas that stand on it, and on the first node the router.
start_node() {
  set -euo pipefail
  local mine=$SLURM_NODEID rank=$SLURM_NODEID own_port=$port container status=0 stopping=0 pids=()
  local next=$((ports + 10 + SLURM_NODEID % 3 * 30))  # nodes that are one machine begin elsewhere
  local role replica node nodes first count head port handover rendezvous given devices shown part
  : >"$state/joined-$SLURMD_NODENAME"
  trap 'stopping=1' TERM URG  # each program gets the signal too: wait for them to drain"""

PARTS = r"""  given=${!device:-$(seq -s , 0 "$((gpus - 1))")}  # what the scheduler gave this job here
  IFS=, read -r -a devices <<<"$given"
  while read -r role replica node nodes first count; do
    ((mine >= node && mine < node + nodes)) || continue
    rank=$((mine - node)) head=${all[node]}
    if ((rank == 0)); then
      # Ports nobody listens at, for this replica alone; each of its ranks hands caches over at one of the last.
      port=$(free_port "$next")
      rendezvous=$(free_port "$((port + 1))")
      handover=$(free_port "$((rendezvous + 2))")
      next=$((handover + nodes * count))
      echo "$address $port $handover $rendezvous" >"$state/$role-$replica.new"
      mv "$state/$role-$replica.new" "$state/$role-$replica"
    else
      until [[ -e $state/$role-$replica ]]; do
        ((SECONDS < join_s)) || { echo "sizewell: $role $replica never began on its first node" >&2; exit 1; }
        sleep 1
      done
      read -r _ port handover rendezvous <"$state/$role-$replica"
    fi
    shown=${devices[*]:first:count}
    (
      export "$device=${shown// /,}"
      case $role in prefill) prefill "$replica" ;; decode) decode "$replica" ;; esac
    ) </dev/null &
    pids+=($!)
  done <<<"$seats"
  if ((mine == 0)); then
    (router) </dev/null &
    pids+=($!)
  fi
  # A signal interrupts wait: ask again until all are gone.
  wait -n "${pids[@]}" || status=$?
  if ((stopping)); then
    for part in "${pids[@]}"; do
      while kill -0 "$part" 2>/dev/null; do wait "$part" || true; done
    done
    exit 0
  fi
  # Not every scheduler finds what a task leaves behind.
  kill -USR1 "${pids[@]}" 2>/dev/null || true
  exit $((status ? status : 1))"""
