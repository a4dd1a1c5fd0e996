//! Lambda's control plane.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::reply::lambda_error;
use super::world::{ACCOUNT, Function, GIVEN_ROLE, World};
use crate::http::{Reply, Request, lock};
use crate::unpacked::Unpacked;

const MEMBERS: [&str; 9] = [
    "Description",
    "Runtime",
    "Handler",
    "Role",
    "MemorySize",
    "Timeout",
    "EphemeralStorage",
    "Environment",
    "ImageConfig",
];

pub(super) fn handle(world: &mut World, request: &Request) -> Reply {
    let segments = request.segments();
    let name = segments.get(2).map(String::as_str).unwrap_or_default();
    match request.operation.as_str() {
        "GetAccountSettings" => account(world),
        "CreateFunction" => create(world, &request.json()),
        "ListFunctions" => list(world, request),
        "TagResource" => tag(world, name, &request.json()),
        "" => lambda_error(404, "UnknownOperationException", "no such operation"),
        _ if !world.functions.contains_key(name) => {
            let arn = arn(world, name);
            let message = format!("Function not found: {arn}");
            lambda_error(404, "ResourceNotFoundException", &message)
        }
        "GetFunction" => get(world, name),
        "DeleteFunction" => {
            world.functions.remove(name);
            Reply::new(204, "")
        }
        "UpdateFunctionCode" => update_code(world, name, &request.json()),
        "UpdateFunctionConfiguration" => update_configuration(world, name, &request.json()),
        "PutFunctionConcurrency" => put_concurrency(world, name, &request.json()),
        "PutFunctionEventInvokeConfig" => put_event_config(world, name, request.json()),
        "DeleteFunctionEventInvokeConfig" => delete_event_config(world, name),
        other => lambda_error(400, "InvalidParameterValueException", other),
    }
}

fn arn(world: &World, name: &str) -> String {
    format!("arn:aws:lambda:{}:{ACCOUNT}:function:{name}", world.region)
}

fn account(world: &World) -> Reply {
    let concurrency = world.settings.concurrency;
    Reply::json(
        200,
        &json!({"AccountLimit": {
            "ConcurrentExecutions": concurrency,
            "UnreservedConcurrentExecutions": concurrency,
            "CodeSizeZipped": 52_428_800, "CodeSizeUnzipped": 262_144_000, "TotalCodeSize": 80_530_636_800_u64,
        }}),
    )
}

fn create(world: &mut World, body: &Value) -> Reply {
    let name = body["FunctionName"].as_str().unwrap_or_default().to_owned();
    if world.functions.contains_key(&name) {
        let message = format!("Function already exist: {name}");
        return lambda_error(409, "ResourceConflictException", &message);
    }
    let is_image = body["PackageType"] == "Image";
    let required: &[&str] = if is_image { &["Role"] } else { &["Role", "Runtime", "Handler"] };
    for member in required {
        if body[*member].as_str().unwrap_or_default().is_empty() {
            return invalid(&format!("{member} is required"));
        }
    }
    if is_image && (body["Runtime"].is_string() || body["Handler"].is_string()) {
        return invalid(
            "Please don't provide Runtime or Handler or Layer when the intended function PackageType is Image",
        );
    }
    if let Err(reply) = check_role(world, body["Role"].as_str().unwrap_or_default()) {
        return reply;
    }
    let zip = match code(world, &body["Code"], is_image) {
        Ok(zip) => zip,
        Err(reply) => return reply,
    };
    let mut configuration = Map::new();
    for member in MEMBERS {
        configuration.insert(member.to_owned(), body[member].clone());
    }
    configuration.insert("FunctionName".into(), name.clone().into());
    configuration.insert("FunctionArn".into(), arn(world, &name).into());
    configuration.insert("Architectures".into(), body["Architectures"].clone());
    configuration.insert("PackageType".into(), if is_image { "Image" } else { "Zip" }.into());
    configuration.insert("Version".into(), "$LATEST".into());
    configuration.insert("LastModified".into(), "2026-11-23T17:55:07.036+0000".into());
    configuration.insert("CodeSha256".into(), digest(&zip).into());
    let tags = serde_json::from_value(body["Tags"].clone()).unwrap_or_default();
    let function = Function {
        configuration: Value::Object(configuration),
        zip,
        unpacked: Unpacked::default(),
        tags,
        reserved: None,
        event_config: None,
        pending: world.settings.looks_while_pending,
        updating: 0,
        failure: None,
        revision: world.next_id(),
        idle: Vec::new(),
    };
    let reply = Reply::json(201, &described(&function));
    world.functions.insert(name, function);
    reply
}

