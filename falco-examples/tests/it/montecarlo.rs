use crate::program::{Machine, has};

#[test]
fn the_estimate_is_near_pi_and_the_same_for_the_same_seed() {
    if !has("node") {
        return;
    }
    let machine = Machine::new();
    let arguments = ["--invocations", "20", "--samples", "20000", "--seed", "7"];
    let first = machine.run("montecarlo", &arguments).ok();
    let pi: f64 = first.trim().parse().unwrap();
    // Five standard deviations of 400,000 darts are 0.013; with a fixed seed there is no luck in it.
    assert!((pi - std::f64::consts::PI).abs() < 0.013, "{pi}");
    assert_eq!(machine.run("montecarlo", &arguments).ok(), first);
}
