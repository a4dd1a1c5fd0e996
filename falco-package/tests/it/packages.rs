//! A function with the files of a folder.

use falco_core::{Code, Deployable};
use falco_package::{Archive, PackageTarget, WithPackages};

#[test]
fn the_configuration_of_npm_which_may_hold_a_password_is_not_a_part_of_the_code() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("helper.py", "a = 1"), (".npmrc", "//host/:_authToken=marked")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let target = PackageTarget::this_machine("python:3".parse().unwrap());
    let function = Deployable::python("f", "def main(args): return {}");
    let with = function.with_package(folder.path(), &target).unwrap();
    let Code::Archive(zip) = with.code else { panic!("{:?}", with.code) };
    let archive = Archive::from_zip(&zip).unwrap();
    assert_eq!(archive.paths().collect::<Vec<_>>(), ["__main__.py", "helper.py"]);
}
