//! The page and the report in a real browser.

use std::path::Path;

use falco_meter::{MeterServer, MeterSettings, write_report};
use serde_json::json;

use crate::browser::{Browser, Look, Page};
use crate::sample::{HOSTILE, append, records, write};

const LOOKS: [Look; 4] = [
    Look { width: 1_280, is_dark: false },
    Look { width: 1_280, is_dark: true },
    Look { width: 390, is_dark: false },
    Look { width: 390, is_dark: true },
];

/// Looks at a page in all sizes and colours.
fn look_around(page: &mut Page<'_>) {
    for look in LOOKS {
        page.resize(look);
        page.wait_for(&format!("innerWidth === {}", look.width));
        page.wait_for("document.documentElement.scrollWidth <= innerWidth");
        // Canvases are drawn again a moment after the size has changed.
        page.wait_for("document.getElementById('rate').clientWidth > 50 && document.getElementById('rate').width > 50");
        if let Some(found) = page.accessibility() {
            assert!(found.is_empty(), "{look:?}: {found:#?}");
        }
    }
    page.resize(LOOKS[0]);
    page.wait_for("innerWidth === 1280");
}

/// Keeps a picture where documents show it, when `FALCO_PICTURES` asks for that.
fn keep(name: &str, picture: &[u8]) {
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{name} is not a picture");
    if std::env::var_os("FALCO_PICTURES").is_some() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        std::fs::write(docs.join(name), picture).unwrap();
    }
}

/// Drags over the middle of the heat map.
const DRAG: &str = "{ const heat = document.getElementById('heat'), box = heat.getBoundingClientRect(); \
    const fire = (kind, part) => heat.dispatchEvent(new PointerEvent(kind, \
        {clientX: box.left + box.width * part, clientY: box.top + box.height * part})); \
    fire('pointerdown', 0.4); fire('pointermove', 0.5); fire('pointerup', 0.6); }";

