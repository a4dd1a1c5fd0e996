//! CSV rows with quoted line feeds, found by functions.

use falco_core::{Deployable, Stage};
use falco_data::{Csv, DataPolicy, Splits};

use crate::local::{World, run};

#[tokio::test]
async fn functions_find_that_a_file_ends_inside_quotes_too() {
    let text = format!("id,size\n{}", "1,5\" pipe\n2,x\n".repeat(31));
    let world = World::new(&[("a.csv", &*text)]);
    let splits = Splits::csv(&world.input, "", Csv::default().with_quoted_newlines()).target(200);
    let (scan, rows) = splits.scan("scan").unwrap();
    let read = Deployable::python("read", "def main(args): return {}");
    let stages = vec![scan, Stage::derived("read", read, ["scan"], rows)];
    let outcome = run(&world.data(DataPolicy::default()), stages).await;
    assert!(!outcome.is_success());
    let text = format!("{outcome:?}");
    assert!(text.contains("a.csv ends inside quotes"), "{text}");
}

#[tokio::test]
async fn rows_with_quoted_line_feeds_are_distinguished_by_functions_as_by_the_driver() {
    let a: String = (0..60).map(|n| format!("{n},\"x\n\"\"{n}\n\"\n")).collect();
    let files = [
        ("a.csv", &*format!("id,\"na\nme\"\n{a}")),
        ("b.csv", "id,\"na\nme\"\n"),
        ("c.csv", "id\n1\n2"),
    ];
    let world = World::new(&files);
    let data = world.data(DataPolicy::default());
    let read = "import csv\ndef main(args):\n    return {'rows': list(csv.reader(args['input'].text())), 'header': args['header']}\n";
    for target in [25, 70, 100_000] {
        let splits = Splits::csv(&world.input, "", Csv::default().with_quoted_newlines());
        let splits = splits.target(target);
        let (scan, rows) = splits.scan("scan").unwrap();
        let read = Deployable::python("read", read);
        let outcome = run(
            &data,
            vec![
                Stage::new("driver", read.clone(), move || splits.inputs()),
                scan,
                Stage::derived("read", read, ["scan"], rows),
            ],
        )
        .await;
        assert!(outcome.is_success(), "{}", outcome.report);
        let all = |stage| {
            let results = outcome.results(stage).unwrap().iter();
            let values = results.map(|(_, result)| result.parse::<serde_json::Value>().unwrap());
            values.flat_map(|it| it["rows"].as_array().unwrap().clone()).collect::<Vec<_>>()
        };
        assert_eq!(all("read").len(), 62, "{target}");
        assert_eq!(all("read"), all("driver"), "{target}");
        let (_, last) = outcome.results("read").unwrap().last().unwrap();
        assert!(last.as_str().contains(r#""header":"id""#), "{last:?}");
    }
}
