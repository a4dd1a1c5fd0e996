//! Amounts of money, in whole picodollars so that sums are exact.

use falco_core::UsDollars;

/// Amounts in 10⁻¹² US dollars.
pub(super) type Pico = u128;

pub(super) const PICO: f64 = 1e12;

/// An amount, rounded up.
pub(super) fn pico(UsDollars(amount): UsDollars) -> Pico {
    (amount * PICO).ceil() as Pico
}

pub(super) fn dollars(amount: Pico) -> UsDollars {
    UsDollars(amount as f64 / PICO)
}
