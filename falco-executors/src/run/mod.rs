//! Running a plan: deploy, execute, and always remove.
