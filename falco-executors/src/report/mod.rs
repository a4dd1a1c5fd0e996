//! What a run amounted to: counts, percentiles, cost.