#[test]
fn a_report_asks_nothing_and_shows_hostile_texts_as_text() {
    let Some(mut browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let trace = write(folder.path(), &records(4_000, true));
    let report = folder.path().join("report.html");
    write_report(&trace, &report).unwrap();
    let url = format!("file://{}", report.display());
    let mut page = browser.open(&url, LOOKS[0]);
    let (requests, complaints) = page.requests_and_complaints();
    assert_eq!(requests, [url]);
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(page.value("document.title").as_str().unwrap().contains("6741d8f0-00c0ffee"));
    page.value("document.querySelectorAll('details').forEach(it => { it.open = true; })");
    assert!(page.text("#failures").contains(HOSTILE));
    assert!(page.text("#failures").contains("warning: 1 line is not text"));
    assert_eq!(page.value("document.images.length"), json!(0));
    page.value("document.querySelectorAll('details').forEach(it => { it.open = false; })");
    // Numbers are over all calls, and the same as the trace says.
    assert!(page.text("#figures").contains("4,104"), "{}", page.text("#figures"));
    assert!(page.text("#stages").contains("throttled"));
    assert!(page.text("#critical").contains("split"), "{}", page.text("#critical"));
    assert!(page.text("#containers-about").contains("of 124 instances"));
    // Lists that are cut say so.
    let about = page.text("#slowest-about");
    assert!(about.contains("50 of 4,1"), "{about}");
    let about = page.text("#failures-about");
    assert_eq!(about, "All 12 failed calls are listed.");
    look_around(&mut page);
    keep("report.png", &page.picture(1_280, 1_900));
    // The timeline moves by keys.
    page.value("document.getElementById('lanes').focus()");
    let label = "document.getElementById('lanes').getAttribute('aria-label')";
    let whole = page.value(label);
    page.key("+");
    page.key("ArrowRight");
    assert_ne!(page.value(label), whole);
    page.key("0");
    assert_eq!(page.value(label), whole);
    // Dragging over the heat map zooms it and the timeline, and a button shows all again.
    let heat = "document.getElementById('heat').getAttribute('aria-label')";
    let (every, before) = (page.value(heat), page.value(label));
    page.value(DRAG);
    assert_ne!(page.value(heat), every);
    assert_ne!(page.value(label), before);
    page.value("document.getElementById('heat-all').click()");
    assert_eq!(page.value(heat), every);
    assert_eq!(page.value("document.getElementById('heat-all').hidden"), json!(true));
    assert!(page.text("#congestion-about").contains("aws: 100 may be in flight"));
    assert!(page.text("#cost").contains("copies of slow ones"), "{}", page.text("#cost"));
    // One stage by itself.
    page.value("{ const s = document.getElementById('stage'); s.value = 'reduce'; s.dispatchEvent(new Event('change')); }");
    assert!(page.text("#figures").contains("100"), "{}", page.text("#figures"));
    let about = page.text("#slowest-about");
    assert!(about.contains("50 of 100"), "the slowest of that stage, not of the run: {about}");
    let (requests, complaints) = page.requests_and_complaints();
    assert_eq!((requests.len(), complaints), (1, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_page_shows_a_run_that_goes_on_and_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let all = records(4_000, true);
    let half = all.len() * 2 / 3;
    let trace = write(folder.path(), &all[..half]);
    let server = MeterServer::of_file(&trace, MeterSettings::default()).await.unwrap();
    let url = server.url().to_owned();
    let looking = tokio::task::spawn_blocking(move || {
        let Some(mut browser) = Browser::start() else { return };
        let mut page = browser.open(&url, LOOKS[0]);
        assert!(page.text("#sign").contains("running"));
        // The key is out of the address bar.
        assert_eq!(page.value("location.hash"), json!(""));
        look_around(&mut page);
        keep("meter.png", &page.picture(1_280, 1_480));
        // A click on the heat map lists the calls of the spot, out of the file.
        page.value(
            "{ const heat = document.getElementById('heat'), box = heat.getBoundingClientRect(); \
               for (let y = 20; y < 230; y += 3) heat.dispatchEvent(new MouseEvent('click', {clientX: box.left + box.width / 2, clientY: box.top + y})); }",
        );
        page.wait_for("!document.getElementById('calls').hidden");
        // A hidden page asks nothing, and a shown one asks again at once.
        page.value("Object.defineProperty(document, 'hidden', {value: true, configurable: true})");
        let mut is_silent = false;
        for _ in 0..20 {
            let before = page.requests_and_complaints().0.len();
            // It would ask three times.
            page.wait_for("new Promise(done => setTimeout(() => done(true), 1500))");
            is_silent = page.requests_and_complaints().0.len() == before;
            if is_silent {
                break;
            }
        }
        assert!(is_silent, "it goes on asking");
        page.value("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))");
        // The run goes on, and the page follows.
        append(&trace, &all[half..]);
        page.wait_for("document.getElementById('sign').textContent.includes('failed after')");
        page.wait_for("document.getElementById('figures').innerText.includes('4,104')");
        let (_, complaints) = page.requests_and_complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
        // At the end all calls are there, and can be zoomed into.
        page.wait_for("document.getElementById('lanes-help').textContent.startsWith('All 4,')");
        assert!(page.text("#sign").contains("failed"), "{}", page.text("#sign"));
        // Hostile texts are text here, too.
        let text = "document.getElementById('failures').textContent";
        page.wait_for(&format!("{text}.includes({})", json!(HOSTILE)));
        assert_eq!(page.value("document.images.length"), json!(0));
        let label = "document.getElementById('lanes').getAttribute('aria-label')";
        let whole = page.value(label);
        page.value("document.getElementById('lanes').focus()");
        page.key("+");
        page.wait_for(&format!("{label} !== {whole}"));
        // A page without the right key says so.
        let wrong = format!("{}#wrong", url.split('#').next().unwrap());
        let mut page = browser.open(&wrong, LOOKS[2]);
        assert!(page.text("#message").contains("the key is missing or wrong"));
    });
    looking.await.unwrap();
}
