//! Transport-wide congestion control feedback to publishers.
