//! The capabilities of several platforms as one.

use falco_core::{Bounds, Capabilities, Prices, Scaling};

/// The capabilities of all parts together: the narrowest limits, and the sum of their concurrency.
pub(super) fn common(all: &[Capabilities]) -> Capabilities {
    let every = |is: fn(&Capabilities) -> bool| all.iter().all(is);
    let least = |of: fn(&Capabilities) -> Option<u64>| least(all.iter().map(of));
    let first = &all[0];
    let concurrency: Option<Vec<u32>> = all.iter().map(|it| it.concurrency).collect();
    let common = |runtime: &&String| all.iter().all(|it| it.runtimes.contains(runtime));
    let mut capabilities = Capabilities::default()
        .with_submit(every(|it| it.submit))
        // Only the part that has taken an attempt knows its name, and nobody knows which one that was.
        .with_resubmit(all.len() == 1 && first.resubmit)
        .with_adopt(every(|it| it.adopt))
        .with_logs(every(|it| it.logs))
        .with_images(every(|it| it.images))
        .with_scaling(every(|it| it.scaling))
        .with_shim(every(|it| it.shim))
        .with_max_payload(least(|it| it.max_payload))
        .with_max_submit_payload(least(|it| it.max_submit_payload))
        // A result that one part lets through is not taken away for the limit of another.
        .with_max_result(
            first.max_result.filter(|own| all.iter().all(|it| it.max_result == Some(*own))),
        )
        .with_max_code(least(|it| it.max_code))
        .with_concurrency(concurrency.map(|all| all.into_iter().fold(0, u32::saturating_add)))
        .with_memory_mib(narrowest(all.iter().map(|it| it.memory_mib)))
        .with_timeout(narrowest(all.iter().map(|it| it.timeout)))
        .with_runtimes(first.runtimes.iter().filter(common).cloned())
        .with_prices(highest(all.iter().map(|it| it.prices.clone())));
    if all.iter().all(|it| it.architecture == first.architecture) {
        capabilities = capabilities.with_architecture(first.architecture.clone());
    }
    for (family, limits) in all.iter().flat_map(|it| &it.runtime_limits) {
        let narrower =
            |one: Option<u64>, other: Option<u64>| [one, other].into_iter().flatten().min();
        let known = capabilities.runtime_limits.get(family).copied().unwrap_or_default();
        let both = limits
            .with_max_payload(narrower(known.max_payload, limits.max_payload))
            .with_max_submit_payload(narrower(known.max_submit_payload, limits.max_submit_payload))
            .with_max_result(narrower(known.max_result, limits.max_result))
            .with_max_code(narrower(known.max_code, limits.max_code));
        capabilities = capabilities.with_runtime_limits(family, both);
    }
    capabilities
}

fn least<T: Ord>(values: impl Iterator<Item = Option<T>>) -> Option<T> {
    values.flatten().min()
}

fn narrowest<T: Ord + Copy>(bounds: impl Iterator<Item = Option<Bounds<T>>>) -> Option<Bounds<T>> {
    bounds
        .flatten()
        .reduce(|one, other| Bounds { min: one.min.max(other.min), max: one.max.min(other.max) })
}

/// The highest of all prices; none where one part has none.
fn highest(prices: impl Iterator<Item = Option<Prices>>) -> Option<Prices> {
    let all: Vec<Prices> = prices.collect::<Option<_>>()?;
    all.into_iter().reduce(|one, other| {
        let size = Scaling::default();
        // Parts are linear in different things: the more expensive one as a whole.
        if one.upper_bound(&size).0 >= other.upper_bound(&size).0 { one } else { other }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Capabilities {
        Capabilities::default()
    }

    #[test]
    fn attempts_can_be_submitted_again_where_there_is_one_part_that_knows_them() {
        let can = |all: &[Capabilities]| common(all).resubmit;
        let knowing = any().with_resubmit(true);
        assert!(!can(&[any()]));
        assert!(!can(&[knowing.clone(), knowing.clone()]));
        assert!(can(&[knowing]));
    }

    #[test]
    fn limits_are_the_narrowest_of_all_parts() {
        let payload = |limits: [Option<u64>; 2]| {
            common(&limits.map(|limit| any().with_max_payload(limit))).max_payload
        };
        assert_eq!(payload([Some(5), Some(3)]), Some(3));
        assert_eq!(payload([None, Some(3)]), Some(3));
        let bounds = [Bounds { min: 64, max: 1024 }, Bounds { min: 128, max: 2048 }];
        let both = common(&bounds.map(|bounds| any().with_memory_mib(bounds)));
        assert_eq!(both.memory_mib, Some(Bounds { min: 128, max: 1024 }));
    }

    #[test]
    fn what_all_parts_state_alike_is_stated_of_the_whole_and_what_differs_is_not() {
        let of = |limits: [Option<u64>; 2]| {
            common(&limits.map(|limit| any().with_max_result(limit))).max_result
        };
        assert_eq!(of([Some(5), Some(5)]), Some(5));
        assert_eq!(of([Some(5), Some(6)]), None);
        assert_eq!(of([Some(5), None]), None);
        let of = |names: [&str; 2]| {
            common(&names.map(|name| any().with_architecture(name.to_owned()))).architecture
        };
        assert_eq!(of(["x86_64", "x86_64"]).as_deref(), Some("x86_64"));
        assert_eq!(of(["x86_64", "arm64"]), None);
    }

    #[test]
    fn the_price_is_that_of_the_most_expensive_part() {
        let of = |prices: &[f64]| {
            let part = |price: &f64| any().with_prices(Prices::default().with_second(*price));
            let all: Vec<_> = prices.iter().map(part).collect();
            common(&all).prices.map(|prices| prices.second)
        };
        assert_eq!(of(&[1.0, 2.0]), Some(2.0));
        assert_eq!(of(&[2.0, 1.0]), Some(2.0));
        let one_unknown = [any(), any().with_prices(Prices::default())];
        assert_eq!(common(&one_unknown).prices, None);
    }
}
