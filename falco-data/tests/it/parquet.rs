//! Splits of a Parquet file: functions take the row groups whose middle lies in their range, by the footer.

use std::fmt::Write;

use falco_core::{Deployable, Stage};
use falco_data::{Data, DataPolicy, Splits, Store};
use falco_fakes::FakeS3;
use serde_json::{Value, json};

use crate::local::{World, run};
use crate::s3::local;
use crate::server::store;

/// Six row groups of ten numbers each, 0 to 59, by pyarrow 26.
const SIXTY: &[u8] = include_bytes!("sixty.parquet");

/// Reads the footer as a library does, and the numbers of the row groups that are the split's.
const GROUPS: &str = r#"
import struct


class Thrift:
    """The compact protocol of Thrift, as far as a footer needs it."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def byte(self):
        self.at += 1
        return self.data[self.at - 1]

    def number(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def value(self, kind):
        if kind in (1, 2):
            return kind == 1
        if kind in (4, 5, 6):
            number = self.number()
            return (number >> 1) ^ -(number & 1)
        if kind == 8:
            length = self.number()
            self.at += length
            return self.data[self.at - length : self.at]
        if kind == 9:
            head = self.byte()
            count = head >> 4 if head >> 4 < 15 else self.number()
            return [self.value(head & 15) for _ in range(count)]
        assert kind == 12, kind
        fields, field = {}, 0
        while True:
            head = self.byte()
            if head == 0:
                return fields
            field = field + (head >> 4) if head >> 4 else self.value(5)
            fields[field] = self.value(head & 15)


def main(args):
    split, numbers = args["input"], []
    with split.file() as file:
        file.seek(-8, 2)
        length, magic = struct.unpack("<I4s", file.read())
        assert magic == b"PAR1" and file.tell() == split.size
        file.seek(-8 - length, 2)
        groups = Thrift(file.read(length)).value(12)[4]
    first, last = split.range
    for group in groups:
        column, = group[1]
        at, size = column[3][9], column[3][7]
        if first <= at + size // 2 < last:
            pages = split.part(at, at + size).read()
            numbers += struct.unpack("<10i", pages[-40:])
    return {"numbers": numbers}
"#;

const ENDS: &str = "
exports.main = async ({ input }) => {
  const text = async (first, last) => (await input.part(first, last).read()).toString();
  const [head, tail] = [await text(0, 4), await text(input.size - 4, input.size)];
  return { head, tail, range: input.range };
};
";

#[tokio::test]
async fn each_row_group_is_read_by_one_split_however_many_there_are() {
    let world = World::new(&[]);
    std::fs::write(world.folder.path().join("in/sixty.parquet"), SIXTY).unwrap();
    let data = world.data(DataPolicy::default());
    for count in [1, 2, 5, 60] {
        let splits = Splits::parquet(&world.input, "").count(count);
        let stage =
            Stage::new("read", Deployable::python("groups", GROUPS), move || splits.inputs());
        let outcome = run(&data, vec![stage]).await;
        assert!(outcome.is_success(), "{}", outcome.report);
        let results = outcome.results("read").unwrap();
        assert!(results.len() as u64 <= count && (count == 1 || results.len() > 1));
        let mut numbers: Vec<u64> = Vec::new();
        for (_, result) in results {
            let result: Value = result.parse().unwrap();
            numbers.extend(result["numbers"].as_array().unwrap().iter().filter_map(Value::as_u64));
        }
        assert_eq!(numbers, (0..60).collect::<Vec<_>>(), "{count}");
    }
}

#[tokio::test]
async fn functions_read_parts_of_an_object_outside_of_their_range_from_s3() {
    let (s3, folder) = (FakeS3::start(), tempfile::tempdir().unwrap());
    s3.put("in/sixty.parquet", SIXTY);
    let input = store(&s3, "bucket/in");
    let data = Data::new(local(&folder, 1), store(&s3, "bucket/scratch"), DataPolicy::default());
    let data = data.unwrap().with_store(input.clone());
    let of = |input: &Store| {
        let splits = Splits::parquet(input, "").count(3);
        move || splits.inputs()
    };
    let stages = vec![
        Stage::new("python", Deployable::python("groups", GROUPS), of(&input)),
        Stage::new("node", Deployable::nodejs("ends", ENDS), of(&input)),
    ];
    let outcome = run(&data, stages).await;
    assert!(outcome.is_success(), "{}", outcome.report);
    let mut text = String::new();
    for (_, result) in outcome.results("python").unwrap() {
        write!(text, "{}", result.as_str()).unwrap();
    }
    for number in 0..60 {
        let found =
            text.split(|c: char| !c.is_ascii_digit()).filter(|it| *it == number.to_string());
        assert_eq!(found.count(), 1, "{number} in {text}");
    }
    let mut end = 0;
    for (_, result) in outcome.results("node").unwrap() {
        let result: Value = result.parse().unwrap();
        assert_eq!((&result["head"], &result["tail"]), (&json!("PAR1"), &json!("PAR1")));
        assert_eq!(result["range"][0], end);
        end = result["range"][1].as_u64().unwrap();
    }
    assert_eq!(end, SIXTY.len() as u64);
}
