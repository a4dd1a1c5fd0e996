//! Layers around any Falco platform: retry, congestion control, timeout, tracing, held calls.
