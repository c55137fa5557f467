//! Who gets what: sessions, published tracks, slots and speakers of every room of a node.
