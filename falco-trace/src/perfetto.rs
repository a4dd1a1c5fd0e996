//! The trace form of Perfetto: native track events, which its viewer opens in millions.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use crate::call::{Call, CallOutcome};
use crate::proto::Message;
use crate::record::{GateRecord, Record, RunRecord};
use crate::units::Micros;

/// One sequence of packets.
const SEQUENCE: u64 = 1;
/// State was cleared, and is needed; then only needed.
const FLAGS: [u64; 2] = [3, 2];
const BEGIN: u64 = 1;
const END: u64 = 2;
const COUNTER: u64 = 4;
/// The track of the run; those of stages, lanes and counters follow.
const RUN_TRACK: u64 = 1;

/// Writes the records of a trace for <https://ui.perfetto.dev>: a track for each slot of a stage, a slice for each call, arrows
/// between the calls of an invocation that has several, and counters of what was in flight, allowed and refused. The file is
/// opened in the browser, which sends it nowhere.
#[derive(Debug)]
pub struct Perfetto<W> {
    to: W,
    run: RunRecord,
    tracks: u64,
    stages: HashMap<String, Stage>,
    names: HashMap<&'static str, u64>,
    counters: HashMap<String, u64>,
    /// Invocations of which a call was written, and of which more follow.
    open: HashSet<u64>,
    has_begun: bool,
}

#[derive(Debug)]
struct Stage {
    track: u64,
    /// Each slot's track, and when its last call ended.
    slots: Vec<(u64, Micros)>,
}

impl<W: Write> Perfetto<W> {
    /// Writes to `to`.
    pub fn new(to: W) -> Self {
        Self {
            to,
            run: RunRecord::default(),
            tracks: RUN_TRACK,
            stages: HashMap::new(),
            names: HashMap::new(),
            counters: HashMap::new(),
            open: HashSet::new(),
            has_begun: false,
        }
    }

