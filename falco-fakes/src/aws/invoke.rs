//! Running functions, for those who wait and for those who do not.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::environment::{Argument, Environment, Fate, Ran};
use super::lambda::busy;
use super::reply::lambda_error;
use super::{FakeBill, Shared};
use crate::http::{Reply, Request, lock};

pub(super) async fn handle(shared: &Arc<Shared>, request: &Request) -> Reply {
    let name = request.segments().get(2).cloned().unwrap_or_default();
    let is_event = request.header("x-amz-invocation-type") == Some("Event");
    let limit = if is_event { 1 << 20 } else { 6 << 20 };
    if request.body.len() > limit {
        let message = format!("{} byte payload is too large", request.body.len());
        return lambda_error(413, "RequestEntityTooLargeException", &message);
    }
    if serde_json::from_slice::<Value>(&request.body).is_err() {
        return lambda_error(400, "InvalidRequestContentException", "no JSON");
    }
    let (id, role) = {
        let mut world = lock(&shared.world);
        let Some(function) = world.functions.get(&name) else {
            return lambda_error(404, "ResourceNotFoundException", "no such function");
        };
        if let Some(conflict) = busy(function).filter(|_| function.pending > 0) {
            return conflict;
        }
        let is_full = !is_event && world.running >= world.settings.concurrency;
        if is_full || world.settings.throttles {
            return Reply::json(
                429,
                &json!({"Reason": "ConcurrentInvocationLimitExceeded", "Type": "User", "message": "Rate Exceeded."}),
            )
            .with_header("x-amzn-ErrorType", "TooManyRequestsException");
        }
        let role = function.text("Role");
        (world.request_id(), role)
    };
    let log = Log { function: name.clone(), role };
    if is_event {
        accept(shared, log, id.clone(), request.body.clone()).await;
        return Reply::new(202, "").with_header("x-amzn-RequestId", &id);
    }
    let client = request.header("x-amz-client-context").and_then(|text| STANDARD.decode(text).ok());
    let client = client.and_then(|text| String::from_utf8(text).ok());
    let ran = run(shared, &name, &id, Argument { body: request.body.clone(), client }).await;
    let report = report(shared, &log, &id, &ran);
    let tail = format!(
        "START RequestId: {id} Version: $LATEST\n{}END RequestId: {id}\n{report}\n",
        ran.log
    );
    let tail = &tail[tail.ceil_char_boundary(tail.len().saturating_sub(4096))..];
    let mut reply = Reply::new(200, ran.body)
        .with_header("x-amzn-RequestId", &id)
        .with_header("X-Amz-Executed-Version", "$LATEST")
        .with_header("X-Amz-Log-Result", &STANDARD.encode(tail));
    if ran.failed {
        reply = reply.with_header("X-Amz-Function-Error", "Unhandled");
    }
    reply
}

/// Where the lines of an activation go, and the role that it writes them in.
struct Log {
    function: String,
    role: String,
}

/// Takes an event in, and runs it on a task of its own.
async fn accept(shared: &Arc<Shared>, log: Log, id: String, body: Bytes) {
    let name = log.function.clone();
    let shared_for_run = shared.clone();
    if lock(&shared.world).settings.drops_events {
        return drop_event(shared, &name, &id);
    }
    let task = tokio::spawn(async move {
        let argument = Argument { body: body.clone(), client: None };
        let ran = run(&shared_for_run, &name, &id, argument).await;
        report(&shared_for_run, &log, &id, &ran);
        deliver(&shared_for_run, &name, &id, &body, &ran);
    });
    // The record is there before the answer to the request.
    if lock(&shared.world).settings.records_come_early {
        let _ = task.await;
    }
}

/// The record of an event that was kept waiting too long.
fn drop_event(shared: &Shared, name: &str, id: &str) {
    let record = json!({
        "requestContext": {"requestId": id, "condition": "EventAgeExceeded", "approximateInvokeCount": 0},
        "requestPayload": {},
    });
    lock(&shared.world).push_message(&format!("falco-{name}"), record.to_string());
    shared.arrival.notify_waiters();
}

async fn run(shared: &Arc<Shared>, name: &str, id: &str, argument: Argument) -> Ran {
    lock(&shared.world).running += 1;
    let ran = execute(shared, name, id, argument).await;
    lock(&shared.world).running -= 1;
    ran
}