/// A function of somebody else's.
pub(super) fn place(world: &mut World, name: &str) {
    let role = format!("arn:aws:iam::{ACCOUNT}:{GIVEN_ROLE}");
    let code = json!({"ZipFile": ""});
    let body = json!({"FunctionName": name, "Description": "", "Runtime": "python3.12", "Handler": "f.f",
                      "Role": role, "Architectures": ["x86_64"], "Code": code});
    create(world, &body);
}

/// A role that IAM does not know everywhere yet looks like one that can never be assumed.
fn check_role(world: &World, arn: &str) -> Result<(), Reply> {
    let name = arn.rsplit('/').next().unwrap_or_default();
    let refused = Err(invalid("The role defined for the function cannot be assumed by Lambda."));
    match lock(&world.roles).get_mut(name) {
        Some(role) if !arn.ends_with(&format!(":role{}{name}", role.path)) => refused,
        Some(role) if role.unknown_for > 0 => {
            role.unknown_for -= 1;
            refused
        }
        Some(_) => Ok(()),
        None if arn.contains(GIVEN_ROLE) => Ok(()),
        None => refused,
    }
}

/// The bytes of an archive, or the reference of an image.
fn code(world: &World, members: &Value, is_image: bool) -> Result<Bytes, Reply> {
    match members["ImageUri"].as_str() {
        Some(uri) if is_image => return Ok(uri.to_owned().into()),
        Some(_) => {
            return Err(invalid(
                "Please don't provide ImageUri when updating a function with packageType Zip.",
            ));
        }
        None if is_image => {
            return Err(invalid(
                "Please provide ImageUri when updating a function with packageType Image.",
            ));
        }
        None => {}
    }
    if let Some(zip) = members["ZipFile"].as_str() {
        let zip = STANDARD.decode(zip).map_err(|_| invalid("ZipFile is not base64"))?;
        if zip.len() as u64 > world.settings.direct_upload {
            let message =
                "Request must be smaller than 69905067 bytes for the CreateFunction operation";
            return Err(lambda_error(413, "RequestEntityTooLargeException", message));
        }
        return Ok(zip.into());
    }
    let object = members["S3Bucket"].as_str().zip(members["S3Key"].as_str());
    let found = object
        .and_then(|(bucket, key)| world.objects.get(&(bucket.to_owned(), key.to_owned())).cloned());
    found.ok_or_else(|| invalid("there is no code"))
}

fn digest(zip: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(zip))
}

fn described(function: &Function) -> Value {
    let mut configuration = function.configuration.clone();
    let state = if function.pending > 0 { "Pending" } else { "Active" };
    let update = match &function.failure {
        _ if function.updating > 0 => "InProgress",
        Some(_) => "Failed",
        None => "Successful",
    };
    if let Some(config) = configuration.get("ImageConfig").filter(|config| config.is_object()) {
        configuration["ImageConfigResponse"] = json!({"ImageConfig": config});
    }
    configuration["State"] = state.into();
    configuration["LastUpdateStatus"] = update.into();
    if let Some(reason) = function.failure.as_ref().filter(|_| update == "Failed") {
        configuration["LastUpdateStatusReason"] = reason.as_str().into();
    }
    configuration
}

fn get(world: &mut World, name: &str) -> Reply {
    let Some(function) = world.functions.get_mut(name) else { return Reply::new(404, "") };
    let mut answer = json!({
        "Configuration": described(function),
        "Code": location(function),
        "Tags": function.tags,
    });
    if let Some(reserved) = function.reserved {
        answer["Concurrency"] = json!({"ReservedConcurrentExecutions": reserved});
    }
    function.pending = function.pending.saturating_sub(1);
    function.updating = function.updating.saturating_sub(1);
    Reply::json(200, &answer)
}

/// Where the code of a function is; what a tag names is made up.
fn location(function: &Function) -> Value {
    if function.configuration["PackageType"] != "Image" {
        return json!({"RepositoryType": "S3", "Location": "https://presigned.example/"});
    }
    let uri = String::from_utf8_lossy(&function.zip).into_owned();
    let resolved = match uri.split_once('@') {
        Some(_) => uri.clone(),
        None => format!(
            "{}@sha256:{}",
            uri.rsplit_once(':').map_or(&*uri, |(name, _)| name),
            "0".repeat(64)
        ),
    };
    json!({"RepositoryType": "ECR", "ImageUri": uri, "ResolvedImageUri": resolved})
}

fn list(world: &World, request: &Request) -> Reply {
    const PAGE: usize = 2;
    let marker = request.query("Marker").unwrap_or_default();
    let mut rest = world.functions.iter().filter(|(name, _)| name.as_str() > marker);
    let page: Vec<_> = rest.by_ref().take(PAGE).collect();
    let next = match (rest.next(), page.last()) {
        (Some(_), Some((name, _))) => Value::from((*name).clone()),
        _ => Value::Null,
    };
    let functions: Vec<Value> = page.iter().map(|(_, function)| described(function)).collect();
    Reply::json(200, &json!({"Functions": functions, "NextMarker": next}))
}

