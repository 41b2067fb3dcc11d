#!/usr/bin/env bash
# Lets a coding agent, or any command that reads a prompt and prints an answer, write programs for a
# search until the run ends, or nobody takes up what is told:
#   AGENT="my-agent --print" examples/agent_loop.sh .gnomon/runs/HOOK [--problem DIR]
set -u
run=${1:?name the folder of the run}
shift
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

while gnomon ask "$run" "$@" > "$work/prompt.txt"; do
  ticket=$(tail -1 "$work/prompt.txt" | sed -n 's/^Ticket \([0-9a-f-]*\);.*/\1/p')
  ${AGENT:?name the command of the agent} < "$work/prompt.txt" > "$work/answer.txt" || exit 1
  gnomon tell "$run" "$ticket" "$work/answer.txt" "$@" --wait --timeout "${TIMEOUT:-600}"
  [ $? -ne 3 ] || exit 3 # the search stands still, or was over before this was taken up
done
