#!/bin/bash
# Runs a native function of Falco's on Lambda: takes events from the Runtime API, and hands them to the executable
# `exec`, which speaks OpenWhisk's ActionLoop: a JSON line in on stdin, a JSON line out on descriptor 3. It writes its
# log to descriptors 1 and 2. It is started once, and kept.
#
# Starting a program costs a millisecond or two. So a short event and a short result pass through bash alone, which
# speaks HTTP by /dev/tcp. A connection carries a result and then the request for the next event, behind which the API
# closes it: a reply that ends with its connection is read in blocks, and any other byte by byte. It is made while the
# function runs.
set -uf

# The longest reply with an event and the longest start of a result that bash handles itself, in bytes: it reads a reply in
# blocks, and a line byte by byte.
readonly SHORT_REPLY=8192 SHORT_RESULT=1024

# The start of an event that Falco has submitted: its trace context, of a fixed length, stands between the two.
readonly BEFORE_TRACE='{"falco:tp":"' AFTER_TRACE='","falco:args":' TRACE_LENGTH=55
readonly SUBMITTED_LENGTH=$((${#BEFORE_TRACE} + TRACE_LENGTH + ${#AFTER_TRACE}))

# The start of the client's context as Falco writes it.
readonly BEFORE_CONTEXT='{"custom":{"traceparent":"'

# What an answer says of this environment.
environment="\"boot\":$((${EPOCHREALTIME/./} / 1000)),\"c\":\"${AWS_LAMBDA_LOG_STREAM_NAME-}\""
host=${AWS_LAMBDA_RUNTIME_API%:*}
port=${AWS_LAMBDA_RUNTIME_API##*:}
api=/2018-06-01/runtime
work=$(mktemp -d)
cd "${LAMBDA_TASK_ROOT:-/var/task}" || exit 1

# `read` has to count bytes, whatever the function's locale is.
function_locale=${LC_ALL-}
LC_ALL=C

# Writing to an executable that has ended shows when its answer is read.
trap '' PIPE
exec 4>&1

# A handler `bootstrap/NAME` names one function of an executable that holds several; it acknowledges its start.
case ${_HANDLER-} in
  bootstrap/*) export FALCO_FUNCTION=${_HANDLER#*/} __OW_WAIT_FOR_ACK=1 ;;
esac

# Opens the connection of the next request as descriptor 7.
connect() {
  exec 7<>"/dev/tcp/$host/$port" || exit 1
  is_connected=1 is_used=
}

# Sends a request with as much of its body as there is already. What ends with a newline is one packet.
request() { # METHOD PATH HEADERS BODY
  [ -n "$is_connected" ] || connect
  printf '%s' "$1 $api/$2 HTTP/1.1"$'\r\n'"Host: $host:$port"$'\r\n'"$3"$'\r\n'"$4" >&7 2>/dev/null
}

# Reads the start of the status line of the reply to an answer. The rest of the reply stands before the next event's.
confirm() {
  IFS= read -r -N 12 -u 7 status
  status=${status:9}
  is_used=1
}

# Asks for the next event, and reads the start of the reply: its head, and the start of its body.
next() {
  local rest
  while :; do
    request GET invocation/next $'Connection: close\r\n' ''
    is_connected=
    # The environment is frozen until there is an event: there is no timeout.
    IFS= read -r -N "$SHORT_REPLY" -u 7 body
    is_whole=
    [ ${#body} -eq "$SHORT_REPLY" ] || is_whole=1
    [ -n "$is_used" ] || break
    # The rest of the reply to the answer before: its head and a short body.
    body=${body#*$'\r\n\r\n'}
    rest=${body#*HTTP/1.}
    [ ${#rest} -eq ${#body} ] || { body=$rest; break; }
    # The API has closed the connection behind its reply, and has not seen this request.
    is_used=
  done
  head=${body%%$'\r\n\r\n'*}
  [ ${#head} -lt ${#body} ] || exit 1
  body=${body:${#head}+4}
}

# Sets what the head of a reply with an event says.
examine() {
  local line
  request_id= deadline= trace=
  # Names of headers have no case. Without quotes, the head is split into its lines.
  shopt -s nocasematch
  local IFS=$'\r\n'
  for line in $head; do
    case $line in
      lambda-runtime-aws-request-id:*) request_id=${line:30} ;;
      lambda-runtime-deadline-ms:*) deadline=${line:27} ;;
      lambda-runtime-client-context:*) trace=${line:30} ;;
    esac
  done
  shopt -u nocasematch
  request_id=${request_id# } deadline=${deadline# } trace=${trace# }
  # What Falco sends is an object, and what comes in chunks begins with a number.
  unread=0
  [[ -n $is_whole && $body == '{'* ]] || measure
}

# Sets how much of the body is still to be read.
measure() {
  local line length= is_chunked=
  shopt -s nocasematch
  local IFS=$'\r\n'
  for line in $head; do
    case $line in
      content-length:*) length=${line##*[: ]} ;;
      transfer-encoding:*) is_chunked=1 ;;
    esac
  done
  shopt -u nocasematch
  if [ -n "$is_chunked" ]; then
    join_chunks
  elif [ -n "$length" ]; then
    unread=$((length - ${#body}))
  fi
}

# Puts a body that came in chunks together.
join_chunks() {
  local chunks=$body size
  chunks+=$(cat <&7)
  body=
  while size=${chunks%%$'\r\n'*} && chunks=${chunks:${#size}+2} && size=$((16#${size%%[!0-9a-fA-F]*})) && [ "$size" -gt 0 ]; do
    body+=${chunks:0:size}
    chunks=${chunks:size+2}
  done
}

# Posts an error on a connection of its own, and reads the whole reply: closing earlier would reset the connection.
post() { # PATH BODY ERROR-TYPE
  local headers=$'Content-Type: application/json\r\nConnection: close\r\n'
  headers+="Lambda-Runtime-Function-Error-Type: $3"$'\r\n'"Content-Length: ${#2}"$'\r\n'
  connect
  request POST "$1" "$headers" "$2"
  IFS= read -r -N "$SHORT_REPLY" -u 7 _
  is_connected=
}

# Answers the invocation, or ends the start of the environment, with an error.
fail() { # TYPE MESSAGE
  local path=init/error message=${2//\\/\\\\}
  [ -z "$id" ] || path=invocation/$id/error
  post "$path" "{\"errorType\":\"$1\",\"errorMessage\":\"${message//\"/\\\"}\"}" "$1"
}

# Ends as the executable did, so that Lambda reports how.
leave() {
  wait "$pid"
  status=$?
  if [ "$status" -gt 128 ]; then
    trap - PIPE
    kill -s "$((status - 128))" $$
  fi
  exit "$status"
}

# Sets `trace`. Falco puts the trace context around an event that it submits: that is taken off `body`, and `end` is what
# has to go behind it. For one that it waits for, it is in the client's context.
open() {
  if [[ $body == "$BEFORE_TRACE"* && ${body:${#BEFORE_TRACE} + TRACE_LENGTH} == "$AFTER_TRACE"* ]]; then
    trace=${body:${#BEFORE_TRACE}:TRACE_LENGTH}
    body=${body:SUBMITTED_LENGTH}
    end='}'
  elif [[ $trace == "$BEFORE_CONTEXT"* ]]; then
    trace=${trace:${#BEFORE_CONTEXT}:TRACE_LENGTH}
  else
    case $trace in
      *'"traceparent"'*) trace=${trace#*'"traceparent"'*:*'"'} trace=${trace%%'"'*} ;;
      *) trace= ;;
    esac
  fi
  # It becomes part of a line of JSON.
  case $trace in
    *[!0-9a-f-]*) trace= ;;
  esac
}

start() {
  local since=${EPOCHREALTIME/./} line
  exec 5>&- 6<&-
  coproc FUNCTION {
    trap - PIPE
    if [ -n "$function_locale" ]; then LC_ALL=$function_locale; else unset LC_ALL; fi
    unset AWS_LAMBDA_RUNTIME_API
    exec ./exec 3>&1 1>&4 4>&- 7>&-
  }
  # Bash forgets a coprocess that has ended, and its descriptors: these are our own.
  pid=$FUNCTION_PID
  exec 5>&"${FUNCTION[1]}" 6<&"${FUNCTION[0]}"
  if [ -n "${FALCO_FUNCTION-}" ]; then
    if ! IFS= read -r -u 6 line; then
      fail FalcoInitialization 'the executable ended before it acknowledged its start'
      leave
    elif [ "${line//[[:space:]]/}" != '{"ok":true}' ]; then
      fail FalcoInitialization "$line"
      exit 1
    fi
  fi
  init=$((${EPOCHREALTIME/./} - since))
}

# Hands an event on that is still being read, but for its `END`.
deliver_long() { # END REST
  {
    printf '{"value":'
    { printf '%s' "$body"; head -c "$((unread - ${#1}))" <&7; } | tr '\r\n' '  '
    printf '%s\n' "$2"
  } >&5 2>/dev/null
}

# Hands the event of the reply that is being read to the executable, as one line. Bash copies a function to call it, so
# what is seldom needed has functions of its own.
deliver() {
  local rest=",\"activation_id\":\"$id\",\"action_name\":\"${AWS_LAMBDA_FUNCTION_NAME-}\",\"deadline\":\"$deadline\""
  local end=
  open
  rest+="${trace:+,\"traceparent\":\"$trace\"}}"
  if [ "$unread" -gt 0 ]; then
    deliver_long "$end" "$rest"
  else
    body=${body%"$end"}
    case $body in
      *[$'\r\n']*) body=${body//[$'\r\n']/ } ;;
    esac
    [ -n "$body" ] || body={}
    printf '%s\n' "{\"value\":$body$rest" >&5 2>/dev/null
  fi
  # The next connection is made while the function runs.
  connect
}

# Keeps the rest of a long result in a file, and sets `bytes` to its length.
keep_rest() {
  local lines
  head -n 1 <&6 >"$work/rest"
  read -r lines bytes < <(wc -lc <"$work/rest")
  # Without its end, the line is that of an executable that ended while it wrote.
  [ "$lines" -eq 1 ] || leave
}

# Sends the result between what Falco wants to know of the run: Lambda reports to the caller of an event neither how
# long it ran nor what it costs.
answer() {
  local start end=$'}\n' result bytes=0
  IFS= read -r -n "$SHORT_RESULT" -u 6 result || leave
  [ ${#result} -lt "$SHORT_RESULT" ] || keep_rest
  # Both are microseconds, and a clock that was set may have made them negative.
  local ran=$((${EPOCHREALTIME/./} - began))
  start="{\"falco:ran\":{\"ms\":$((ran < 0 ? 0 : ran))e-3,\"t\":$((began / 1000)),$environment"
  [ -z "$init" ] || start+=",\"init_ms\":$((init < 0 ? 0 : init))e-3"
  start+='},"result":'
  init=
  local headers=$'Content-Type: application/json\r\n'"Content-Length: $((${#start} + ${#result} + bytes + ${#end}))"$'\r\n'
  if [ "$bytes" -eq 0 ]; then
    request POST "invocation/$id/response" "$headers" "$start$result$end"
  else
    request POST "invocation/$id/response" "$headers" "$start$result"
    { cat "$work/rest"; printf '%s' "$end"; } >&7 2>/dev/null
  fi
  confirm
  case $status in
    202) ;;
    # Lambda has answered for us; if it has not, this does.
    413) fail Function.ResponseSizeTooLarge 'the result is too large' ;;
    *) exit 1 ;;
  esac
}

id= is_connected= is_used=
start
while :; do
  id=
  next
  examine
  [ -n "$request_id" ] || exit 1
  id=$request_id
  # One that ended between two calls has not seen this event.
  [ -d "/proc/$pid" ] || start
  began=${EPOCHREALTIME/./}
  deliver
  answer
done
