//! Output that has arrived while no call was waited for.

use futures_util::stream;

use super::*;
use crate::events::tests::died;

/// A container whose output is here already, and which goes on.
fn with_output(pieces: &[&'static str]) -> Container {
    let messages = pieces.iter().map(|piece| Ok(LogOutput::StdOut { message: (*piece).into() }));
    let output = stream::iter(messages.collect::<Vec<_>>()).chain(stream::pending());
    let host = "http://127.0.0.1:1";
    let docker = Docker::connect_with_http(host, 1, bollard::API_DEFAULT_VERSION).unwrap();
    Container {
        id: "none".into(),
        booted_at: SystemTime::now(),
        docker,
        ends: Arc::default(),
        input: Box::pin(tokio::io::sink()),
        output: Box::pin(output),
        heard: Heard::new(Dialogue::Native),
        port: None,
        end: None,
        breaks: Ends::default().breaks(),
    }
}

#[tokio::test]
async fn an_answer_that_came_between_two_calls_is_seen_before_the_next_one() {
    let log = &mut Capture::new(0);
    assert!(!with_output(&[]).has_unasked_answer(log));
    assert!(with_output(&["{}", "\n"]).has_unasked_answer(log));
}

#[tokio::test]
async fn events_that_broke_off_before_a_call_say_nothing_of_its_container() {
    let ends = Arc::<Ends>::default();
    let container = |id: &str| {
        let mut container = with_output(&[]);
        container.id = id.to_owned();
        container.end = Some(ends.expect(id));
        container.breaks = ends.breaks();
        container
    };
    let (mut before, mut during) = (container("before"), container("during"));
    ends.broke_off();
    let log = &mut Capture::new(0);
    assert!(!before.has_ended(log) && !during.has_ended(log));
    let died = async {
        tokio::task::yield_now().await;
        ends.hear(&died("before", 3));
    };
    let (end, ()) = tokio::join!(before.end(), died);
    assert_eq!(end.and_then(|end| end.status), Some(3));
    ends.broke_off();
    assert_eq!(during.end().await, None, "the daemon ended during its call");
}
