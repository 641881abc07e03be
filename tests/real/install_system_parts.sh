#!/usr/bin/env bash
# Install the programs that no Python index has: SLURM with munge, and Prometheus with its checker.
#     tests/real/install_system_parts.sh
# Only as root and where apt-get is; elsewhere it says what is missing. Tests that need what is not there are skipped,
# and say so; nothing else depends on it, so that it never fails.
set -euo pipefail

declare -A parts=(
    [slurm-wlm]="/usr/sbin/slurmctld /usr/sbin/slurmd /usr/bin/sbatch"
    [munge]="/usr/sbin/munged"
    [prometheus]="/usr/bin/prometheus /usr/bin/promtool"
)
there() {
    local program
    for program in $1; do
        [[ -x $program ]] || command -v "${program##*/}" >/dev/null || return 1
    done
}
missing=()
for part in "${!parts[@]}"; do there "${parts[$part]}" || missing+=("$part"); done
((${#missing[@]})) || exit 0

command="apt-get install --no-install-recommends ${missing[*]}"
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    echo "missing: ${missing[*]}; as root of a Debian or Ubuntu: $command" >&2
    echo "the tests that need them will be skipped" >&2
    exit 0
fi
# No daemon of its own shall start: each test runs what it needs, and ends it.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -qq update && apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null; }; then
    echo "could not install ${missing[*]}: the tests that need them will be skipped ($command)" >&2
fi
