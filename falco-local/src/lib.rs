//! Falco on this machine: functions as warm worker processes.
