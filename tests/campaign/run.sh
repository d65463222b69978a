#!/usr/bin/env bash
# run.sh MINUTES [--parts a,b,...] [--out FOLDER] [--seed N], run.sh --part PART --case N [--seed N]: a campaign of
# faults against the program (docs/reliability.md). --help has all options.
exec python3 -B "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/campaign.py" "$@"
