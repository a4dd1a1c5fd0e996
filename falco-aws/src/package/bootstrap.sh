#!/bin/bash
# Runs a native function of Falco's on Lambda: takes events from the Runtime API, and hands them to the executable
# `exec`, which speaks OpenWhisk's ActionLoop: a JSON line in on stdin, a JSON line out on descriptor 3. What it
# writes to descriptors 1 and 2 is its log. It is started once, and kept.
set -u

# Microseconds since a time, which a clock that was set must not make negative.
elapsed() { # SINCE: sets `us`
  us=$((${EPOCHREALTIME//[!0-9]/} - $1))
  [ "$us" -ge 0 ] || us=0
}

# A locale writes the fraction in its own way.
started=${EPOCHREALTIME//[!0-9]/}
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
work=$(mktemp -d)
cd "${LAMBDA_TASK_ROOT:-/var/task}" || exit 1

exec 4>&1
coproc FUNCTION { exec ./exec 3>&1 1>&4 4>&-; }
# Bash forgets a coprocess that has ended, and its descriptors: these are our own.
pid=$FUNCTION_PID
exec 5>&"${FUNCTION[1]}" 6<&"${FUNCTION[0]}"
# Writing to an executable that has ended is found out by reading. Set now, so that it does not inherit it.
trap '' PIPE

answer() { # PATH FILE [TYPE]: prints the status
  curl -sS --noproxy '*' -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' -H 'Expect:' \
    ${3:+-H "Lambda-Runtime-Function-Error-Type: $3"} --data-binary "@$2" "$api/invocation/$1"
}

fail() { # ID TYPE MESSAGE, which holds nothing that JSON escapes
  printf '{"errorType":"%s","errorMessage":"%s"}' "$2" "$3" >"$work/error"
  [ "$(answer "$1/error" "$work/error" "$2")" = 202 ] || exit 1
}

# The result between what Falco wants to know of the run: Lambda tells whoever submits an event neither how long it ran
# nor what it costs.
wrap() {
  printf '{"falco:ran":{"ms":%d.%03d' $((us / 1000)) $((us % 1000))
  [ -z "$init" ] || printf ',"init_ms":%d.%03d' $((init / 1000)) $((init % 1000))
  printf '},"result":'
  cat "$work/result"
  printf '}'
}

# Ends as the executable did, so that Lambda tells how.
leave() {
  wait "$pid"
  status=$?
  if [ "$status" -gt 128 ]; then
    trap - PIPE
    kill -s "$((status - 128))" $$
  fi
  exit "$status"
}

elapsed "$started"
init=$us
while :; do
  # There is no time-out: the environment is frozen until there is an event.
  curl -sS --noproxy '*' -D "$work/head" -o "$work/event" "$api/invocation/next" || exit 1
  id=
  deadline=
  while IFS=: read -r name value; do
    value=${value//[$'\r\t ']/}
    case ${name,,} in
      lambda-runtime-aws-request-id) id=$value ;;
      lambda-runtime-deadline-ms) deadline=$value ;;
    esac
  done <"$work/head"
  [ -n "$id" ] || exit 1
  began=${EPOCHREALTIME//[!0-9]/}
  {
    printf '{"value":'
    if [ -s "$work/event" ]; then tr '\r\n' '  ' <"$work/event"; else printf '{}'; fi
    printf ',"activation_id":"%s","action_name":"%s","deadline":"%s"}\n' \
      "$id" "${AWS_LAMBDA_FUNCTION_NAME:-}" "$deadline"
  } >&5 2>/dev/null
  # `head` may read more than the line, and there is no more. Bash's own `read` takes a system call for each byte.
  head -n 1 <&6 | tr -d '\r\n' >"$work/result"
  [ -s "$work/result" ] || leave
  elapsed "$began"
  wrap >"$work/wrapped"
  init=
  case $(answer "$id/response" "$work/wrapped") in
    202) ;;
    413) fail "$id" Function.ResponseSizeTooLarge 'the result is too large' ;;
    *) exit 1 ;;
  esac
done
