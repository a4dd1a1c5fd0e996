//! How the invocations of a stage are driven: sequentially, in parallel, or submitted and collected.
