//! Opening stores, and what is wrong with them.

use falco_core::ErrorKind;
use falco_data::{Object, Store};

#[test]
fn a_signed_url_is_not_a_store_and_is_not_shown() {
    let error = Store::open("s3://b/x?X-Amz-Signature=marked-secret").unwrap_err().to_string();
    assert!(error.contains("it has a query") && !error.contains("marked-secret"), "{error}");
}

#[test]
fn stores_are_where_their_urls_say() {
    let folder = Store::folder("/data/in/").unwrap();
    assert_eq!((folder.url(), folder.is_folder()), ("file:///data/in", true));
    assert_eq!(folder.object("a b.txt"), Object::new("file:///data/in/a b.txt"));
    assert_eq!(format!("{folder:?}"), r#"Store("file:///data/in")"#);
}

#[test]
fn the_path_of_a_folder_may_go_up() {
    let url = |path: &str| Store::folder(path).unwrap().url().to_owned();
    assert_eq!(url("/data/../in"), "file:///in");
    assert_eq!(url("/../in/./x"), "file:///in/x");
    let here = std::env::current_dir().unwrap();
    assert_eq!(url("../x"), format!("file://{}/x", here.parent().unwrap().display()));
    // As the kernel does, `..` goes up from where a link leads.
    let place = tempfile::tempdir().unwrap();
    let root = place.path().canonicalize().unwrap();
    std::fs::create_dir_all(root.join("a/b")).unwrap();
    std::os::unix::fs::symlink(root.join("a/b"), root.join("link")).unwrap();
    assert_eq!(
        url(root.join("link/../in").to_str().unwrap()),
        format!("file://{}/a/in", root.display())
    );
}

#[tokio::test]
async fn an_object_of_another_store_is_refused_by_both_names() {
    let folder = Store::folder("/data/in").unwrap();
    for url in ["file:///data/input", "s3://data/in", "file:///data/in/../x"] {
        let error = folder.read(&Object::new(url)).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(url), "{error}");
    }
}
