//! Tests of the promises in the repository's README.

#[test]
fn the_first_program_of_the_readme_has_at_most_twenty_lines() {
    let readme = include_str!("../../../README.md");
    let (_, code) = readme.split_once("```rust\n").unwrap();
    let lines = code.lines().take_while(|line| *line != "```").count();
    assert!((10..=20).contains(&lines), "{lines} lines");
}
