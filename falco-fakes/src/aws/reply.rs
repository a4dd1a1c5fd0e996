//! Replies, in the shapes that AWS's services give them.

use serde_json::json;

use crate::http::Reply;

/// An error of Lambda's.
pub fn lambda_error(status: u16, code: &str, message: &str) -> Reply {
    // `Message` in some of Lambda's errors, `message` in others.
    let key = if code.starts_with("ResourceNotFound") || code.starts_with("Service") {
        "Message"
    } else {
        "message"
    };
    Reply::json(status, &json!({"Type": "User", key: message}))
        .with_header("x-amzn-ErrorType", &format!("{code}:http://internal.amazon.com/"))
}

/// An error of a service that speaks AWS JSON.
pub fn json_error(code: &str, message: &str) -> Reply {
    let body = json!({"__type": format!("com.amazonaws#{code}"), "message": message});
    Reply::json(400, &body)
}

/// An error of IAM or STS.
pub fn xml_error(status: u16, code: &str, message: &str) -> Reply {
    Reply::new(
        status,
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             <RequestId>r-1</RequestId></ErrorResponse>"
        ),
    )
    .with_header("content-type", "text/xml")
}

/// A result of IAM or STS.
pub(super) fn xml(operation: &str, result: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\"?><{operation}Response><{operation}Result>{result}</{operation}Result>\
         <ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></{operation}Response>"
    );
    Reply::new(200, body).with_header("content-type", "text/xml")
}
