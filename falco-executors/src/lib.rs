//! Execution strategies of Falco: sequential, parallel, asynchronous; derivations, the plan runner, reports.