async fn execute(shared: &Arc<Shared>, name: &str, id: &str, argument: Argument) -> Ran {
    let failed = |message: &str| Ran {
        body: json!({"errorType": "Runtime.InvalidEntrypoint", "errorMessage": message})
            .to_string()
            .into(),
        failed: true,
        log: String::new(),
        duration: Duration::ZERO,
        init: None,
        stream: "none".into(),
    };
    let closure = lock(&shared.world).settings.function.clone();
    if let Some(function) = closure {
        let mut argument = serde_json::from_slice(&argument.body).unwrap_or(Value::Null);
        // As a shim does with an event that Falco has submitted.
        if argument["falco:tp"].is_string() {
            argument = argument["falco:args"].take();
        }
        let body = function(&argument).to_string().into();
        return Ran { body, failed: false, ..failed("") };
    }
    let _instance = shared.instances.acquire().await;
    let mut failed_starts = 0;
    loop {
        let found = {
            let mut world = lock(&shared.world);
            let runtimes = world.settings.runtimes.clone();
            world.functions.get_mut(name).map(|f| (f.blueprint(runtimes), f.idle.pop()))
        };
        let Some((blueprint, idle)) = found else { return failed("the function is gone") };
        let is_new = idle.is_none();
        let mut environment = match idle {
            Some(environment) => environment,
            None => {
                let stream = format!("2026/11/23/[$LATEST]{:032x}", lock(&shared.world).next_id());
                match Environment::start(&blueprint, stream).await {
                    Ok(environment) => environment,
                    Err(error) => return failed(&error.to_string()),
                }
            }
        };
        match environment.run(id, argument.clone()).await {
            Fate::Answered(ran) => {
                let mut world = lock(&shared.world);
                if let Some(function) = world.functions.get_mut(name)
                    && function.revision == environment.revision
                {
                    function.idle.push(environment);
                }
                return ran;
            }
            Fate::Ended(ran) => return ran,
            // The event was not delivered, so another environment gets it; a start that fails is tried once more.
            Fate::NotTaken(ran) => {
                failed_starts += u32::from(is_new);
                if failed_starts == 2 {
                    return ran;
                }
            }
        }
    }
}

/// Writes what was logged, and gives the last line.
fn report(shared: &Arc<Shared>, log: &Log, id: &str, ran: &Ran) -> String {
    let mut world = lock(&shared.world);
    let Log { function: name, role } = log;
    let memory =
        world.functions.get(name.as_str()).map_or(128, |function| function.number("MemorySize"));
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let billed = (milliseconds(ran.duration) + ran.init.map_or(0.0, milliseconds)).ceil();
    let mut line = format!(
        "REPORT RequestId: {id}\tDuration: {:.2} ms\tBilled Duration: {billed:.0} ms\tMemory Size: {memory} MB\t\
         Max Memory Used: 39 MB\t",
        milliseconds(ran.duration)
    );
    if let Some(init) = ran.init {
        line.push_str(&format!("Init Duration: {:.2} ms\t", milliseconds(init)));
    }
    if !world.settings.is_strict {
        return line;
    }
    world.bills.push(FakeBill {
        id: id.to_owned(),
        billed: Duration::from_secs_f64(billed / 1000.0),
        memory_mib: u32::try_from(memory).unwrap_or(u32::MAX),
        cold_start: ran.init.is_some(),
    });
    let mut lines = vec![format!("START RequestId: {id} Version: $LATEST\n")];
    lines.extend(ran.log.lines().map(|text| format!("{text}\n")));
    lines.push(format!("END RequestId: {id}\n"));
    lines.push(format!("{line}\n"));
    let delay = world.settings.log_delay;
    if delay.is_zero() {
        world.log(name, role, &ran.stream, lines);
        return line;
    }
    let (shared, name, role) = (shared.clone(), name.clone(), role.clone());
    let stream = ran.stream.clone();
    tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        let mut world = lock(&shared.world);
        world.log(&name, &role, &stream, lines);
        world.late_logs += 1;
    });
    line
}

/// Puts the record into the queue that the function's destinations name.
fn deliver(shared: &Shared, name: &str, id: &str, request: &[u8], ran: &Ran) {
    let mut world = lock(&shared.world);
    world.events += 1;
    if world.settings.loses_every.is_some_and(|n| world.events.is_multiple_of(n)) {
        return;
    }
    let config = world.functions.get(name).and_then(|function| function.event_config.clone());
    let Some(config) = config else { return };
    let which = if ran.failed { "OnFailure" } else { "OnSuccess" };
    let Some(arn) = config["DestinationConfig"][which]["Destination"].as_str() else { return };
    let queue = arn.rsplit(':').next().unwrap_or_default().to_owned();
    let parsed = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let mut record = json!({
        "version": "1.0",
        "timestamp": "2026-11-23T17:55:07.036Z",
        "requestContext": {
            "requestId": id,
            "functionArn": format!("{}:$LATEST", world.functions.get(name).map(|f| f.text("FunctionArn")).unwrap_or_default()),
            "condition": if ran.failed { "RetriesExhausted" } else { "Success" },
            "approximateInvokeCount": 1,
        },
        "requestPayload": parsed(request),
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": parsed(&ran.body),
    });
    if ran.failed {
        record["responseContext"]["functionError"] = "Unhandled".into();
    }
    if record.to_string().len() > world.settings.longest_message
        && let Some(members) = record.as_object_mut()
    {
        members.remove("responsePayload");
    }
    for _ in 0..if world.settings.records_come_twice { 2 } else { 1 } {
        world.push_message(&queue, record.to_string());
    }
    drop(world);
    shared.arrival.notify_waiters();
}