    /// Writes what follows from a record.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn take(&mut self, record: &Record<'_>) -> io::Result<()> {
        match record {
            Record::Run(run) if self.run != *run => {
                self.run = run.clone();
                let name = format!("run {}", run.run);
                self.track(RUN_TRACK, |track| {
                    track.text(2, &name);
                    track.message(3, |process| {
                        process.uint(1, 1);
                        process.text(6, &name);
                    });
                })
            }
            Record::Call(call) => self.call(call),
            Record::Gate(gate) => self.gate(gate),
            _ => Ok(()),
        }
    }

    /// The writer.
    pub fn into_inner(self) -> W {
        self.to
    }

    fn gate(&mut self, gate: &GateRecord) -> io::Result<()> {
        let counters = [
            ("in flight", Some(gate.fly)),
            ("waiting", Some(gate.wait)),
            ("window", gate.window.map(u64::from)),
            ("rate allowed", gate.rate.map(u64::from)),
            ("refused", gate.refused),
        ];
        for (name, value) in counters {
            let Some(value) = value else { continue };
            let name = if gate.name.is_empty() {
                name.to_owned()
            } else {
                format!("{}: {name}", gate.name)
            };
            let track = self.counter(name)?;
            self.event(gate.t, |event| {
                event.uint(9, COUNTER);
                event.uint(11, track);
                event.int(30, i64::try_from(value).unwrap_or(i64::MAX));
            })?;
        }
        Ok(())
    }

    /// The id that connects the calls of an invocation, if it has several: a viewer draws arrows between slices with the same flow.
    fn flow(&mut self, call: &Call<'_>) -> Option<u64> {
        // The ids of attempts share the trace, which is one for each invocation.
        let flow = call.trace_context(&self.run.run).trace_id() as u64;
        let follows = if call.last { self.open.remove(&flow) } else { !self.open.insert(flow) };
        (follows || !call.last || call.attempt > 1 || call.call > 1).then_some(flow)
    }

    fn call(&mut self, call: &Call<'_>) -> io::Result<()> {
        let track = self.slot(call)?;
        let flow = self.flow(call);
        let name = match call.outcome {
            CallOutcome::Ok if call.cold == Some(true) => "cold start",
            outcome => outcome.as_str(),
        };
        let (iid, is_new) = match self.names.get(name) {
            Some(iid) => (*iid, false),
            None => (self.names.len() as u64 + 1, true),
        };
        self.names.insert(name, iid);
        let mut packet = Message::default();
        packet.uint(8, self.nanos(call.sent_at()));
        packet.uint(10, SEQUENCE);
        packet.message(11, |event| {
            event.message(4, |note| text_note(note, "invocation", &call.invocation));
            if let Some(activation) = &call.activation {
                event.message(4, |note| text_note(note, "activation", activation));
            }
            if let Some(error) = &call.error {
                event.message(4, |note| text_note(note, "error", &error.kind));
            }
            event.uint(9, BEGIN);
            event.uint(10, iid);
            event.uint(11, track);
            event.fixed64(47, flow.unwrap_or_default());
        });
        if is_new {
            packet.message(12, |interned| {
                interned.message(2, |event_name| {
                    event_name.uint(1, iid);
                    event_name.text(2, name);
                });
            });
        }
        self.packet(packet)?;
        self.event(call.done, |event| {
            event.uint(9, END);
            event.uint(11, track);
        })
    }

    /// The first slot of the stage that is free.
    fn slot(&mut self, call: &Call<'_>) -> io::Result<u64> {
        if !self.stages.contains_key(&*call.stage) {
            let track = self.next_track();
            self.track(track, |it| {
                it.text(2, &call.stage);
                it.uint(5, RUN_TRACK);
            })?;
            self.stages.insert(call.stage.to_string(), Stage { track, slots: Vec::new() });
        }
        let (sent, done) = (call.sent_at(), call.done);
        let number = match self.stages.get_mut(&*call.stage) {
            Some(stage) => match stage.slots.iter_mut().find(|(_, ended)| *ended <= sent) {
                Some((track, ended)) => {
                    *ended = done;
                    return Ok(*track);
                }
                None => stage.slots.len(),
            },
            None => 0,
        };
        let track = self.next_track();
        if let Some(stage) = self.stages.get_mut(&*call.stage) {
            stage.slots.push((track, done));
            let parent = stage.track;
            self.track(track, |it| {
                it.text(2, &format!("slot {}", number + 1));
                it.uint(5, parent);
            })?;
        }
        Ok(track)
    }

    fn next_track(&mut self) -> u64 {
        self.tracks += 1;
        self.tracks
    }

    fn counter(&mut self, name: String) -> io::Result<u64> {
        if let Some(track) = self.counters.get(&name) {
            return Ok(*track);
        }
        let track = self.next_track();
        self.track(track, |it| {
            it.text(2, &name);
            it.uint(5, RUN_TRACK);
            it.message(8, |_| {});
        })?;
        self.counters.insert(name, track);
        Ok(track)
    }

    fn track(&mut self, track: u64, describe: impl FnOnce(&mut Message)) -> io::Result<()> {
        let mut packet = Message::default();
        packet.uint(10, SEQUENCE);
        packet.message(60, |it| {
            it.uint(1, track);
            describe(it);
        });
        self.packet(packet)
    }

    fn event(&mut self, at: Micros, describe: impl FnOnce(&mut Message)) -> io::Result<()> {
        let mut packet = Message::default();
        packet.uint(8, self.nanos(at));
        packet.uint(10, SEQUENCE);
        packet.message(11, describe);
        self.packet(packet)
    }

    fn packet(&mut self, mut packet: Message) -> io::Result<()> {
        packet.uint(13, FLAGS[usize::from(self.has_begun)]);
        self.has_begun = true;
        let mut trace = Message::default();
        trace.bytes(1, &packet.into_bytes());
        self.to.write_all(&trace.into_bytes())
    }

    fn nanos(&self, time: Micros) -> u64 {
        u64::try_from(self.run.at.0 + time.0).unwrap_or_default().saturating_mul(1_000)
    }
}

fn text_note(note: &mut Message, name: &str, value: &str) {
    note.text(10, name);
    note.text(6, value);
}