/// The conflict that Lambda answers with while a function is busy, if it is.
pub(super) fn busy(function: &Function) -> Option<Reply> {
    let message = if function.pending > 0 {
        "The operation cannot be performed at this time. The function is currently in the following state: Pending"
    } else if function.updating > 0 {
        "The operation cannot be performed at this time. An update is in progress for resource: arn"
    } else {
        return None;
    };
    Some(lambda_error(409, "ResourceConflictException", message))
}

fn changed(world: &mut World, name: &str, change: impl FnOnce(&mut Function)) -> Reply {
    let revision = world.next_id();
    let looks = world.settings.looks_while_updating;
    let failure = world.settings.update_failure.clone();
    let Some(function) = world.functions.get_mut(name) else { return Reply::new(404, "") };
    if let Some(conflict) = busy(function) {
        return conflict;
    }
    if failure.is_none() {
        change(function);
    }
    function.failure = failure;
    function.updating = looks;
    function.revision = revision;
    function.idle.clear();
    Reply::json(200, &described(function))
}

fn update_code(world: &mut World, name: &str, body: &Value) -> Reply {
    if body.get("Code").is_some() {
        return invalid("Code is not a member of UpdateFunctionCode");
    }
    let is_image = world.functions.get(name).is_some_and(|f| f.text("PackageType") == "Image");
    let zip = match code(world, body, is_image) {
        Ok(zip) => zip,
        Err(reply) => return reply,
    };
    changed(world, name, |function| {
        function.configuration["CodeSha256"] = digest(&zip).into();
        if body["Architectures"].is_array() {
            function.configuration["Architectures"] = body["Architectures"].clone();
        }
        function.zip = zip;
        function.unpacked = Unpacked::default();
    })
}

fn update_configuration(world: &mut World, name: &str, body: &Value) -> Reply {
    let Some(members) = body.as_object() else { return invalid("no object") };
    if let Some(member) = members.keys().find(|member| !MEMBERS.contains(&member.as_str())) {
        return invalid(&format!("{member} is not a member of UpdateFunctionConfiguration"));
    }
    changed(world, name, |function| {
        for (member, value) in members {
            function.configuration[member] = value.clone();
        }
    })
}

fn put_concurrency(world: &mut World, name: &str, body: &Value) -> Reply {
    let wanted = body["ReservedConcurrentExecutions"].as_u64().unwrap_or_default();
    if wanted + 100 > u64::from(world.settings.concurrency) {
        return invalid(
            "Specified ReservedConcurrentExecutions for function decreases account's \
             UnreservedConcurrentExecution below its minimum value of [100].",
        );
    }
    if let Some(function) = world.functions.get_mut(name) {
        function.reserved = Some(wanted);
    }
    Reply::json(200, body)
}

fn put_event_config(world: &mut World, name: &str, config: Value) -> Reply {
    let destination = config["DestinationConfig"]["OnSuccess"]["Destination"].as_str();
    let queue = destination.and_then(|arn| arn.rsplit(':').next()).unwrap_or_default().to_owned();
    if !world.queues.contains_key(&queue) {
        return invalid("The destination ARN arn is invalid.");
    }
    let role = world.functions.get(name).map(|function| function.text("Role")).unwrap_or_default();
    let arn = destination.unwrap_or_default();
    if !world.allows(&role, "sqs:SendMessage", arn) {
        return invalid(
            "The function's execution role does not have permissions to call SendMessage on arn",
        );
    }
    if let Some(function) = world.functions.get_mut(name) {
        function.event_config = Some(config.clone());
    }
    let mut answer = config;
    answer["LastModified"] = json!(1_795_456_507.5);
    Reply::json(200, &answer)
}

fn delete_event_config(world: &mut World, name: &str) -> Reply {
    let removed = world.functions.get_mut(name).and_then(|function| function.event_config.take());
    match removed {
        Some(_) => Reply::new(204, ""),
        None => lambda_error(
            404,
            "ResourceNotFoundException",
            "The function doesn't have an EventInvokeConfig",
        ),
    }
}

fn tag(world: &mut World, arn: &str, body: &Value) -> Reply {
    let name = arn.rsplit(':').next().unwrap_or_default();
    let Some(function) = world.functions.get_mut(name) else {
        return lambda_error(404, "ResourceNotFoundException", "no such function");
    };
    for (name, value) in body["Tags"].as_object().into_iter().flatten() {
        function.tags.insert(name.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    Reply::new(204, "")
}

fn invalid(message: &str) -> Reply {
    lambda_error(400, "InvalidParameterValueException", message)
}
