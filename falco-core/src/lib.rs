//! The traits of Falco, and the plain data that their signatures exchange.
